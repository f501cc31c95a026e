"""A bundle goes into the registry: a run with all that is known of it, its files, and a version. Needs MLflow.

The version is written last, with all of its tags, in one step: a kill before leaves a run that the next registration
of the same bundle clears away, and no reader ever sees a version without its files.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wearcast.bundle import SUMS, Bundle
from wearcast.errors import MissingExtraError, RegistryError, RegistryUnavailableError, UsageError, require
from wearcast.logging import logger
from wearcast.registry.card import model_card
from wearcast.registry.connections import shown_uri, spare_foreign, sqlite_path
from wearcast.registry.facts import flattened, numbers_of_epochs, version_tags
from wearcast.registry.layout import lay_out
from wearcast.registry.pictures import learning_curve
from wearcast.registry.promotion import someone
from wearcast.registry.reading import artifact_root, open_store
from wearcast.registry.records import ModelVersion
from wearcast.registry.store import Store
from wearcast.registry.tags import SUMS_SHA256
from wearcast.registry.turns import turn
from wearcast.training.quiet import hushed

__all__ = ["Registered", "check_name", "register"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LEASE_S, PATIENCE_S = 1800.0, 300.0
CHATTY = ("mlflow", "alembic", "alembic.runtime.migration")


@dataclass(frozen=True)
class Registered:
    """What came of a registration.

    Attributes:
        version: of the bundle.
        new: whether it was not there before.
        notes: what was left out, and why.
    """

    version: ModelVersion
    new: bool
    notes: tuple[str, ...] = ()


def check_name(name: str) -> str:
    """The name, if a model may be registered under it.

    Raises:
        UsageError: it may not.
    """
    if not NAME.fullmatch(name):
        shown = name if len(name) <= 60 else f"{name[:59]}…"
        raise UsageError(
            f"not a name for a model: {shown!r}",
            hint="letters, digits, dot, dash and underscore, at most 100, beginning with a letter or digit",
        )
    return name


def register(
    bundle: Bundle,
    name: str | None = None,
    *,
    uri: str,
    parent: str | None = None,
    timeout_s: float = 30.0,
) -> Registered:
    """Put a bundle into the registry; the same bundle again is the same version.

    Args:
        bundle: what `load_bundle` found whole.
        name: model to register it under; the name of its recipe unless given.
        uri: see `open_registry`. A SQLite file that is not there is made, which takes MLflow some seconds.
        parent: version that it comes after, `NAME/VERSION` or `NAME@ALIAS`, for the lineage.
        timeout_s: what one question to the registry may take.

    Raises:
        UsageError: the name will not do.
        MissingExtraError: MLflow is not installed.
        RegistryUnavailableError: the registry does not answer.
        RegistryError: it refuses.
    """
    name = check_name(name or bundle.manifest.name)
    if uri.startswith("sqlite"):
        spare_foreign(uri)
    store = open_store(uri, timeout_s=timeout_s)
    digest = hashlib.sha256((bundle.path / SUMS).read_bytes()).hexdigest()
    with _client(uri, timeout_s) as client:
        _make_model(client, name)
        with turn(store, name, "register", someone(), lease_s=LEASE_S, patience_s=PATIENCE_S):
            if there := _registered(store, name, digest):
                return Registered(there, new=False)
            parent = store.resolve(parent).reference if parent is not None else None
            experiment = _experiment(client, name, uri)
            _clear_away(client, experiment, digest)
            run = client.create_run(experiment, run_name=bundle.manifest.model, tags={SUMS_SHA256: digest})
            notes = _record(client, run.info.run_id, bundle)
            with tempfile.TemporaryDirectory(prefix="wearcast-model-") as scratch:
                lay_out(bundle, Path(scratch), run.info.run_id)
                client.log_artifacts(run.info.run_id, scratch, "model")
            client.set_terminated(run.info.run_id, "FINISHED")
            made = client.create_model_version(
                name,
                f"{run.info.artifact_uri}/model",
                run.info.run_id,
                tags=version_tags(bundle, digest, parent),
                description=model_card(bundle),
            )
        return Registered(store.version(name, str(made.version)), new=True, notes=notes)


@contextmanager
def _client(uri: str, timeout_s: float) -> Iterator[Any]:
    """MLflow's client, hushed; what it raises is said in our words."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing about a plant's models goes anywhere
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for the result
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(max(1, round(timeout_s))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow, about its own type hints
        mlflow: Any = require("mlflow", extra="registry")
        exceptions: Any = require("mlflow.exceptions", extra="registry")
        database: Any = require("sqlalchemy.exc", extra="registry")
        with hushed(*CHATTY):  # now that its import has set up its logging
            try:
                yield mlflow.MlflowClient(tracking_uri=_driver(uri), registry_uri=_driver(uri))
            except exceptions.MlflowException as error:
                raise _said(error, uri) from error
            except database.SQLAlchemyError as error:
                raise RegistryError(
                    f"MLflow cannot use the database: {' '.join(str(error).split())[:300]}", where=shown_uri(uri)
                ) from error


def _driver(uri: str) -> str:
    """MLflow's default driver of PostgreSQL is an older one than ours; a new SQLite file needs its folder."""
    if uri.startswith("sqlite"):
        sqlite_path(uri).resolve().parent.mkdir(parents=True, exist_ok=True)
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", uri)


def _said(error: Any, uri: str) -> RegistryError:
    said = " ".join(str(error).split())[:500]
    code = getattr(error, "error_code", "")
    passes = code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED") or "API request to" in said
    kind = RegistryUnavailableError if passes else RegistryError
    return kind(f"MLflow refuses: {said}", where=shown_uri(uri))


def _make_model(client: Any, name: str) -> None:
    exceptions: Any = require("mlflow.exceptions", extra="registry")
    try:
        client.create_registered_model(name)
    except exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _registered(store: Store, name: str, digest: str) -> ModelVersion | None:
    """The version that this bundle is already, if its files are whole."""
    for version in store.versions(name):
        if version.tags.get(SUMS_SHA256) != digest:
            continue
        with tempfile.TemporaryDirectory(
            prefix="wearcast-bundle-"
        ) as scratch:  # no cache: what the registry itself has
            try:
                store.fetch(version, Path(scratch))
            except RegistryUnavailableError:
                raise
            except RegistryError as error:
                logger.warning("%s is registered anew: %s", name, error)
                continue
        return version
    return None


def _experiment(client: Any, name: str, uri: str) -> str:
    """The experiment that the runs of a model are in, made if it is not there."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, artifact_location=artifact_root(uri)))
    if found.lifecycle_stage != "active":
        raise RegistryError(
            f"the experiment {name!r} was deleted in MLflow",
            where=shown_uri(uri),
            hint=f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or register under another name",
        )
    return str(found.experiment_id)


def _clear_away(client: Any, experiment: str, digest: str) -> None:
    """Runs of this bundle that never became a version: whoever began them was killed. We hold the model's mark."""
    for run in client.search_runs([experiment], filter_string=f"tags.`{SUMS_SHA256}` = '{digest}'"):
        logger.info("deleting the run %s of a registration that did not finish", run.info.run_id)
        client.delete_run(run.info.run_id)


def _record(client: Any, run_id: str, bundle: Bundle) -> tuple[str, ...]:
    """Parameters, metrics and pictures of a run; what was left out."""
    entities: Any = require("mlflow.entities", extra="registry")
    manifest, now = bundle.manifest, int(time.time() * 1000)
    params = [entities.Param(key, value) for key, value in flattened(manifest.experiment).items()]
    for some in _batches(params, 100):
        client.log_batch(run_id, params=some)
    metrics = [entities.Metric(name, value, now, step) for name, value, step in numbers_of_epochs(bundle)]
    figures = {**manifest.metrics, **{f"training.{k}": v for k, v in manifest.training.items()}}
    metrics += [entities.Metric(k, float(v), now, 0) for k, v in figures.items() if isinstance(v, int | float)]
    for some in _batches(metrics, 1000):
        client.log_batch(run_id, metrics=some)
    return _pictures(client, run_id, bundle)


def _batches(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _pictures(client: Any, run_id: str, bundle: Bundle) -> tuple[str, ...]:
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="wearcast-pictures-") as scratch:
        for model in bundle.models or (bundle,):
            if model.history and not notes:
                try:
                    drawn = learning_curve(model.history, model.manifest.model)
                except MissingExtraError as error:
                    notes.append(f"no learning curve: {error}")
                    continue
                (Path(scratch) / f"learning-curve-{model.path.name if bundle.models else 'model'}.png").write_bytes(
                    drawn
                )
        client.log_artifacts(run_id, scratch, "pictures")
    if (report := bundle.path / "report.html").is_file():
        client.log_artifact(run_id, str(report), "report")
    return tuple(notes)
