"""Fetching: whole and checked, or nothing changes; and what arrives that nobody published."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from tests.fixtures.cmapss_files import ALL, make_members, write_folder, write_zip, zip_bytes
from tests.fixtures.fleets import make_fleet
from tests.fixtures.http_server import Reply, Server, running_server

from wearcast.datasets import archive, catalogue, load_dataset
from wearcast.datasets.archive import open_archive
from wearcast.datasets.card import DataFile, DatasetCard
from wearcast.datasets.catalogue import DeclaredSet, entry
from wearcast.datasets.download import Retries
from wearcast.datasets.fetch import fetch
from wearcast.datasets.location import data_dir, dataset_dir, located
from wearcast.errors import DataError, FormatError, SourceNotFoundError, UsageError
from wearcast.fleet import Fleet

ALL_SETS = catalogue.SETS
FAST = Retries(attempts=2, base_s=0.001, timeout_s=5.0)


FILES = sorted(name for name in make_members(ALL) if name != "readme.txt")
SMALL = {"readme.txt": b"made for a test", **{name: f"{name} 1 2 3\n".encode() * 20_000 for name in FILES}}
"""Files of the right names; their content is looked at where a test says `loaded`."""


@cache
def _whole(loaded: bool = False) -> bytes:
    return zip_bytes(make_members(ALL) if loaded else SMALL)


def _declare(monkeypatch: pytest.MonkeyPatch, loaded: bool = False, **changes: object) -> DatasetCard:
    """C-MAPSS with another card; without the checksums of the published files, which made-up ones cannot have."""
    one = next(one for one in ALL_SETS if one.card.name == "cmapss")
    files = tuple(file.model_copy(update={"sha256": None}) for file in one.card.files)
    card = one.card.model_copy(update={"files": files, "sha256": None, "mirrors": (), **changes})
    monkeypatch.setattr(catalogue, "SETS", (DeclaredSet(card, one.variants if loaded else ()),))
    return card


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty data folder that does not exist yet."""
    for variable in ("WEARCAST_MIRROR", "WEARCAST_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path / "data"))
    _declare(monkeypatch)
    return tmp_path / "data" / "cmapss"


@pytest.fixture
def source(tmp_path):
    """The published zip, somewhere else."""
    path = tmp_path / "downloads" / "whole.zip"
    path.parent.mkdir()
    path.write_bytes(_whole())
    return path


@pytest.fixture
def loaded(home, source, monkeypatch):
    """The content is looked at, too."""
    _declare(monkeypatch, loaded=True)
    source.write_bytes(_whole(loaded=True))
    return make_members(ALL)


@pytest.fixture
def server(monkeypatch):
    """A server that no proxy is asked for, with the published zip."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_server() as running:
        running.serve("/whole.zip", Reply(_whole(), headers={"ETag": '"one"'}))
        yield running


def _left(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.is_file()) if home.exists() else []


def test_a_zip_is_unpacked_checked_and_loaded(home, source, loaded):
    seen: list[tuple[int, int | None]] = []
    path = fetch("cmapss", source, progress=lambda done, total: seen.append((done, total)))
    assert path == home
    assert _left(home) == FILES
    assert (home / "train_FD001.txt").read_bytes() == loaded["train_FD001.txt"]
    assert seen[-1][0] == seen[-1][1]
    assert load_dataset("cmapss/FD003").n_units == 100
    assert _left(home.parent) == FILES  # nothing beside it


def test_a_folder_is_copied_without_the_folders_that_all_share(home, tmp_path):
    folder = write_folder(tmp_path / "unpacked" / "a" / "CMAPSSData", SMALL)
    fetch("cmapss", folder.parent.parent)
    assert sorted(path.name for path in home.iterdir()) == FILES


def test_a_folder_with_the_zip_gives_what_is_in_the_zip(home, source):
    fetch("cmapss", source.parent)
    assert _left(home) == FILES


def test_the_folder_itself_is_only_checked(home):
    write_folder(home, SMALL)
    assert fetch("cmapss", home) == home
    (home / "train_FD004.txt").unlink()
    with pytest.raises(FormatError, match="files are missing: train_FD004"):
        fetch("cmapss", f"file://{home}")


def test_the_truth_may_be_missing(home, tmp_path):
    members = dict(SMALL)
    del members["RUL_FD002.txt"], members["RUL_FD004.txt"]
    fetch("cmapss", write_zip(tmp_path / "few.zip", members))
    assert entry("cmapss").state == "here"


def test_a_url_is_downloaded(home, server: Server):
    fetch("cmapss", f"{server.url}/whole.zip")
    assert _left(home.parent) == FILES


def test_a_download_that_breaks_goes_on_next_time(home, server: Server):
    tag = {"ETag": '"one"'}
    cut = Reply(_whole(), headers=tag, stop_after=1000, ranges=False)
    url = server.serve("/cut.zip", cut, Reply(status=503), Reply(status=503), Reply(_whole(), headers=tag))
    with pytest.raises(FormatError, match=r"503.*run it again: it goes on from there; or by hand: download"):
        fetch("cmapss", url, retries=FAST)
    assert not home.exists()
    fetch("cmapss", url, retries=FAST)
    assert server.ranges()[-1] == "bytes=1000-"
    assert _left(home.parent) == FILES


def test_what_is_not_there_is_answered_with_what_to_do(home, server: Server):
    with pytest.raises(SourceNotFoundError, match=r"the host answers 404.*by hand: download.*fetch cmapss --from"):
        fetch("cmapss", f"{server.url}/missing.zip")
    assert _left(home.parent) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<!DOCTYPE html><html>Please log in</html>", "a web page arrived"),
        (_whole()[:-5000], "truncated or not a zip"),
        (b"unit cycle\n1 1\n", "is not one of its files"),
    ],
)
def test_other_bytes_are_refused_and_not_gone_on_from(body, message, home, server: Server):
    url = server.serve("/x", Reply(body, headers={"ETag": '"one"'}), Reply(_whole(), headers={"ETag": '"one"'}))
    with pytest.raises(FormatError, match=message):
        fetch("cmapss", url, retries=FAST)
    assert _left(home.parent) == []
    fetch("cmapss", url, retries=FAST)
    assert server.ranges() == [None, None]


def test_the_mirror_is_asked_first_and_the_published_place_next(home, server: Server, monkeypatch):
    _declare(monkeypatch, url=f"{server.url}/whole.zip")
    monkeypatch.setenv("WEARCAST_MIRROR", f"{server.url}/copies/")
    fetch("cmapss")
    assert [path for path, _ in server.asked] == ["/copies/cmapss/whole.zip", "/whole.zip"]


def test_a_mirror_of_the_call_wins_and_is_enough(home, server: Server, monkeypatch):
    _declare(monkeypatch, url="http://127.0.0.1:9/whole.zip")
    monkeypatch.setenv("WEARCAST_MIRROR", "http://127.0.0.1:9")
    server.serve("/m/cmapss/whole.zip", Reply(_whole()))
    fetch("cmapss", mirror=f"{server.url}/m")
    assert _left(home) == FILES
    (home / "train_FD001.txt").unlink()
    with pytest.raises(UsageError, match="a mirror is an http"):
        fetch("cmapss", mirror="/somewhere")


def test_a_published_mirror_helps_where_the_first_place_has_other_bytes(home, server: Server, monkeypatch):
    wrong = server.serve("/wrong.zip", Reply(_whole()))
    _declare(monkeypatch, url=wrong, sha256="0" * 64, mirrors=(f"{server.url}/whole.zip",))
    fetch("cmapss", retries=FAST)
    assert [path for path, _ in server.asked] == ["/wrong.zip", "/whole.zip"]
    assert _left(home.parent) == FILES


def test_files_that_are_published_one_by_one_are_all_downloaded(home, server: Server, monkeypatch):
    card = _declare(monkeypatch)
    members = SMALL
    files = []
    for file in card.files:
        url = server.serve(f"/{file.pattern}", Reply(members[file.pattern]))
        files.append(file.model_copy(update={"url": url}))
    _declare(monkeypatch, files=tuple(files))
    fetch("cmapss")
    assert _left(home.parent) == FILES


def test_a_set_without_a_single_place_says_how_to_get_it(home, server: Server, monkeypatch):
    _declare(monkeypatch, url=None)
    with pytest.raises(SourceNotFoundError, match=r"cannot be downloaded in one go \(by hand: download"):
        fetch("cmapss", mirror=server.url)


@pytest.mark.parametrize("how", ["call", "environment"])
def test_offline_nothing_is_asked_for(how, home, server: Server, monkeypatch):
    _declare(monkeypatch, url=f"{server.url}/whole.zip")
    monkeypatch.setenv("WEARCAST_OFFLINE", "1" if how == "environment" else "0")
    with pytest.raises(SourceNotFoundError, match=r"nothing is downloaded while offline \(by hand: download"):
        fetch("cmapss", offline=True if how == "call" else None)
    assert server.asked == []


def test_offline_a_file_is_still_taken(home, source):
    fetch("cmapss", source, offline=True)
    assert fetch("cmapss", offline=True) == home


def test_what_arrives_damaged_does_not_replace_what_is_there(home, source, tmp_path, loaded):
    fetch("cmapss", source)
    before = {path: path.stat().st_mtime_ns for path in home.iterdir()}
    members = dict(loaded)
    members["train_FD001.txt"] = members["train_FD001.txt"][: members["train_FD001.txt"].index(b"\n99 ") + 1]
    with pytest.raises(FormatError, match=r"train_FD001.*rows, but 20631 were published"):
        fetch("cmapss", write_zip(tmp_path / "short.zip", members))
    with pytest.raises(FormatError, match="files are missing: train_FD002"):
        fetch("cmapss", write_zip(tmp_path / "few.zip", {"train_FD001.txt": b"x"}))
    with pytest.raises(FormatError, match="not a zip"):
        fetch("cmapss", write_folder(tmp_path / "x", {"cut.zip": _whole()[:-5000]}) / "cut.zip")
    assert {path: path.stat().st_mtime_ns for path in home.iterdir()} == before
    assert _left(home.parent) == FILES


def test_changed_values_are_refused_by_their_checksum(home, source, monkeypatch):
    import hashlib

    members = dict(SMALL)
    card = _declare(monkeypatch)
    files = [
        file.model_copy(update={"sha256": hashlib.sha256(members[file.pattern]).hexdigest()}) for file in card.files
    ]
    _declare(monkeypatch, files=tuple(files))
    windows = {name: data.replace(b"\n", b"\r\n") for name, data in members.items()}
    fetch("cmapss", write_zip(source.parent / "windows.zip", windows))  # other line ends are the same data
    members["test_FD003.txt"] = members["test_FD003.txt"].replace(b"3\n", b"4\n", 1)
    with pytest.raises(FormatError, match=r"test_FD003\.txt: the content is not what was published"):
        fetch("cmapss", write_zip(source.parent / "changed.zip", members))


def test_a_full_disk_does_not_replace_what_is_there(home, source, monkeypatch):
    fetch("cmapss", source)
    before = (home / "train_FD001.txt").stat().st_mtime_ns

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match=r"No space left on device.*WEARCAST_DATA_DIR"):
        fetch("cmapss", source)
    assert (home / "train_FD001.txt").stat().st_mtime_ns == before
    assert _left(home.parent) == FILES


def test_a_disk_that_fills_up_while_unpacking_is_called_that(home, source, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wearcast.datasets.fetch.os.fsync", full)
    with pytest.raises(DataError, match="cannot be written: No space left on device"):
        fetch("cmapss", source)
    assert _left(home.parent) == []


def test_what_is_here_and_whole_is_not_fetched_again(home, source):
    path = fetch("cmapss", source)
    assert fetch("cmapss") == path


def test_what_is_here_and_damaged_is_fetched_again(home, server: Server, monkeypatch):
    _declare(monkeypatch, url=f"{server.url}/whole.zip")
    write_zip(home / "CMAPSSData.zip", {"train_FD001.txt": b"x"})
    assert entry("cmapss").state == "incomplete"
    assert entry("cmapss").missing[0] == "train_FD002.txt"
    fetch("cmapss")
    assert entry("cmapss").state == "here"
    assert (home / "train_FD001.txt").read_bytes() == SMALL["train_FD001.txt"]  # not the one in the zip


def test_what_is_here_under_its_name_but_cut_off_is_fetched_again(home, server: Server, loaded, monkeypatch):
    _declare(monkeypatch, loaded=True, url=server.serve("/loaded.zip", Reply(_whole(loaded=True))))
    write_folder(home, {**loaded, "test_FD002.txt": loaded["test_FD002.txt"][:-500]})
    assert entry("cmapss").state == "here"
    fetch("cmapss")
    assert (home / "test_FD002.txt").read_bytes() == loaded["test_FD002.txt"]


@dataclass(frozen=True)
class _Part:
    """A variant that is there, or not."""

    name: str

    def load(self, split: str = "train") -> Fleet:
        with open_archive(dataset_dir("cmapss"), f"{self.name}.csv"):
            return make_fleet(units=1)


def test_of_several_variants_one_is_enough(home, tmp_path, monkeypatch):
    card = _declare(monkeypatch, files=(DataFile(pattern="*.csv", required=False),))
    monkeypatch.setattr(catalogue, "SETS", (DeclaredSet(card, (_Part("2"), _Part("3"))),))
    fetch("cmapss", write_folder(tmp_path / "three", {"3.csv": b"x"}))
    assert _left(home) == ["3.csv"]
    with pytest.raises(SourceNotFoundError, match=r"there is no 3\.csv"):
        fetch("cmapss", write_folder(tmp_path / "four", {"4.csv": b"x"}))
    assert _left(home) == ["3.csv"]


def test_other_files_in_the_folder_stay(home, source):
    write_folder(home, {"mine.txt": b"notes"})
    fetch("cmapss", source)
    assert (home / "mine.txt").read_bytes() == b"notes"


def test_sources_that_are_not_there_and_sets_without_source_are_refused(home, tmp_path, monkeypatch):
    with pytest.raises(SourceNotFoundError, match=r"none\.zip: no such file"):
        fetch("cmapss", tmp_path / "none.zip")
    with pytest.raises(UsageError, match="s3 is not downloaded"):
        fetch("cmapss", "s3://bucket/whole.zip")
    with pytest.raises(SourceNotFoundError, match="did you mean 'cmapss'"):
        fetch("cmaps")
    monkeypatch.undo()
    with pytest.raises(UsageError, match="simulated is built in"):
        fetch("simulated")


def test_a_single_file_gets_the_name_that_the_set_knows(home, tmp_path, monkeypatch):
    _declare(monkeypatch, files=(DataFile(pattern="a.csv"),))
    (tmp_path / "export (1).csv").write_bytes(b"x\n1\n")
    fetch("cmapss", tmp_path / "export (1).csv")
    assert (home / "a.csv").read_bytes() == b"x\n1\n"


@pytest.mark.parametrize("shape", ["folder", "zip in a folder", "zip", "file", "URL of a zip", "URL of a file"])
def test_a_set_of_one_file_comes_in_any_shape(shape, home, tmp_path, server: Server, monkeypatch):
    _declare(monkeypatch, files=(DataFile(pattern="ETTh1.csv"),))
    data = b"date,OT\n1,2\n"
    packed = zip_bytes({"ETT-small/ETTh1.csv": data, "ETT-small/ETTh2.csv": b"x"})
    sources: dict[str, str | Path] = {
        "folder": write_folder(tmp_path / "a" / "b", {"ETTh1.csv": data, "ETTh2.csv": b"x"}).parent,
        "zip in a folder": write_folder(tmp_path / "c", {"ETT.zip": packed}),
        "zip": write_folder(tmp_path / "d", {"ETT (1).zip": packed}) / "ETT (1).zip",
        "file": write_folder(tmp_path / "e", {"ETTh1.csv": data}) / "ETTh1.csv",
        "URL of a zip": server.serve("/download?id=7", Reply(packed)),
        "URL of a file": server.serve("/raw/ETTh1.csv", Reply(data)),
    }
    fetch("cmapss", sources[shape])
    assert _left(home.parent) == ["ETTh1.csv"]
    assert (home / "ETTh1.csv").read_bytes() == data


def test_an_interrupt_leaves_nothing_half(home, source, monkeypatch):
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wearcast.datasets.fetch.verify", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch("cmapss", source)
    assert list(home.parent.iterdir()) == []


def test_what_a_crash_left_is_swept_up(home, source):
    stale, fresh = home.parent / ".arriving-stale", home.parent / ".arriving-fresh"
    for folder in (stale, fresh):
        write_folder(folder, {"x": b"x"})
    os.utime(stale, (0, 0))
    fetch("cmapss", source)
    assert (stale.exists(), fresh.exists()) == (False, True)


REAL = os.environ.get("WEARCAST_DATA_DIR")


@pytest.mark.parametrize("one", [one for one in ALL_SETS if not one.card.built_in], ids=lambda one: one.card.name)
def test_the_real_files_are_fetched(one, tmp_path, monkeypatch):
    """Every declared set, from the files that are here, with the checksums of the published ones."""
    source = Path(REAL or "") / one.card.name
    if not REAL or not source.is_dir():
        pytest.skip(f"WEARCAST_DATA_DIR does not hold {one.card.name}/")
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    fetch(one.card.name, source)
    found = entry(one.card.name)
    assert (found.state, found.missing) == ("here", ())
    assert found.fingerprint() is not None


# ---------------------------------------------------------------------- hostile zips


def _zip_with(path: Path, *infos: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in SMALL.items():
            packed.writestr(name, data)
        for info, data in infos:
            packed.writestr(info, data)
    return path


def _info(name: str, mode: int = 0o644, compress_type: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = compress_type
    return info


@pytest.mark.parametrize(
    "name", ["../train_FD002.txt", "/etc/train_FD002.txt", "a/../../b.txt", "..\\b.txt", "C:\\b.txt"]
)
def test_a_name_that_leads_out_of_the_zip_is_refused(name, home, tmp_path):
    path = _zip_with(tmp_path / "evil.zip", (_info(name), b"1 1\n"))
    with pytest.raises(FormatError, match=r"leads out of the zip.*nothing was unpacked"):
        fetch("cmapss", path)
    assert sorted(found.name for found in tmp_path.rglob("*") if found.is_file()) == ["evil.zip"]


def test_a_link_in_a_zip_is_refused(home, tmp_path):
    path = _zip_with(tmp_path / "link.zip", (_info("x/train_FD002.txt", stat.S_IFLNK | 0o777), b"/etc/passwd"))
    with pytest.raises(FormatError, match="is a link"):
        fetch("cmapss", path)


def test_a_name_that_is_there_twice_is_refused(home, tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = _zip_with(tmp_path / "twice.zip", (_info("train_FD002.txt"), b"1 1\n"))
    with pytest.raises(FormatError, match=r"'train_FD002\.txt' is there twice"):
        fetch("cmapss", path)


def test_a_zip_bomb_is_refused_before_it_unpacks(home, tmp_path, monkeypatch):
    zeros = _info("x/train_FD002.txt", compress_type=zipfile.ZIP_DEFLATED)
    path = _zip_with(tmp_path / "bomb.zip", (zeros, bytes(30 << 20)))
    with pytest.raises(FormatError, match=r"train_FD002\.txt' would unpack to \d+ times its size"):
        fetch("cmapss", path)
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 1000)
    with pytest.raises(FormatError, match=r"would unpack to .* is the limit"):
        fetch("cmapss", _zip_with(tmp_path / "large.zip"))
    monkeypatch.setattr(archive, "_MAX_MEMBERS", 2)
    with pytest.raises(FormatError, match="files are too many"):
        fetch("cmapss", tmp_path / "large.zip")
    assert not home.exists()


def test_a_bomb_within_a_zip_is_refused_too(home, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_MAX_NESTED", 1000)
    with pytest.raises(FormatError, match="the zip within the zip is too large"):
        fetch("cmapss", write_zip(tmp_path / "outer.zip", {"CMAPSSData.zip": _whole()}))


def test_zips_within_a_zip_are_looked_into_only_if_need_be(home, tmp_path):
    inner = zip_bytes({"a/2.csv": b"2"})
    path = write_zip(tmp_path / "outer.zip", {"other.zip": zip_bytes({"x": b"x"}), "1.csv": b"1", "in.zip": inner})
    with open_archive(path, "1.csv") as opened:
        assert opened.read("1.csv") == b"1"
    with open_archive(path, "2.csv") as opened:
        assert opened.read("2.csv") == b"2"
        assert opened.file("2.csv") is None
    with pytest.raises(SourceNotFoundError, match=r"there is no 3\.csv"), open_archive(path, "3.csv"):
        pass


def test_an_encrypted_zip_is_called_that(home, tmp_path):
    path = _zip_with(tmp_path / "locked.zip")
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"readme\.txt' is encrypted"):
        fetch("cmapss", path)


def test_folders_within_a_set_are_kept(tmp_path):
    write_folder(tmp_path / "x" / "inner", {"1.csv": b"a"})
    write_folder(tmp_path / "x" / "outer", {"1.csv": b"b", "2.csv": b"c"})
    with open_archive(tmp_path, "*.csv") as opened:
        assert opened.find("1.*") == ("x/inner/1.csv", "x/outer/1.csv")
        assert catalogue.plain(opened.find("*.csv")) == ["inner/1.csv", "outer/1.csv", "outer/2.csv"]
        assert opened.read("x/outer/1.csv") == b"b"
        assert opened.file("2.csv") == tmp_path / "x" / "outer" / "2.csv"
    assert catalogue.plain(["a/b.csv"]) == ["b.csv"]
    assert catalogue.plain(["b.csv", "a/c.csv"]) == ["b.csv", "a/c.csv"]


def test_a_set_is_looked_for_elsewhere_within_the_block_only(home, tmp_path):
    with located("cmapss", tmp_path):
        assert dataset_dir("cmapss") == tmp_path
        assert dataset_dir("etth1") == data_dir() / "etth1"
    assert dataset_dir("cmapss") == home


def test_the_data_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    assert dataset_dir("cmapss") == tmp_path / "cmapss"
    monkeypatch.delenv("WEARCAST_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_dir() == tmp_path / "cache" / "wearcast"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert data_dir() == Path.home() / ".cache" / "wearcast"
