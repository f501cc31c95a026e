"""What is declared, and what the catalogue says is here of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.fixtures.cmapss_files import ALL, make_members, write_folder, write_zip

from wearcast.datasets import simulated
from wearcast.datasets.card import DataFile, DatasetCard
from wearcast.datasets.catalogue import SETS, DeclaredSet, catalogue, declared, entry
from wearcast.errors import SourceNotFoundError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder."""
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    return tmp_path


def test_the_catalogue_tells_what_is_here(home: Path):
    states = {found.card.name: found.state for found in catalogue()}
    assert states["simulated"] == "built in"
    assert {state for name, state in states.items() if name != "simulated"} == {"absent"}
    write_zip(home / "cmapss" / "CMAPSSData.zip", make_members(ALL))
    found = entry("cmapss/FD001")
    assert (found.state, found.path, found.missing) == ("here", home / "cmapss" / "CMAPSSData.zip", ())
    (home / "cmapss" / "CMAPSSData.zip").write_bytes(b"PK")
    assert entry("cmapss").state == "damaged"


def test_what_is_incomplete_names_what_is_missing(home: Path):
    write_folder(home / "cmapss", make_members(("FD001", "FD002")))
    found = entry("cmapss")
    assert found.state == "incomplete"
    assert found.missing == ("train_FD003.txt", "train_FD004.txt", "test_FD003.txt", "test_FD004.txt")
    assert len(found.content) == 6


def test_the_fingerprint_is_of_the_content_not_of_the_packing(home: Path):
    members = make_members(("FD001",))
    assert entry("cmapss").fingerprint() is None
    write_folder(home / "cmapss" / "CMAPSSData", members)
    loose = entry("cmapss").fingerprint()
    for path in (home / "cmapss" / "CMAPSSData").iterdir():
        path.unlink()
    write_zip(home / "cmapss" / "c.zip", members)
    assert entry("cmapss").fingerprint() == loose
    assert loose is not None
    sums = {name: sha256 for name, _, sha256 in entry("cmapss").content}
    assert sums["RUL_FD001.txt"] == hashlib.sha256(members["RUL_FD001.txt"]).hexdigest()
    write_zip(home / "cmapss" / "c.zip", {**members, "RUL_FD001.txt": b"1\n"})
    assert entry("cmapss").fingerprint() != loose


def test_a_name_that_nobody_has_gets_the_nearest():
    assert declared("cmapss/FD003") is declared("cmapss")
    with pytest.raises(SourceNotFoundError, match="did you mean 'etth1'"):
        declared("eth1")


@pytest.mark.parametrize("one", SETS, ids=lambda one: one.card.name)
def test_every_declared_set_is_complete(one: DeclaredSet, home: Path):
    """One declaration says all that fetching, listing and Croissant need."""
    card = one.card
    facts = entry(card.name).to_dict()
    assert all(facts[key] for key in ("title", "summary", "licence", "citation", "state", "descriptions"))
    assert card.built_in == (facts["state"] == "built in")
    names = [variant.name for variant in one.variants]
    assert names == ([f"{card.name}/{subset}" for subset in card.subsets] or [card.name])
    assert set(card.units_of_measure) <= set(card.descriptions)
    if not card.built_in:
        assert card.manual_steps
        assert card.size_bytes or card.unverified
        assert card.files
        assert card.homepage
        with pytest.raises(SourceNotFoundError, match=f"wearcast datasets fetch {card.name}"):
            one.variants[0].load()


def test_there_is_one_card_of_the_simulator():
    assert declared("simulated").card is simulated.CARD


def test_a_family_of_files_has_no_single_checksum():
    with pytest.raises(ValueError, match="cannot share a checksum"):
        DataFile(pattern="*.mat", sha256="0" * 64)
    assert DataFile(pattern="*.mat").matches("OR007@6_0.mat")
    assert not DataFile(pattern="MetroPT3(AirCompressor).csv").matches("metropt2.csv")


def test_a_card_without_files_keeps_all_of_them():
    card = DatasetCard(name="x", title="X", summary="x", licence="x", citation="x", url="https://host/x.zip")
    assert card.patterns == ("*",)
    assert not card.built_in
    assert card.file_of("a") is None
