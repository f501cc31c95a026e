"""Which bundles stay in the cache, and which go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fixtures.bundles import TrainedByKind

from wearcast.bundle import Bundle
from wearcast.service.keptbundles import KeptBundles
from wearcast.service.served import Served

Fetch = Callable[..., Served]


@pytest.fixture
def fetch(trained: TrainedByKind, tmp_path: Path) -> Fetch:
    """Puts a version into the cache, as the registry does, and gives it as it is served."""
    manifest = trained("lightgbm").bundle.manifest

    def put(version: int, *, elsewhere: bool = False) -> Served:
        key = f"{version:064x}"
        path = (tmp_path / "artifacts" if elsewhere else tmp_path / "cache") / key
        path.mkdir(parents=True, exist_ok=True)
        (path / "bundle.json").write_text("{}")
        return Served("pumps", str(version), "champion", Bundle(path, manifest), key)

    return put


def left(folder: Path) -> list[int]:
    return sorted(int(path.name, 16) for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def test_served_previous_and_challenger_stay(fetch: Fetch, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    kept = KeptBundles(cache, "pumps@champion")
    kept.keep(fetch(1), None)
    kept.keep(fetch(2), None)
    assert left(cache) == [1, 2]
    kept.keep(fetch(2), fetch(3))
    assert left(cache) == [1, 2, 3]
    kept.keep(fetch(3), None)
    assert left(cache) == [2, 3], "1 is two champions ago"
    kept.keep(fetch(2), fetch(3))  # back again
    assert left(cache) == [2, 3]
    kept.keep(fetch(2), fetch(4))
    assert left(cache) == [2, 3, 4], "3 was champion before"
    kept.keep(fetch(2), fetch(5))
    assert left(cache) == [2, 3, 5]


def test_what_a_process_before_has_served_goes_too(fetch: Fetch, tmp_path: Path) -> None:
    for version in (1, 2, 3):
        kept = KeptBundles(tmp_path / "cache", "pumps@champion")
        kept.keep(fetch(version), None)
    assert left(tmp_path / "cache") == [2, 3]
    last = KeptBundles(tmp_path / "cache", "pumps@champion").last()
    assert last is not None
    assert (last.name, last.version) == ("pumps", "3")


def test_what_others_have_fetched_or_serve_stays(fetch: Fetch, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fetch(9)  # the command line's
    KeptBundles(cache, "pumps/1").keep(fetch(1), None)
    kept = KeptBundles(cache, "pumps@champion")
    for version in (1, 2, 3, 4):
        kept.keep(fetch(version), None)
    assert left(cache) == [1, 3, 4, 9]


def test_bundles_that_lie_with_the_registry_are_never_deleted(fetch: Fetch, tmp_path: Path) -> None:
    kept = KeptBundles(tmp_path / "cache", "pumps@champion")
    for version in (1, 2, 3):
        kept.keep(fetch(version, elsewhere=True), None)
    assert left(tmp_path / "artifacts") == [1, 2, 3]


def test_a_deletion_that_was_killed_is_finished_by_the_next(fetch: Fetch, tmp_path: Path) -> None:
    stray = tmp_path / "cache" / f".{1:064x}.0badf00d.gone"
    stray.mkdir(parents=True)
    KeptBundles(tmp_path / "cache", "pumps@champion").keep(fetch(2), None)
    assert not stray.exists()


def test_a_note_that_cannot_be_read_is_no_note(fetch: Fetch, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    KeptBundles(cache, "pumps@champion").keep(fetch(1), None)
    (note,) = cache.glob("served-*.json")
    for text in ("", "[]", "{}", json.dumps({"reference": "fans@champion"})):
        note.write_text(text)
        assert KeptBundles(cache, "pumps@champion").last() is None
    KeptBundles(cache, "pumps@champion").keep(fetch(2), None)
    assert left(cache) == [1, 2], "nobody knows whose 1 is"


def test_a_disk_that_cannot_be_written_is_no_reason_not_to_serve(fetch: Fetch, tmp_path: Path) -> None:
    served = fetch(1)
    (tmp_path / "file").write_text("")
    kept = KeptBundles(tmp_path / "file" / "cache", "pumps@champion")
    kept.keep(served, None)
    assert kept.last() is None
