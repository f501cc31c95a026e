"""Fetching: whole and checked, or nothing changes; and what the catalogue says about it."""

from __future__ import annotations

import errno
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.fixtures.cmapss_files import ALL, make_members, write_folder, write_zip, zip_bytes

from wearcast.datasets import load_dataset
from wearcast.datasets.catalogue import CARDS, catalogue, entry
from wearcast.datasets.fetch import fetch
from wearcast.datasets.location import data_dir, dataset_dir
from wearcast.errors import DataError, FormatError, SourceNotFoundError, UsageError


@cache
def _whole() -> bytes:
    return zip_bytes(make_members(ALL))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty data folder that does not exist yet."""
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data" / "cmapss"


@pytest.fixture
def source(tmp_path):
    """The published zip, somewhere else."""
    path = tmp_path / "downloads" / "whole.zip"
    path.parent.mkdir()
    path.write_bytes(_whole())
    return path


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine that answers by path."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/missing.zip":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(_whole())))
            self.end_headers()
            self.wfile.write(_whole()[:1000] if self.path == "/cut.zip" else _whole())

        def log_message(self, format: str, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def _left(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir())


def test_a_zip_is_copied_checked_and_loaded(home, source):
    seen: list[tuple[int, int | None]] = []
    path = fetch("cmapss", source, progress=lambda done, total: seen.append((done, total)))
    assert path == home / "CMAPSSData.zip"
    assert path.read_bytes() == source.read_bytes()
    assert seen[-1] == (len(_whole()), len(_whole()))
    assert _left(home) == ["CMAPSSData.zip"]
    assert load_dataset("cmapss/FD003").n_units == 100


def test_a_folder_is_packed(home, tmp_path):
    folder = write_folder(tmp_path / "unpacked" / "CMAPSSData", make_members(ALL))
    seen: list[tuple[int, int | None]] = []
    fetch("cmapss", folder.parent, progress=lambda done, total: seen.append((done, total)))
    assert load_dataset("cmapss/FD001", "test").n_units == 100
    assert seen[-1][0] == seen[-1][1]


def test_a_folder_with_the_zip_gives_the_zip(home, source):
    assert fetch("cmapss", source.parent).read_bytes() == source.read_bytes()


def test_a_url_is_downloaded(home, server):
    path = fetch("cmapss", f"{server}/whole.zip")
    assert path.read_bytes() == _whole()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("missing.zip", SourceNotFoundError, "the host answers 404.*by hand: download"),
        ("cut.zip", FormatError, "1000 of .* bytes arrived"),
    ],
)
def test_a_failed_download_leaves_nothing(home, server, name, error, message):
    with pytest.raises(error, match=message):
        fetch("cmapss", f"{server}/{name}")
    assert _left(home) == []


def test_a_host_out_of_reach_is_answered_with_what_to_do(home, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    closed = "http://127.0.0.1:9/whole.zip"
    with pytest.raises(SourceNotFoundError, match=r"out of reach.*wearcast datasets fetch cmapss --from"):
        fetch("cmapss", closed)


def test_what_arrives_damaged_does_not_replace_what_is_there(home, source, tmp_path):
    path = fetch("cmapss", source)
    members = make_members(ALL)
    members["train_FD001.txt"] = members["train_FD001.txt"][: members["train_FD001.txt"].index(b"\n99 ") + 1]
    with pytest.raises(FormatError, match=r"train_FD001.*rows, but 20631 were published"):
        fetch("cmapss", write_zip(tmp_path / "short.zip", members))
    with pytest.raises(FormatError, match="files are missing: train_FD002"):
        fetch("cmapss", write_zip(tmp_path / "few.zip", make_members(("FD001",))))
    with pytest.raises(FormatError, match="not a zip"):
        fetch("cmapss", write_folder(tmp_path / "x", {"cut.zip": _whole()[:-5000]}) / "cut.zip")
    assert path.read_bytes() == _whole()
    assert _left(home) == ["CMAPSSData.zip"]


def test_a_full_disk_does_not_replace_what_is_there(home, source, monkeypatch):
    path = fetch("cmapss", source)
    before = path.stat().st_mtime_ns

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match=r"No space left on device.*WEARCAST_DATA_DIR"):
        fetch("cmapss", source)
    assert path.stat().st_mtime_ns == before
    assert _left(home) == ["CMAPSSData.zip"]


def test_what_is_here_and_whole_is_not_fetched_again(home, source):
    path = fetch("cmapss", source)
    assert fetch("cmapss") == path


def test_what_is_here_and_damaged_is_fetched_again(home, server, monkeypatch):
    write_zip(home / "CMAPSSData.zip", make_members(("FD001",)))
    card = entry("cmapss").card.model_copy(update={"url": f"{server}/whole.zip"})
    monkeypatch.setattr("wearcast.datasets.catalogue.CARDS", (card,))
    assert fetch("cmapss").read_bytes() == _whole()


def test_sources_that_are_not_there_and_sets_without_source_are_refused(home, tmp_path):
    with pytest.raises(SourceNotFoundError, match=r"none\.zip: no such file"):
        fetch("cmapss", tmp_path / "none.zip")
    with pytest.raises(UsageError, match="simulated is built in"):
        fetch("simulated")
    with pytest.raises(SourceNotFoundError, match="did you mean 'cmapss'"):
        fetch("cmaps")


def test_the_catalogue_tells_what_is_here(home, source):
    assert {found.card.name: found.state for found in catalogue()} == {"simulated": "built in", "cmapss": "absent"}
    fetch("cmapss", source)
    found = entry("cmapss/FD001")
    assert (found.state, found.path) == ("here", home / "CMAPSSData.zip")
    (home / "CMAPSSData.zip").write_bytes(b"PK")
    assert entry("cmapss").state == "damaged"


def test_every_declared_set_says_where_it_comes_from(home):
    for card in CARDS:
        facts = entry(card.name).to_dict()
        assert all(facts[key] for key in ("title", "summary", "licence", "citation", "state"))
        assert (facts["url"] is None) == (facts["state"] == "built in")
        assert card.url is None or (card.manual_steps and card.size_bytes)


def test_the_data_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    assert dataset_dir("cmapss") == tmp_path / "cmapss"
    monkeypatch.delenv("WEARCAST_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_dir() == tmp_path / "cache" / "wearcast"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert data_dir() == Path.home() / ".cache" / "wearcast"
