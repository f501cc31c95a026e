"""A bundle that answers: loaded, every byte checked, and warm, so that the first request does not pay for it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wearcast.bundle import SUMS, Bundle, ModelManifest, load_bundle
from wearcast.errors import BundleError
from wearcast.features import SignalFeatures, StatisticsFeatures
from wearcast.readings import Readings
from wearcast.windows import Preprocessing

__all__ = ["Arm", "Served", "key_of", "load_served", "synthetic"]

Arm = Literal["champion", "challenger", "shadow", "fixed"]

FEWEST_ROWS = 32
"""Readings of the synthetic unit, unless the model looks further back."""


@dataclass(frozen=True)
class Served:
    """One version of a model, ready to answer. Whoever holds it may use it to the end, whatever is promoted meanwhile.

    Attributes:
        name: of the model, as registered; of a bundle that is served as it is, its own.
        version: as registered; of such a bundle, the beginning of `key`.
        arm: what it answers as.
        bundle: what forecasts.
        key: SHA-256 of the bundle's list of checksums: the same content has the same key.
        loaded_at: seconds since 1970.
    """

    name: str
    version: str
    arm: Arm
    bundle: Bundle = field(compare=False)
    key: str
    loaded_at: float = field(default=0.0, compare=False)

    @property
    def reference(self) -> str:
        """`NAME/VERSION`."""
        return f"{self.name}/{self.version}"

    def as_arm(self, arm: Arm) -> Served:
        """The same model in another role."""
        return self if self.arm == arm else replace(self, arm=arm)


def key_of(path: Path) -> str:
    """The key of the bundle in this folder.

    Raises:
        BundleError: there is no list of checksums.
    """
    try:
        return hashlib.sha256((path / SUMS).read_bytes()).hexdigest()
    except OSError as error:
        raise BundleError(
            f"there is no bundle here: {error.strerror or error}",
            where=str(path),
            hint="give the folder that `wearcast train` wrote",
        ) from error


def load_served(path: Path, *, arm: Arm, name: str | None = None, version: str | None = None) -> Served:
    """Load a bundle, check every byte of it, and forecast a synthetic unit with it.

    Args:
        path: its folder.
        arm: what it will answer as.
        name: of the model in the registry; the bundle's own unless given.
        version: likewise.

    Raises:
        BundleError: the bundle is not whole.
        ModelError: it does not forecast.
    """
    key = key_of(path)
    # One thread a graph: requests are many and small, and threads of one graph only wait for each other.
    bundle = load_bundle(path, threads=1)
    _warm(bundle, path)
    return Served(name or bundle.manifest.name, version or key[:12], arm, bundle, key, time.time())


def _warm(bundle: Bundle, path: Path) -> None:
    """Make the graph allocate what it needs, and see that numbers come out.

    Raises:
        BundleError: nothing comes out, or what is no number.
    """
    for _ in range(2):
        table = bundle.predict(synthetic(bundle)).to_frame()
    numbers = table.select(column for column in table.columns if table[column].dtype.is_float()).to_numpy()
    if not len(table) or not np.isfinite(numbers).all():
        raise BundleError(
            "it forecasts no finite numbers for a synthetic unit", where=str(path), hint="train the model again"
        )


def synthetic(bundle: Bundle) -> Readings:
    """One unit that looks like those of training: each column at its mean, with a ripple."""
    models = [model.manifest for model in bundle.models] or [bundle.manifest]
    known = [manifest for manifest in models if isinstance(manifest, ModelManifest)]
    rows = max(_rows(manifest) for manifest in known)
    columns: dict[str, NDArray[Any]] = {}
    for manifest in known:
        columns |= _columns(manifest.preprocessing, rows)
    first = known[0].preprocessing
    step = 1 if first.time_unit == "cycle" else max(1, round(1e6 * _step_s(first)))
    return Readings(
        units=("synthetic",),
        offsets=np.array([0, rows]),
        time=np.arange(1, rows + 1, dtype=np.int64) * step,
        columns=columns,
        time_unit=first.time_unit,
        sampling_rate_hz=next((m.preprocessing.sampling_rate_hz for m in known), None),
        name="synthetic",
    )


def _rows(manifest: ModelManifest) -> int:
    features = manifest.preprocessing.features
    if isinstance(features, SignalFeatures):
        return features.segment
    reach = features.reach if isinstance(features, StatisticsFeatures) else manifest.window.context_length
    return max(FEWEST_ROWS, reach)


def _step_s(preprocessing: Preprocessing) -> float:
    if preprocessing.sampling_rate_hz is not None:
        return 1.0 / preprocessing.sampling_rate_hz
    return preprocessing.step_s or 60.0


def _columns(preprocessing: Preprocessing, rows: int) -> Mapping[str, NDArray[Any]]:
    ripple = np.random.default_rng(0).standard_normal(rows)
    scales = {scale.column: scale for scale in (*preprocessing.sensors, *preprocessing.inputs)}
    statics = {scale.column: scale for scale in preprocessing.static_numbers}
    text = {category.column: category.values for category in preprocessing.static_categories}
    columns: dict[str, NDArray[Any]] = {}
    for name in preprocessing.columns:
        if name in text:
            columns[name] = np.full(rows, text[name][0], dtype=object)
        elif name == preprocessing.shaft_speed:  # turns a minute; as a tachometer, a pulse each 16 samples
            tacho = getattr(preprocessing.features, "tacho", None)
            speed = np.full(rows, 1_200.0) if tacho is None else tacho.threshold + np.sin(np.arange(rows) * np.pi / 8)
            columns[name] = speed.astype(np.float32)
        elif name in statics:
            columns[name] = np.full(rows, statics[name].mean[0], dtype=np.float32)
        else:
            scale = scales.get(name)
            mean, sd = (scale.mean[0], scale.sd[0]) if scale else (0.0, 1.0)
            columns[name] = (mean + 0.1 * sd * ripple).astype(np.float32)
    return columns
