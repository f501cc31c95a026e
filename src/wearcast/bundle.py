"""The artefact: a directory that holds everything a forecast needs, and no code.

    bundle.json            what it is: experiment, columns, scaling, calibration, metrics, versions
    model.onnx             the graph that forecasts
    weights.safetensors    the network's weights (absent for tree models)
    history.json           metrics of each epoch
    SHA256SUMS             checksums of all of these, in the format of `sha256sum --check`

An ensemble has no graph of its own; its models are whole bundles in `models/`, each of which can also be used alone.

Nothing in it is pickled: loading a bundle reads JSON, arrays and a graph, and runs no code of the bundle's.
"""

from __future__ import annotations

import ctypes
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from wearcast.config import Strict
from wearcast.errors import BundleCorruptError, BundleError, BundleVersionError
from wearcast.forecast import Forecast
from wearcast.inference import Engine, OnnxSession, Output, PooledEngine
from wearcast.inference.outputs import QuantileOutput
from wearcast.readings import History
from wearcast.schema import TimeUnit
from wearcast.target import Target
from wearcast.windows import Preprocessing, WindowSpec
from wearcast.writing import why_not

__all__ = [
    "Bundle",
    "EnsembleManifest",
    "Manifest",
    "ModelManifest",
    "ModelRecord",
    "check_place",
    "load_bundle",
    "read_checksums",
    "write_bundle",
]

SCHEMA_VERSION = 3
MANIFEST, SUMS, GRAPH, WEIGHTS, HISTORY, MODELS = (
    "bundle.json",
    "SHA256SUMS",
    "model.onnx",
    "weights.safetensors",
    "history.json",
    "models",
)


def _name_the_output(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew one output: grid and calibration lay loose in the manifest."""
    rest = {key: value for key, value in data.items() if key not in ("grid", "calibration")}
    loose = {"target": data.get("target"), "grid": data.get("grid"), **data.get("calibration", {})}
    return {**rest, "schema_version": 2, "output": {"kind": "survival", **loose}}


def _say_that_it_is_one_model(data: dict[str, Any]) -> dict[str, Any]:
    """Version 2 knew no ensembles."""
    return {**data, "schema_version": 3, "kind": "model"}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _name_the_output, 2: _say_that_it_is_one_model}
"""From each older schema version to the next one."""


class DataRecord(Strict):
    """Where the model's knowledge comes from."""

    name: str
    fingerprint: str
    train_units: tuple[int | str, ...]
    validation_units: tuple[int | str, ...]
    train_rows: int
    notes: tuple[str, ...] = ()


class Parity(Strict):
    """How far the exported graph is from the model that was trained."""

    reference: str
    windows: int
    max_abs_difference: float
    tolerance: float


class _Described(Strict):
    """What `bundle.json` says of a model as of an ensemble."""

    schema_version: Literal[3] = 3
    name: str
    seed: int
    created: str
    experiment: dict[str, Any]
    target: Target
    output: Output
    data: DataRecord
    metrics: dict[str, float]
    training: dict[str, float | int | str]
    versions: dict[str, str]

    @property
    def model(self) -> str:
        """Name and version of the model, as forecasts carry it."""
        return f"{self.name}-seed{self.seed}@{self.data.fingerprint[:8]}"


class ModelManifest(_Described):
    """The content of the `bundle.json` of one model."""

    kind: Literal["model"] = "model"
    window: WindowSpec
    preprocessing: Preprocessing
    parity: Parity


class ModelRecord(Strict):
    """One model of an ensemble."""

    folder: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Its bundle, in `models/`.")
    member: str = Field(description="Which member of the ensemble it is a run of.")
    weight: float = Field(ge=0, le=1)


class EnsembleManifest(_Described):
    """The content of the `bundle.json` of an ensemble."""

    kind: Literal["ensemble"] = "ensemble"
    models: tuple[ModelRecord, ...] = Field(min_length=1)
    members: dict[str, dict[str, float]] = Field(description="Weight and held-out figures of each member.")


Manifest = Annotated[ModelManifest | EnsembleManifest, Field(discriminator="kind")]
_MANIFEST: TypeAdapter[ModelManifest | EnsembleManifest] = TypeAdapter(Manifest)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was loaded and found whole.

    Attributes:
        path: its directory.
        manifest: the content of `bundle.json`.
    """

    path: Path
    manifest: ModelManifest | EnsembleManifest
    threads: int | None = field(default=None, compare=False)

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
            engines = tuple(engine for model in self.models if isinstance(engine := model.engine, Engine))
            return PooledEngine(engines, tuple(record.weight for record in m.models), m.output, m.model)
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
        output = self.manifest.output
        read = output.columns if isinstance(output, QuantileOutput) else ()
        return tuple(dict.fromkeys((*(column for one in self._single for column in one.preprocessing.columns), *read)))

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
        if (old := _aside(root)).exists():
            hint = f"an interrupted write left the last whole bundle at {old}; rename it back"
        raise BundleError("there is no bundle here", where=str(root), hint=hint)
    _verify(root)
    bundle = _read(root, threads)
    for model in bundle.models:
        if not isinstance(model.manifest, ModelManifest):
            raise BundleCorruptError("an ensemble of ensembles", where=str(model.path))
    return bundle


def _read(root: Path, threads: int | None) -> Bundle:
    """A bundle whose bytes were checked."""
    try:
        data = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        manifest = _MANIFEST.validate_python(_migrate(data, root))
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


def check_place(path: str | Path) -> None:
    """Make sure that a bundle may take the place of what is there as a whole: nothing, or another bundle.

    Raises:
        BundleError: there is a file, a folder with something else in it, or the folder we are in.
    """
    root = Path(path)
    what = None
    if root.exists() and not root.is_dir():
        what = "this is a file, a bundle is a folder"
    elif root.is_dir() and not (root / MANIFEST).exists() and any(root.iterdir()):
        what = "the folder holds something else than a bundle"
    elif Path.cwd().is_relative_to(root.resolve()):
        what = "a bundle cannot take the place of the folder that you are in"
    if what is not None:
        raise BundleError(what, where=str(root), hint="give another folder")


@contextmanager
def write_bundle(path: str | Path) -> Iterator[Path]:
    """Give a scratch directory to write a bundle into; on success it takes the place of `path` as a whole.

    A kill or a full disk at any moment leaves the old bundle as it was. What a killed writer left behind is removed by
    the next one.

    Raises:
        BundleError: the disk is full, the place cannot be written, or holds something else than a bundle.
    """
    check_place(path)
    root = Path(path).resolve()  # a link stays a link: its target is replaced
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        scratch = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".partial", dir=root.parent))
        lock = _lock(scratch)
    except OSError as error:
        raise BundleError(
            f"cannot write here: {why_not(error)}", where=str(path), hint="give another folder"
        ) from error
    try:
        yield scratch
        files = sorted(path for path in scratch.rglob("*") if path.is_file())
        sums = (f"{_sha256(file)}  {file.relative_to(scratch).as_posix()}\n" for file in files)
        (scratch / SUMS).write_text("".join(sums), encoding="utf-8")
        folders = (inner for inner in scratch.rglob("*") if inner.is_dir())
        for written in (*files, *folders, scratch / SUMS, scratch):
            _sync(written)
        scratch.chmod(0o755)
        _swap(scratch, root)
    except OSError as error:
        raise BundleError(
            f"cannot write the bundle: {error.strerror or error}",
            where=str(path),
            hint="the previous bundle, if there was one, is unchanged",
        ) from error
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(scratch, ignore_errors=True)


def _lock(folder: Path) -> int | None:
    """Hold a folder as long as this process lives; None if someone else holds it."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _sweep(root: Path) -> None:
    """Remove what killed writers left: scratch directories that no living writer holds, a bundle that was replaced."""
    for left in root.parent.glob(f".{glob.escape(root.name)}.*.partial"):
        lock = _lock(left)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    if (root / MANIFEST).exists():
        shutil.rmtree(_aside(root), ignore_errors=True)


def _aside(root: Path) -> Path:
    return root.parent / f".{root.name}.previous"


def _swap(scratch: Path, root: Path) -> None:
    if root.exists() and _exchange(scratch, root):
        _sync(root.parent)
        return
    old = _aside(root)
    if root.exists():
        shutil.rmtree(old, ignore_errors=True)
        root.rename(old)
    try:
        scratch.rename(root)
    except OSError:
        if old.exists():
            old.rename(root)
        raise
    _sync(root.parent)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step, and say whether they did; only Linux can, on most file systems."""
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    relative_to_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE: renameat2(2)
    return call is not None and call(relative_to_cwd, bytes(one), relative_to_cwd, bytes(other), exchange) == 0


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checksums(root: Path) -> dict[str, str]:
    """The SHA-256 of each file of a bundle, by its name, as `SHA256SUMS` has them.

    Raises:
        BundleCorruptError: the list cannot be read, or names a file outside of the bundle.
    """
    try:
        lines = (root / SUMS).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleCorruptError(
            "the checksums cannot be read", where=str(root / SUMS), hint="copy or train the bundle again"
        ) from error
    sums = {}
    for line in lines:
        digest, gap, name = line.partition("  ")
        if not gap or not _is_inside(name):
            raise BundleCorruptError(f"not a checksum of a file in this folder: {line!r}", where=str(root / SUMS))
        sums[name] = digest
    return sums


def _verify(root: Path) -> None:
    sums = read_checksums(root)
    for folder in (root, *sorted((root / MODELS).glob("*"))):
        needed = {MANIFEST} if (folder / MODELS).exists() else {MANIFEST, GRAPH}
        there = {name for name in (WEIGHTS, HISTORY) if (folder / name).exists()}
        for name in sorted(needed | there):
            if (name := (folder / name).relative_to(root).as_posix()) not in sums:
                raise BundleCorruptError(f"{name} has no checksum", where=str(root / SUMS))
    for name, expected in sums.items():
        file = root / name
        if not file.is_file():
            raise BundleCorruptError(f"{name} is missing", where=str(root), hint="copy or train the bundle again")
        try:
            found = _sha256(file)
        except OSError as error:
            raise BundleError(f"{name} cannot be read: {error.strerror or error}", where=str(root)) from error
        if found != expected:
            raise BundleCorruptError(
                f"{name} has changed since it was written", where=str(root), hint="copy or train the bundle again"
            )


def _is_inside(name: str) -> bool:
    """Whether a name in the list of checksums is a file of this bundle: here, or in a folder of `models/`."""
    steps = name.split("/")
    plain = all(step not in ("", ".", "..") and Path(step).name == step for step in steps)
    return plain and (len(steps) == 1 or (len(steps) == 3 and steps[0] == MODELS))


def _migrate(data: Any, root: Path) -> dict[str, Any]:
    if not isinstance(data, dict) or not isinstance(data.get("schema_version"), int):
        raise ValueError("schema_version is missing")
    if data["schema_version"] > SCHEMA_VERSION:
        raise BundleVersionError(
            f"the bundle has schema version {data['schema_version']}, this Wearcast reads up to {SCHEMA_VERSION}",
            where=str(root),
            hint="pip install --upgrade wearcast",
        )
    while data["schema_version"] < SCHEMA_VERSION:
        step = MIGRATIONS.get(data["schema_version"])
        if step is None:
            raise ValueError(f"no way from schema version {data['schema_version']} to {SCHEMA_VERSION}")
        data = step(data)
    return dict(data)
