"""The bundle of a version: whole, as it was registered, and in the cache whole or not at all."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.registries import NAME

from wearcast import load_bundle
from wearcast.errors import RegistryError
from wearcast.registry.artifacts import download_bundle
from wearcast.registry.records import ModelVersion
from wearcast.registry.store import Store


def place_of(version: ModelVersion) -> Path:
    return Path(version.source.removeprefix("file://")) / "bundle"


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_the_bundle_is_the_one_that_was_registered(store: Store, trained: TrainedByKind, tmp_path: Path):
    for number, kind in (("1", "cnn_bilstm"), ("2", "lightgbm")):
        place = store.fetch(store.version(NAME, number), tmp_path)
        assert load_bundle(place).manifest == trained(kind).bundle.manifest
        assert not list(place.rglob("*.pkl"))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda place: flip(place / "model.onnx"), "model.onnx has changed"),
        (lambda place: (place / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda place: (place / "SHA256SUMS").unlink(), "checksums cannot be read"),
        (lambda place: (place / "bundle.json").unlink(), "there is no bundle here"),
        (shutil.rmtree, "there is no bundle here"),
        (lambda place: shutil.rmtree(place.parent), "its files are gone"),
    ],
)
def test_a_half_written_or_changed_version_is_refused(
    store: Store, tmp_path: Path, harm: Callable[[Path], None], said: str
):
    version = store.version(NAME, "1")
    harm(place_of(version))
    with pytest.raises(RegistryError, match=said) as caught:
        store.fetch(version, tmp_path / "cache")
    assert "pumps/1" in str(caught.value)
    assert store.fetch(store.version(NAME, "2"), tmp_path / "cache").is_dir()


def test_another_whole_bundle_in_its_place_is_refused(store: Store, trained: TrainedByKind, tmp_path: Path):
    version = store.version(NAME, "1")
    shutil.rmtree(place_of(version))
    shutil.copytree(trained("lightgbm").path, place_of(version))
    with pytest.raises(RegistryError, match="another one than was registered"):
        store.fetch(version, tmp_path)


def test_a_version_that_mlflow_is_not_done_with_is_refused(store: Store):
    version = replace(store.version(NAME, "1"), status="PENDING_REGISTRATION")
    with pytest.raises(RegistryError, match="PENDING_REGISTRATION, not READY"):
        download_bundle(version, place_of(version).parent / "cache", copying(place_of(version)))


def test_files_of_a_server_are_not_looked_for_here(store: Store, uri: str, tmp_path: Path):
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        database.execute("UPDATE model_versions SET storage_location = 'mlflow-artifacts:/1/abc/artifacts/model'")
        database.commit()
    with pytest.raises(RegistryError, match="name the MLflow server that keeps them"):
        store.fetch(store.version(NAME, "1"), tmp_path)


# ---------------------------------------------------------------------- the cache of downloads


def copying(place: Path, asked: list[str] | None = None) -> Callable[[str, Path], None]:
    """A download that copies."""

    def download(name: str, to: Path) -> None:
        if asked is not None:
            asked.append(name)
        shutil.copyfile(place / name, to)

    return download


def test_what_is_in_the_cache_is_not_asked_for_again(store: Store, tmp_path: Path):
    version = store.version(NAME, "1")
    asked: list[str] = []
    first = download_bundle(version, tmp_path / "cache", copying(place_of(version), asked))
    assert len(asked) == 5
    assert download_bundle(version, tmp_path / "cache", copying(place_of(version), asked)) == first
    assert len(asked) == 5
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [version.tags["wearcast.sums_sha256"]]


def test_a_cached_bundle_that_was_changed_is_fetched_anew(store: Store, tmp_path: Path):
    version = store.version(NAME, "1")
    place = download_bundle(version, tmp_path / "cache", copying(place_of(version)))
    flip(place / "model.onnx")
    assert download_bundle(version, tmp_path / "cache", copying(place_of(version))) == place
    assert load_bundle(place).path == place


@pytest.mark.parametrize("harmed", ["model.onnx", "bundle.json", "SHA256SUMS"])
def test_a_bad_download_is_not_cached(store: Store, tmp_path: Path, harmed: str):
    version = store.version(NAME, "1")
    flip(place_of(version) / harmed)
    with pytest.raises(RegistryError):
        download_bundle(version, tmp_path / "cache", copying(place_of(version)))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_list_of_files_cannot_lead_out_of_the_cache(store: Store, tmp_path: Path):
    version = store.version(NAME, "1")
    (place_of(version) / "SHA256SUMS").write_text(f"{'0' * 64}  ../../evil\n")
    with pytest.raises(RegistryError, match="not a checksum of a file in this folder"):
        download_bundle(version, tmp_path / "cache", copying(place_of(version)))
    assert not (tmp_path / "evil").exists()


def test_a_download_that_breaks_off_leaves_nothing(store: Store, tmp_path: Path):
    version = store.version(NAME, "1")
    copy = copying(place_of(version))

    def broken(name: str, to: Path) -> None:
        if name == "model.onnx":
            raise RegistryError("the connection was lost")
        copy(name, to)

    with pytest.raises(RegistryError, match="lost"):
        download_bundle(version, tmp_path / "cache", broken)
    assert list((tmp_path / "cache").iterdir()) == []


def test_several_may_fetch_at_once(store: Store, tmp_path: Path):
    version = store.version(NAME, "2")
    found: list[Path] = []
    fetch = lambda: found.append(download_bundle(version, tmp_path / "cache", copying(place_of(version))))  # noqa: E731
    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 6
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [found[0].name]
    assert load_bundle(found[0]).manifest.name == "test-lightgbm"


def test_a_cache_that_cannot_be_written_says_so(store: Store, tmp_path: Path):
    (tmp_path / "file").write_text("")
    version = store.version(NAME, "1")
    with pytest.raises(RegistryError, match="cannot be kept here"):
        download_bundle(version, tmp_path / "file" / "cache", copying(place_of(version)))
