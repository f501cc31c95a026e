"""A bundle that was loaded, every byte of it checked: what forecasts."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from wearcast.bundle.folder import GRAPH, HISTORY, MANIFEST, MODELS, check_sums, replaced
from wearcast.bundle.manifest import EnsembleManifest, ModelManifest, read_manifest
from wearcast.errors import BundleCorruptError, BundleError
from wearcast.forecast import Forecast
from wearcast.inference import Engine, OnnxSession, Output, PooledEngine
from wearcast.inference.engine import columns_read
from wearcast.readings import History
from wearcast.schema import TimeUnit

__all__ = ["Bundle", "load_bundle", "pooled_engine"]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was loaded and found whole.

    Attributes:
        path: its directory.
        manifest: the content of `bundle.json`.
    """

    path: Path
    manifest: ModelManifest | EnsembleManifest = field(repr=False)
    threads: int | None = field(default=None, compare=False, repr=False)

    @cached_property
    def models(self) -> tuple[Bundle, ...]:
        """The models of an ensemble; none of a single model."""
        if isinstance(self.manifest, ModelManifest):
            return ()
        folders = (self.path / MODELS / record.folder for record in self.manifest.models)
        return tuple(_read(folder, self.threads) for folder in folders)

    @cached_property
    def engine(self) -> Engine | PooledEngine:
        """The loaded forecasting path."""
        m = self.manifest
        if isinstance(m, EnsembleManifest):
            return pooled_engine(self.models, [record.weight for record in m.models], m.output, m.model)
        return Engine(
            preprocessing=m.preprocessing,
            window=m.window,
            output=m.output,
            session=OnnxSession(self.path / GRAPH, threads=self.threads),
            model=m.model,
        )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Every column that a history must have, those of an ensemble's models together."""
        each = (columns_read(one.preprocessing, one.output) for one in self._single)
        return tuple(dict.fromkeys(column for columns in each for column in columns))

    @property
    def time_unit(self) -> TimeUnit:
        """Unit of age and RUL of the fleet that it was trained on."""
        return self._single[0].preprocessing.time_unit

    @property
    def text_columns(self) -> frozenset[str]:
        """Those of `columns` that hold text."""
        found = (one.preprocessing for one in self._single)
        return frozenset(
            name
            for one in found
            for name in (
                *(category.column for category in one.static_categories),
                *(derived.limits.column for derived in one.features.derived if derived.limits is not None),
            )
        )

    @cached_property
    def _single(self) -> tuple[ModelManifest, ...]:
        """Manifests of the models that forecast: this one's, or those of an ensemble."""
        manifests = (self.manifest, *(model.manifest for model in self.models))
        return tuple(manifest for manifest in manifests if isinstance(manifest, ModelManifest))

    def rows(self, history: History) -> NDArray[np.int64]:
        """Readings of which a window is taken: those that `predict` forecasts at when `every` is 1."""
        return self.engine.rows(history)

    def predict(self, history: History, *, every: int | None = None, without: Collection[str] = ()) -> Forecast:
        """Forecast each unit at its last reading, or at every `every`-th reading counted back from it.

        Args:
            history: a `Fleet`, or `wearcast.readings.Readings`, with the model's columns and unit of time.
            every: step between forecasts, in readings of which a window is taken; None for the last reading only.
            without: sensors to be seen as if they had never moved (for attribution).

        Raises:
            FleetError: a column is missing or the unit of time differs.
        """
        return self.engine.forecast(history, every=every, without=without)

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """Metrics of each epoch; empty for models without epochs."""
        path = self.path / HISTORY
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def pooled_engine(
    models: Sequence[Bundle], weights: Sequence[float], output: Output, name: str = "unnamed"
) -> PooledEngine:
    """The models of an ensemble as one; those that count for nothing are neither loaded nor run."""
    counted = [(model.engine, weight) for model, weight in zip(models, weights, strict=True) if weight > 0]
    engines = tuple(engine for engine, _ in counted if isinstance(engine, Engine))
    return PooledEngine(engines, tuple(weight for _, weight in counted), output, name)


def load_bundle(path: str | Path, *, threads: int | None = None) -> Bundle:
    """Load a bundle and check every byte of it.

    Args:
        path: its directory.
        threads: threads of ONNX Runtime; its own choice unless given.

    Raises:
        BundleError: there is no bundle.
        BundleCorruptError: a file is missing, or its bytes have changed.
        BundleVersionError: it was written by a newer Wearcast.
    """
    root = Path(path)
    if not (root / MANIFEST).is_file():
        hint = "train one with `wearcast train`"
        if (old := replaced(root)).exists():
            hint = f"an interrupted write left the last whole bundle at {old}; rename it back"
        raise BundleError("there is no bundle here", where=str(root), hint=hint)
    check_sums(root)
    bundle = _read(root, threads)
    for model in bundle.models:
        if not isinstance(model.manifest, ModelManifest):
            raise BundleCorruptError("an ensemble of ensembles", where=str(model.path))
    return bundle


def _read(root: Path, threads: int | None) -> Bundle:
    """A bundle whose bytes were checked."""
    try:
        data = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        manifest = read_manifest(data, root)
    except (ValueError, OSError) as error:  # what is not JSON, and pydantic's errors too
        raise BundleCorruptError(
            f"not a bundle manifest: {_first_complaint(error)}",
            where=str(root / MANIFEST),
            hint="copy or train the bundle again",
        ) from error
    return Bundle(root, manifest, threads)


def _first_complaint(error: ValueError | OSError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first, more = error.errors(include_url=False)[0], error.error_count() - 1
    also = f", and {more} more" if more else ""
    where = [str(step) for step in first["loc"] if step not in ("model", "ensemble")]  # which kind it was read as
    return f"{'.'.join(where)}: {first['msg']}{also}"
