"""A registry in PostgreSQL: made by MLflow, read and moved by us."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.postgres_server import missing, postgres_server
from tests.fixtures.registries import NAME, client_of

from wearcast import load_bundle
from wearcast.errors import NoRegistryError, RegistryUnavailableError
from wearcast.registry.promotion import promote, rollback, weigh
from wearcast.registry.reading import open_store
from wearcast.registry.writing import register

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_a_database_is_a_registry_like_a_file(tmp_path: Path, trained: TrainedByKind, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")  # a server waits for its clients when it stops
    monkeypatch.setenv("WEARCAST_REGISTRY_ARTIFACTS", str(tmp_path / "artifacts"))
    with postgres_server() as url:
        store, cache = open_store(url), tmp_path / "cache"
        with pytest.raises(NoRegistryError, match="not a registry of MLflow 3"):
            store.models()
        for number, kind in (("1", "cnn_bilstm"), ("2", "lightgbm")):
            done = register(trained(kind).bundle, NAME, uri=url)
            assert done.version.version == number
            promote(store, done.version, weigh(store, done.version, cache=cache, tolerance=9.0))
        client = client_of(url.replace("postgresql:", "postgresql+psycopg:"))
        assert str(client.get_model_version_by_alias(NAME, "champion").version) == "2"
        assert rollback(store, NAME, cache=cache).version.version == "1"
        assert store.model(NAME).tags == client.get_registered_model(NAME).tags
        for version in store.versions(NAME):
            told = client.get_model_version(NAME, version.version)
            assert (version.run_id, version.source, version.tags) == (told.run_id, told.source, told.tags)
            assert version.aliases == tuple(sorted(told.aliases))
            run, ran = client.get_run(version.run_id), store.run(str(version.run_id))
            assert (ran.params, ran.metrics) == (run.data.params, run.data.metrics)
        place = store.fetch(store.resolve(f"{NAME}@champion"), cache)
        assert load_bundle(place).manifest == trained("cnn_bilstm").bundle.manifest
        with pytest.raises(NoRegistryError, match="cannot be opened"):
            open_store(url.replace("/postgres?", "/nosuch?")).models()
        with _locked(url), pytest.raises(RegistryUnavailableError, match="does not answer"):
            open_store(url, timeout_s=0.2).models()
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        store.models()


def _locked(url: str):
    """Somebody who holds the table of models."""
    import psycopg

    other = psycopg.connect(url)
    other.execute("LOCK TABLE registered_models IN ACCESS EXCLUSIVE MODE")
    return other
