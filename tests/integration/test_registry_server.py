"""The whole way through an MLflow server: register, read, promote, fetch, roll back, and what harm is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.mlflow_server import mlflow_server
from tests.fixtures.registries import NAME, client_of, copy_registry, shared_registry, sqlite_uri

from wearcast import load_bundle
from wearcast.errors import NotRegisteredError, RegistryError
from wearcast.registry.promotion import promote, rollback, weigh
from wearcast.registry.reading import open_store
from wearcast.registry.writing import register

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_a_server_is_a_registry_like_a_file(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, trained: TrainedByKind
):
    """One server for all of it, because one takes seconds to start."""
    template = shared_registry(tmp_path_factory.getbasetemp(), trained)
    copy_registry(template, tmp_path / "registry")
    with mlflow_server(sqlite_uri(tmp_path / "registry"), tmp_path / "served") as url:
        store, cache, client = open_store(url, timeout_s=60), tmp_path / "cache", client_of(url)
        # What was registered without the server is read through it, as MLflow's own client reads it.
        assert store.models() == (NAME,)
        assert [version.version for version in store.versions(NAME)] == ["1", "2"]
        # Through the server: proxied artifacts, downloaded into the cache.
        first = register(trained("cnn_bilstm").bundle, "engines", uri=url, timeout_s=60)
        second = register(trained("lightgbm").bundle, "engines", uri=url, timeout_s=60)
        assert (first.version.version, second.version.version) == ("1", "2")
        assert second.version.source.startswith("mlflow-artifacts:/")
        assert not register(trained("cnn_bilstm").bundle, "engines", uri=url, timeout_s=60).new
        place = store.fetch(store.resolve("engines/1"), cache)
        assert place.parent == cache
        assert load_bundle(place).manifest == trained("cnn_bilstm").bundle.manifest
        # Promotion and the way back, as from a file.
        for number, before in (("1", None), ("2", "1")):
            version = store.version("engines", number)
            moved = promote(store, version, weigh(store, version, cache=cache, tolerance=9.0))
            assert moved.before == before
        assert str(client.get_model_version_by_alias("engines", "champion").version) == "2"
        assert rollback(store, "engines", cache=cache).version.version == "1"
        # Each answer is that of MLflow's own client.
        for version in store.versions("engines"):
            told = client.get_model_version("engines", version.version)
            assert version == store.version("engines", version.version)
            assert version.aliases == tuple(sorted(told.aliases))
            assert (version.run_id, version.source, version.tags) == (told.run_id, told.source, told.tags)
            assert (version.description, version.status) == (told.description, told.status)
            assert round(version.created.timestamp() * 1000) == told.creation_timestamp
            run, ran = client.get_run(version.run_id), store.run(str(version.run_id))
            assert (ran.params, ran.metrics, ran.tags) == (run.data.params, run.data.metrics, run.data.tags)
        theirs = client.get_registered_model("engines")
        assert store.model("engines").tags == theirs.tags
        assert store.model("engines").aliases == {alias: str(number) for alias, number in theirs.aliases.items()}
        # What is not there, and what was harmed on the server's disk.
        for ask, kind in (
            (lambda: store.resolve("engines@nobody"), NotRegisteredError),
            (lambda: store.version("engines", "7"), NotRegisteredError),
            (lambda: store.run("0"), RegistryError),
        ):
            with pytest.raises(RegistryError) as caught:
                ask()
            assert type(caught.value) is kind
        (graph,) = (tmp_path / "served").glob(f"*/{second.version.run_id}/artifacts/model/bundle/model.onnx")
        content = bytearray(graph.read_bytes())
        content[100] ^= 1
        graph.write_bytes(content)
        with pytest.raises(RegistryError, match=r"model\.onnx has changed"):
            store.fetch(store.resolve("engines/2"), tmp_path / "other")
        graph.unlink()
        with pytest.raises(RegistryError, match="this file of it is gone"):
            store.fetch(store.resolve("engines/2"), tmp_path / "other")
        assert list((tmp_path / "other").iterdir()) == []
        assert store.fetch(store.resolve("engines/1"), cache) == place
