"""Every published set as Croissant, held against the format and, where it is installed, against mlcroissant."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.cmapss_files import make_readings

from wearcast.datasets import cmapss, simulated
from wearcast.datasets.card import DataFile, DatasetCard
from wearcast.datasets.catalogue import SETS
from wearcast.datasets.croissant import croissant
from wearcast.errors import UsageError

CARDS = [one.card for one in SETS if not one.card.built_in]
BASE = DatasetCard(
    name="pumps", title="Pumps", summary="Two pumps.", licence="CC0", citation="Nobody, 2020.",
    descriptions={"flow": "flow"}, units_of_measure={"flow": "m³/h"}, files=(DataFile(pattern="pumps.csv"),),
    url="https://host.invalid/pumps.csv",
)  # fmt: skip
MADE: list[DatasetCard] = [
    BASE,
    BASE.model_copy(
        update={"files": (DataFile(pattern="my pumps.csv"),), "descriptions": {"flow": "flow", "outlet flow": "flow"}}
    ),
    BASE.model_copy(update={"url": "https://host.invalid/all.zip", "files": (DataFile(pattern="*.csv"),)}),
    BASE.model_copy(
        update={"url": None, "files": (DataFile(pattern="*.mat", media_type="application/x-matlab-data"),)}
    ),
    BASE.model_copy(
        update={"files": tuple(DataFile(pattern=f"{i}.csv", url=f"https://host.invalid/{i}.csv") for i in (1, 2))}
    ),
]


theirs = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of what mlcroissant uses


def _fields(described: dict[str, Any]) -> list[dict[str, Any]]:
    return [field for table in described["recordSet"] for field in table["field"]]


@pytest.mark.parametrize("card", CARDS + MADE, ids=lambda card: card.name)
def test_files_tables_and_fields_are_complete(card: DatasetCard):
    described = croissant(card)
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert all(described[key] for key in ("name", "description", "license", "citeAs", "distribution", "recordSet"))
    idents = {thing["@id"] for thing in described["distribution"]}
    includes = [pattern for thing in described["distribution"] for pattern in thing.get("includes", [])]
    for file in card.files:
        assert file.pattern.replace(" ", "_") in idents or f"*{file.pattern}" in includes
    named = {field["name"] for field in _fields(described)}
    assert {name for name in card.descriptions if not any(file.columns for file in card.files)} <= named
    for field in _fields(described):
        source = field["source"].get("fileObject") or field["source"]["fileSet"]
        assert source["@id"] in idents
        assert field["dataType"].startswith("sc:")


@theirs
@pytest.mark.parametrize("card", CARDS + MADE, ids=lambda card: card.name)
def test_mlcroissant_finds_nothing_wrong(card: DatasetCard, tmp_path: Path):
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    path = tmp_path / "croissant.json"
    path.write_text(json.dumps(croissant(card)), encoding="utf-8")
    issues = mlcroissant.Dataset(jsonld=path).metadata.issues
    assert not issues.errors


@theirs
def test_mlcroissant_reads_a_table_by_its_description(tmp_path: Path):
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    (tmp_path / "pumps.csv").write_text("flow\n1.5\n2.5\n")
    dataset = mlcroissant.Dataset(jsonld=croissant(BASE), mapping={"pumps.csv": str(tmp_path / "pumps.csv")})
    assert [record["table-1/flow"] for record in dataset.records("table-1")] == [1.5, 2.5]


def test_the_expression_for_a_column_without_a_name_finds_it():
    described = croissant(cmapss.CARD)
    line = make_readings("FD001", "train").splitlines()[6].decode()
    readings, truth = described["recordSet"]
    found = [re.match(field["source"]["transform"]["regex"], line) for field in readings["field"]]
    assert [match[1] for match in found if match] == line.split()
    assert [field["name"] for field in truth["field"]] == ["rul"]
    assert readings["field"][8]["description"] == "total temperature at LPT outlet, in °R"


def test_what_has_no_known_checksum_is_live_and_what_has_is_not():
    assert croissant(MADE[0])["isLiveDataset"] is True
    assert "isLiveDataset" not in croissant(cmapss.CARD)


def test_a_set_without_files_cannot_be_described():
    with pytest.raises(UsageError, match="simulated has no published files"):
        croissant(simulated.CARD)
