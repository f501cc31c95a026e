"""The user's own files as a data set: where they are, what the columns mean, which units are held back for the test."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from wearcast.config import Strict
from wearcast.datasets.combine import combine
from wearcast.datasets.endings import Ending
from wearcast.datasets.mapping import ColumnMapping
from wearcast.datasets.portions import Portions, read_portions, total_cells
from wearcast.datasets.reading import read_fleet
from wearcast.datasets.sqltable import check_url, is_url
from wearcast.errors import FleetError
from wearcast.fleet import Fleet
from wearcast.schema import UnitId

__all__ = ["FilesDataset", "split_units"]


class FilesDataset(Strict):
    """CSV, TSV or Parquet files of the user, or a table of their database."""

    kind: Literal["files"] = "files"
    source: str | tuple[str, ...] = Field(
        description="A file, a folder, a pattern with *, a list of these, or a database's URL."
    )
    test_source: str | tuple[str, ...] | None = Field(
        None, description="Files of the test units; without it, test_share of the units are held back."
    )
    test_share: float = Field(0.2, ge=0, lt=1, description="Share of the units held back for the test.")
    mapping: ColumnMapping | str | None = Field(None, description="Roles of the columns, or a YAML file of them.")
    test_end_of_life: Ending | None = Field(
        None, description="How the histories in test_source end, if other than those in source."
    )

    @field_validator("source", "test_source")
    @classmethod
    def _some(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if value is not None and not value:
            raise ValueError("there must be at least one file")
        for source in _tuple(value or ()):
            if is_url(source):
                check_url(source)  # before anything is kept or shown of it
        return value

    @property
    def counts_cycles(self) -> bool:
        """Whether it is known, from a mapping that stands here, that the time axis is a counter and no clock."""
        return isinstance(self.mapping, ColumnMapping) and self.mapping.cycle is not None

    @property
    def name(self) -> str:
        """`files/` and the name of the first source; `sql/` and the name of a database."""
        first = _tuple(self.source)[0]
        if is_url(first):
            return f"sql/{Path(first.split('?', 1)[0]).name}"
        return f"files/{Path(_tuple(self.source)[0]).name or 'folder'}"

    def load(self, split: Literal["train", "test", "all"] = "train") -> Fleet:
        """The units to train on, the units to test on, or all.

        Without `test_source`, a unit's own name decides where it goes (see `split_units`).

        Raises:
            DataError: a file is missing or wrong, or there is no test unit.
            UsageError: no mapping is given and the names of the columns are not plain.
        """
        mapping = self._mapping
        apart = self.test_source is not None
        if apart and split == "all":
            return combine(self._part("train", mapping), self._part("test", mapping), name=self.name)
        if apart:
            return self._part("test" if split == "test" else "train", mapping)
        fleet = read_fleet(_tuple(self.source), mapping, name=self.name)
        if split == "all":
            return fleet
        train, test = split_units(fleet, self.test_share)
        chosen = train if split == "train" else test
        if not chosen:
            raise FleetError(
                f"there is no unit to test on: {fleet.n_units} units, test_share {self.test_share}",
                where=self.name,
                hint="name files of other units as test_source, or take split 'all'",
            )
        return fleet.select(chosen)

    @property
    def _mapping(self) -> ColumnMapping | None:
        return ColumnMapping.from_yaml(self.mapping) if isinstance(self.mapping, str) else self.mapping

    @property
    def cells(self) -> int:
        """Number of readings in `source`, if these are Parquet files that can be read in portions; else 0."""
        return total_cells(_tuple(self.source), self._mapping)

    def portions(self) -> Portions:
        """All of `source` as fleets of some units each, for Parquet files that are larger than memory.

        Raises:
            UsageError: the files are not Parquet, or the mapping needs all rows at once.
            DataError: a file is missing, or a row has no unit or no time.
        """
        return read_portions(_tuple(self.source), self._mapping, name=self.name)

    def _part(self, split: Literal["train", "test"], mapping: ColumnMapping | None) -> Fleet:
        if split == "train":
            return read_fleet(_tuple(self.source), mapping, name=self.name, strays=True)
        if self.test_end_of_life is not None and mapping is not None:
            mapping = mapping.model_copy(update={"end_of_life": self.test_end_of_life})
        return read_fleet(_tuple(self.test_source or ()), mapping, name=f"{self.name} test", strays=True)


def _tuple(source: str | tuple[str, ...]) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else source


def split_units(fleet: Fleet, test_share: float) -> tuple[tuple[UnitId, ...], tuple[UnitId, ...]]:
    """Units to train on and units to test on, decided by a hash of each unit's name.

    A unit keeps its side when other units come or go, and all lives of one asset (`pump#1`, `pump#2`) are on one side.
    Two exceptions keep small fleets usable: one failed unit stays in training, and one of several units is tested on.
    """
    if test_share == 0:
        return fleet.units, ()
    place = {unit: _place(unit) for unit in fleet.units}
    test = {unit for unit in fleet.units if place[unit] < test_share}
    failed = {unit for unit, age in zip(fleet.units, fleet.end_of_life_age, strict=True) if np.isfinite(age)}
    stay = max(failed or fleet.units, key=place.__getitem__)
    if failed <= test or len(test) == fleet.n_units:
        test.discard(stay)
    if not test and fleet.n_units > 1:
        test.add(min((unit for unit in fleet.units if unit != stay), key=place.__getitem__))
    return tuple(u for u in fleet.units if u not in test), tuple(u for u in fleet.units if u in test)


def _place(unit: UnitId) -> float:
    """A number in [0, 1) that depends on nothing but the name of the unit, or of the asset whose life it is."""
    asset = re.sub(r"#\d+$", "", str(unit))
    return int.from_bytes(hashlib.sha256(asset.encode()).digest()[:8], "big") / 2**64
