"""The artefact: whole or refused, without code, and never lost to a kill or a full disk."""

from __future__ import annotations

import hashlib
import json
import pickletools
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.bundles import KINDS, TrainedByKind, lives
from tests.fixtures.fleets import make_fleet

import wearcast.bundle.folder as folder_module
from wearcast import load_bundle, train
from wearcast.bundle import SCHEMA_VERSION, DataRecord, ModelManifest, write_bundle
from wearcast.errors import BundleCorruptError, BundleError, BundleVersionError
from wearcast.training import Experiment

FILES = {
    "cnn_bilstm": {"bundle.json", "model.onnx", "weights.safetensors", "history.json", "SHA256SUMS"},
    "tft": {"bundle.json", "model.onnx", "weights.safetensors", "history.json", "SHA256SUMS"},
    "lightgbm": {"bundle.json", "model.onnx", "history.json", "SHA256SUMS"},
}


@pytest.fixture
def copied(trained: TrainedByKind, tmp_path: Path) -> Path:
    """A copy of the CNN-BiLSTM's bundle, to be broken."""
    return Path(shutil.copytree(trained("cnn_bilstm").path, tmp_path / "copied"))


def sum_again(path: Path) -> None:
    """Make the checksums fit what lies there, as `sha256sum * > SHA256SUMS` would."""
    files = sorted(file for file in path.iterdir() if file.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (path / "SHA256SUMS").write_text("".join(lines))


def change_manifest(path: Path, **changes: object) -> None:
    """Write other values into the manifest, with checksums that fit."""
    data = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps(data | changes))
    sum_again(path)


def run_python(code: str, *arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def leftovers(folder: Path) -> list[str]:
    """What a write left beside its bundle."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


# ------------------------------------------------------------------ round trip


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_says_again_what_was_written(kind: str, trained: TrainedByKind, tmp_path: Path):
    """Moved elsewhere and loaded, it holds the same manifest, history and forecasts."""
    source = trained(kind)
    moved = load_bundle(shutil.copytree(source.path, tmp_path / "moved"), threads=1)
    assert {file.name for file in moved.path.iterdir()} == FILES[kind]
    assert moved.manifest == source.bundle.manifest
    assert moved.history == source.bundle.history
    assert ModelManifest.model_validate_json(moved.manifest.model_dump_json()) == moved.manifest
    # One thread or many add up in another order.
    np.testing.assert_allclose(lives(moved, source.fleet).rul, source.predict(source.fleet).rul, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_resolved_experiment_is_in_the_bundle(kind: str, trained: TrainedByKind):
    source = trained(kind)
    assert Experiment.model_validate(source.bundle.manifest.experiment) == source.experiment
    assert source.bundle.manifest.data.fingerprint == source.fleet.fingerprint
    assert source.bundle.manifest.model == f"test-{kind.replace('_', '-')}-seed0@{source.fleet.fingerprint[:8]}"


def test_the_checksums_are_those_of_sha256sum(copied: Path):
    ran = subprocess.run(
        [shutil.which("sha256sum") or "sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=copied,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0
    assert ran.stdout.count(b": OK") == 4


# ------------------------------------------------------------------ corruption


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "weights.safetensors", "history.json"])
@pytest.mark.parametrize("where", [0, 0.5, -1])
def test_one_flipped_bit_is_found(name: str, where: float, copied: Path):
    data = bytearray((copied / name).read_bytes())
    data[int(where * len(data)) if where >= 0 else -1] ^= 1
    (copied / name).write_bytes(data)
    with pytest.raises(BundleCorruptError, match=f"{name} has changed") as caught:
        load_bundle(copied)
    assert caught.value.where == str(copied)
    assert caught.value.exit_code == 4


def test_one_flipped_bit_of_the_checksums_is_found_wherever_it_is(copied: Path):
    whole = (copied / "SHA256SUMS").read_bytes()
    for at in range(len(whole) - 1):  # the last line end may be anything
        broken = bytearray(whole)
        broken[at] ^= 1
        (copied / "SHA256SUMS").write_bytes(broken)
        with pytest.raises(BundleCorruptError):
            load_bundle(copied)


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors", "history.json"])
def test_a_missing_file_is_named(name: str, copied: Path):
    (copied / name).unlink()
    with pytest.raises(BundleCorruptError, match=f"{name} is missing"):
        load_bundle(copied)


def test_missing_checksums(copied: Path):
    (copied / "SHA256SUMS").unlink()
    with pytest.raises(BundleCorruptError, match="checksums cannot be read"):
        load_bundle(copied)


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "weights.safetensors", "history.json"])
def test_a_file_without_a_checksum_is_not_trusted(name: str, copied: Path):
    lines = (copied / "SHA256SUMS").read_text().splitlines(keepends=True)
    (copied / "SHA256SUMS").write_text("".join(line for line in lines if name not in line))
    with pytest.raises(BundleCorruptError, match=f"{name} has no checksum"):
        load_bundle(copied)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/file", "..", ".", ""])
def test_the_checksums_lead_nowhere_else(name: str, copied: Path):
    """A name with a path in it is refused before anything is read, even where its checksum would fit."""
    (copied.parent / "secret").write_bytes(b"x")
    (copied / "sub").mkdir()
    (copied / "sub" / "file").write_bytes(b"x")
    with (copied / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(b'x').hexdigest()}  {name}\n")
    with pytest.raises(BundleCorruptError):
        load_bundle(copied)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema_version": "1"}', '{"schema_version": 1}'])
def test_a_manifest_that_is_none(content: str, copied: Path):
    (copied / "bundle.json").write_text(content)
    sum_again(copied)
    with pytest.raises(BundleCorruptError, match="not a bundle manifest"):
        load_bundle(copied)


def test_a_key_that_no_one_knows_is_refused(copied: Path):
    change_manifest(copied, on_load="import os")
    with pytest.raises(BundleCorruptError, match="on_load"):
        load_bundle(copied)


def test_a_graph_that_is_none_is_the_bundles_fault(copied: Path):
    (copied / "model.onnx").write_bytes(b"not a graph")
    sum_again(copied)
    with pytest.raises(BundleCorruptError, match="ONNX Runtime cannot read"):
        load_bundle(copied).predict(make_fleet())


# ------------------------------------------------------------------ versions


def test_a_newer_schema_is_refused_for_its_version(copied: Path):
    change_manifest(copied, schema_version=SCHEMA_VERSION + 1, new_field=1)
    with pytest.raises(BundleVersionError, match="schema version 4, this Wearcast reads up to 3") as caught:
        load_bundle(copied)
    assert "upgrade" in str(caught.value.hint)


def test_an_older_schema_is_migrated(copied: Path):
    """Version 1 knew RUL only: grid and calibration lay loose in the manifest."""
    before = load_bundle(copied).manifest
    data = json.loads((copied / "bundle.json").read_text())
    output = data.pop("output")
    data["grid"] = output["grid"]
    data["calibration"] = {"raw": output["raw"], "calibrated": output["calibrated"]}
    data["schema_version"] = 1
    del data["kind"]
    (copied / "bundle.json").write_text(json.dumps(data))
    sum_again(copied)
    assert load_bundle(copied).manifest == before


def test_an_older_schema_without_a_migration(copied: Path):
    change_manifest(copied, schema_version=0)
    with pytest.raises(BundleCorruptError, match="no way from schema version 0"):
        load_bundle(copied)


# ------------------------------------------------------------------ no bundle


@pytest.mark.parametrize("place", ["absent", "empty", "file", "file/deeper", "."])
def test_no_bundle_here(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file").write_text("x")
    with pytest.raises(BundleError, match="there is no bundle here") as caught:
        load_bundle(place)
    assert caught.value.hint == "train one with `wearcast train`"


# ------------------------------------------------------------------ no code


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_a_bundle_is_pickled(kind: str, trained: TrainedByKind):
    """No file is a zip (torch's container), and none starts as a pickle of protocol 2 and above does or is one."""
    for file in trained(kind).path.iterdir():
        assert not zipfile.is_zipfile(file), file.name
        data = file.read_bytes()
        assert not data.startswith(b"\x80"), file.name
        with pytest.raises(ValueError, match=r".+"):
            list(pickletools.genops(data))
        for global_opcode in (b"c__builtin__\n", b"cposix\n", b"ctorch", b"cnumpy", b"\x8c\x08builtins"):
            assert global_opcode not in data, file.name


def test_weights_are_safetensors(copied: Path):
    """The format is its own proof: a length, a JSON header that names every byte, and numbers."""
    data = (copied / "weights.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    spans = sorted(tensor["data_offsets"] for name, tensor in header.items() if name != "__metadata__")
    assert spans[0][0] == 0
    assert all(end == start for (_, end), (start, _) in pairwise(spans))
    assert 8 + length + spans[-1][1] == len(data)
    assert all(np.isfinite(np.frombuffer(data[8 + length :], dtype="<f4")))


def test_a_bundle_serves_without_what_trained_it(trained: TrainedByKind, tmp_path: Path):
    """In a process where torch, lightning, lightgbm, onnx and pickle's loaders cannot be had."""
    code = """
import importlib.abc, importlib.machinery, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        root = name.partition('.')[0]
        if root in {'torch', 'lightning', 'lightgbm', 'onnx', 'safetensors', 'sklearn'}:
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec): raise ImportError(f'refused: {spec.name}')
    def exec_module(self, module): pass
sys.meta_path.insert(0, Refuse())
import pickle
def refuse(*_, **__): raise AssertionError('something was unpickled')
pickle.load = pickle.loads = pickle.Unpickler = refuse
import numpy as np
from wearcast import Fleet, load_bundle
import polars as pl
frame = pl.read_parquet(sys.argv[1])
for path in sys.argv[2:]:
    bundle = load_bundle(path)
    covariates = 'site' in bundle.manifest.preprocessing.columns
    fleet = Fleet.from_frame(frame, unit='unit', cycle='time', sensors=['s0', 's1', 's2'], settings=['load'],
        statics=['power', 'site'] if covariates else [], known_future=['plan'] if covariates else [])
    print(*bundle.predict(fleet).rul.tolist())
"""
    fleet = trained("tft").fleet
    fleet.frame.write_parquet(tmp_path / "fleet.parquet")
    sources = [trained(kind) for kind in KINDS]
    ran = run_python(code, tmp_path / "fleet.parquet", *(source.path for source in sources))
    assert ran.returncode == 0, ran.stderr
    for source, line in zip(sources, ran.stdout.splitlines(), strict=True):
        np.testing.assert_allclose([float(x) for x in line.split()], source.predict(fleet).rul, rtol=1e-5)


# ------------------------------------------------------------------ writing


def write_files(place: Path, content: bytes) -> None:
    """A bundle in all that `write_bundle` looks at."""
    with write_bundle(place) as scratch:
        (scratch / "bundle.json").write_bytes(content)
        (scratch / "model.onnx").write_bytes(content * 1000)


WRITE = """
import os, signal, sys
from pathlib import Path
import wearcast.bundle.folder as bundle
place, at = Path(sys.argv[1]), sys.argv[2]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if at in ('_sync', '_swap', '_exchange', '_sha256'):
    setattr(bundle, at, die)
if at in ('between', 'removing'):
    bundle._exchange = lambda *_: False
if at == 'between':
    real, calls = Path.rename, []
    def rename(self, target):
        calls.append(target)
        if len(calls) == 2: die()
        return real(self, target)
    Path.rename = rename
if at in ('removing', 'exchanged'):
    real = bundle.shutil.rmtree
    def rmtree(path, **options):
        if place.exists() and b'new' in (place / 'bundle.json').read_bytes(): die()
        return real(path, **options)
    bundle.shutil.rmtree = rmtree
with bundle.write_bundle(place) as scratch:
    (scratch / 'bundle.json').write_bytes(b'new')
    if at == 'body': die()
    (scratch / 'model.onnx').write_bytes(b'new' * 1000)
"""


@pytest.mark.parametrize("at", ["body", "_sha256", "_sync", "_swap", "_exchange"])
def test_a_kill_during_a_write_leaves_the_old_bundle(at: str, copied: Path):
    before = {file.name: file.read_bytes() for file in copied.iterdir()}
    ran = run_python(WRITE, copied, at)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert {file.name: file.read_bytes() for file in copied.iterdir()} == before
    load_bundle(copied)
    assert len(leftovers(copied.parent)) == 1
    write_files(copied, b"next")  # and the next writer cleans up
    assert leftovers(copied.parent) == []
    assert (copied / "bundle.json").read_bytes() == b"next"


@pytest.mark.parametrize("at", ["removing", "exchanged"])
def test_a_kill_after_the_swap_leaves_the_new_bundle(at: str, copied: Path):
    ran = run_python(WRITE, copied, at)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert (copied / "bundle.json").read_bytes() == b"new"
    write_files(copied, b"next")
    assert leftovers(copied.parent) == []


def test_a_kill_in_the_middle_of_a_swap_of_two_steps_says_where_the_old_bundle_is(copied: Path):
    """Where the file system cannot exchange two folders in one step, there is a moment with neither in place."""
    sums = (copied / "SHA256SUMS").read_bytes()
    assert run_python(WRITE, copied, "between").returncode == -signal.SIGKILL
    with pytest.raises(BundleError, match="rename it back") as caught:
        load_bundle(copied)
    aside = copied.with_name(".copied.previous")
    assert str(aside) in str(caught.value.hint)
    assert (aside / "SHA256SUMS").read_bytes() == sums
    load_bundle(aside)
    write_files(copied, b"next")
    assert leftovers(copied.parent) == []


def test_this_file_system_swaps_in_one_step(tmp_path: Path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    if not folder_module._exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("renameat2(RENAME_EXCHANGE) is not to be had on this file system")
    assert (tmp_path / "one" / "file").read_text() == "other"
    assert (tmp_path / "other" / "file").read_text() == "one"


def test_an_exception_while_writing_leaves_the_old_bundle(copied: Path):
    def broken() -> None:
        with write_bundle(copied) as scratch:
            (scratch / "bundle.json").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    load_bundle(copied)
    assert leftovers(copied.parent) == []


def test_a_living_writer_keeps_its_scratch_directory(tmp_path: Path):
    """Two trainings of one name do not sweep each other away; the last one stays."""
    with write_bundle(tmp_path / "b") as first:
        (first / "bundle.json").write_text("first")
        write_files(tmp_path / "b", b"second")
        assert (first / "bundle.json").exists()
        assert (tmp_path / "b" / "bundle.json").read_bytes() == b"second"
    assert (tmp_path / "b" / "bundle.json").read_text() == "first"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("exchange", [True, False])
def test_a_swap_that_fails_puts_the_old_bundle_back(exchange: bool, copied: Path, monkeypatch: pytest.MonkeyPatch):
    if not exchange:
        monkeypatch.setattr(folder_module, "_exchange", lambda *_: False)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(18, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    if exchange:
        monkeypatch.setattr(folder_module, "_exchange", lambda *_: False)
    with pytest.raises(BundleError, match="cross-device"):
        write_files(copied, b"new")
    load_bundle(copied)
    assert leftovers(copied.parent) == []


FULL = """
import resource, signal, sys
from wearcast.bundle import write_bundle
from wearcast.errors import BundleError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with write_bundle(sys.argv[1]) as scratch:
        (scratch / 'bundle.json').write_bytes(b'x' * 10)
        (scratch / 'model.onnx').write_bytes(b'x' * 5000)
except BundleError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("room", [0, 5, 1000])
def test_a_disk_that_is_full_leaves_the_old_bundle(room: int, copied: Path):
    """Room for nothing, for half of the manifest, for half of the graph."""
    ran = run_python(FULL, copied, room)
    assert ran.returncode == 4, ran.stderr
    assert "File too large" in ran.stdout
    assert "unchanged" in ran.stdout
    load_bundle(copied)
    assert leftovers(copied.parent) == []


def test_with_room_enough_that_very_program_writes(tmp_path: Path):
    assert run_python(FULL, tmp_path / "b", 100_000).returncode == 0
    assert (tmp_path / "b" / "SHA256SUMS").exists()


def test_a_place_below_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="cannot write here"):
        write_files(tmp_path / "file" / "bundle", b"x")


def test_a_link_stays_a_link(copied: Path, tmp_path: Path):
    (tmp_path / "latest").symlink_to(copied)
    write_files(tmp_path / "latest", b"new")
    assert (tmp_path / "latest").is_symlink()
    assert (copied / "bundle.json").read_bytes() == b"new"


@given(content=st.dictionaries(st.sampled_from(["bundle.json", "model.onnx", "extra.bin"]), st.binary(max_size=50)))
def test_what_is_written_is_what_is_there(tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes]):
    place = tmp_path_factory.mktemp("write") / "b"
    with write_bundle(place) as scratch:
        for name, data in content.items():
            (scratch / name).write_bytes(data)
    assert {f.name: f.read_bytes() for f in place.iterdir() if f.name != "SHA256SUMS"} == content
    assert len((place / "SHA256SUMS").read_text().splitlines()) == len(content)


# ------------------------------------------------------------------ what is not a bundle is spared


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path, trained: TrainedByKind):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "paper.txt").write_text("more")
    for place in ("mine", "paper.txt"):
        with pytest.raises(BundleError, match=r"something else|this is a file"):
            train(trained("lightgbm").experiment, trained("lightgbm").fleet, out=tmp_path / place, force=True)
        with pytest.raises(BundleError, match=r"something else|this is a file"):
            write_files(tmp_path / place, b"x")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "paper.txt"]


def test_the_folder_we_are_in_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(BundleError, match="the folder that you are in"):
        write_files(Path(), b"x")


def test_an_empty_folder_may_become_a_bundle(tmp_path: Path):
    (tmp_path / "b").mkdir()
    write_files(tmp_path / "b", b"x")
    assert (tmp_path / "b" / "bundle.json").read_bytes() == b"x"
    assert leftovers(tmp_path) == []


def test_loading_takes_little(trained: TrainedByKind):
    """Checking every byte of a small bundle is no reason to keep a service waiting."""
    path = trained("tft").path
    started = time.process_time()
    load_bundle(path)
    assert time.process_time() - started < 1.0


def test_units_are_known_again_under_another_name_or_cut_off() -> None:
    fleet = make_fleet(units=4, cycles=40)
    data = DataRecord.of(fleet.select([1, 2]), train=[1], validation=[2], rows=40)
    assert data.units_seen(fleet) == (1, 2)
    renamed = replace(fleet, frame=fleet.frame.with_columns(pl.col("unit") + 10), events=fleet.events.clear())
    assert data.units_seen(renamed) == (11, 12)
    cut = replace(renamed, frame=renamed.frame.filter(pl.col("time") <= 12))
    assert data.units_seen(cut) == (11, 12)
    assert data.units_seen(make_fleet(units=4, cycles=40, seed=1)) == ()


def test_a_unit_of_a_few_readings_is_not_taken_for_another() -> None:
    fleet = make_fleet(units=3, cycles=40)
    short = replace(fleet, frame=fleet.frame.filter(pl.col("time") <= 9), events=fleet.events.clear())
    assert short.beginnings == ("", "", "")
    assert DataRecord.of(short, train=short.units, validation=(), rows=27).units_seen(fleet) == ()
