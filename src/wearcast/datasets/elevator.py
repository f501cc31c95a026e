"""Elevator IoT: ball bearing, humidity and vibration of the door of an elevator car, 112,001 samples at 4 Hz.

Huawei Munich Research Center, "Predictive Maintenance Dataset", Zenodo 3653909, 2020.

The published file went through a German spreadsheet; `wearcast.datasets.spreadsheet` says what that does. In the
vibration 5,242 cells are dates, and 44,657 more are ten times too high, which no cell shows: `6` is followed by
`60.002` and `60.005`, that is by 6.0002 and 6.0005. In the ball bearing's revolutions 535 cells are dates. All of them
can be read with certainty from their neighbours.

Put back, vibration lies between 2 and 26, and it turns out not to be measured at 4 Hz at all: to the last digit of the
file it is a straight line between 29 whole numbers, one every 4,000 samples. Those 29 cells are undamaged, so that each
repair can be held against them. It also makes the forecast easy: to draw the last line on is right but at the corners.

There is no failure and no label: forecast `vibration`, or derive `wearcast.features.health`. Time counts samples from 1
(the column `ID` where there is one), so that a forecast of 10 s is one of 40 cycles; `schema.sampling_rate_hz` is 4.

Both parts of the split are one unit, `elevator`, cut in time: the first 80% to train on, the rest to test on. The test
part is a history of its own: its first windows are short, just as if the sensor had been switched on at the cut, and so
no reading is in both parts. With `all`, it is one history.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from wearcast.config import Strict
from wearcast.datasets.card import DataFile, DatasetCard
from wearcast.datasets.location import dataset_dir
from wearcast.datasets.published import check_rows, line_of, read_cells, read_member, read_numbers_strict
from wearcast.datasets.spreadsheet import Repaired, repair_cells
from wearcast.errors import FormatError
from wearcast.fleet import Fleet
from wearcast.schema import Note

__all__ = ["CARD", "ROWS", "SAMPLING_RATE_HZ", "ElevatorDataset"]

ROWS = 112_001
SAMPLING_RATE_HZ = 4.0

_MEMBER = "predictive-maintenance-dataset.csv"
_SENSORS = ("revolutions", "humidity", "vibration")
_EXTRA = ("x1", "x2", "x3", "x4", "x5")
_NAMES = {"ball-bearing": "revolutions", "revolutions": "revolutions", "humidity": "humidity", "vibration": "vibration"}

CARD = DatasetCard(
    name="elevator",
    title="Elevator IoT predictive maintenance",
    summary="Door of an elevator car, 7 h 46 min at 4 Hz: ball bearing, humidity, vibration; no failures, no labels.",
    licence="see the record at Zenodo",
    citation="Huawei Munich Research Center: Predictive Maintenance Dataset. Zenodo, 2020. doi:10.5281/zenodo.3653909.",
    publisher="Huawei Munich Research Center",
    homepage="https://zenodo.org/records/3653909",
    url="https://zenodo.org/records/3653909/files/predictive-maintenance-dataset.csv",
    sha256="30f5358a6b56e850d8af4b99dd9915ad1b93dd1c61f897db45c9a1d025ac5696",
    size_bytes=2_243_034,
    rows=ROWS,
    published="2020",
    # Without a checksum of its own: the layout with commas has the same name.
    files=(DataFile(pattern=_MEMBER, columns=_SENSORS),),
    units_of_measure={"humidity": "%", "vibration": "dB"},
    descriptions={
        "revolutions": "revolutions of the ball bearing of the door (`ball-bearing` in the file)",
        "humidity": "relative humidity of the air",
        "vibration": "vibration of the door",
        **dict.fromkeys(_EXTRA, "a further column of the layout with commas, published without a meaning"),
    },
    headers={"revolutions": "ball-bearing"},
    traps=(
        "a German spreadsheet turned 5,242 readings of vibration and 535 of the ball bearing into dates: 18. Mai "
        "stands for 18.05 in one place and for 18.5 in another",
        "it also made 44,657 readings of vibration ten times too high, which no cell shows: as it stands in the file, "
        "vibration jumps between 6 and 60",
        "vibration is a straight line between 29 whole numbers, one every 4,000 samples: to draw the last line on is "
        "right everywhere but at the corners, and beats persistence by far",
    ),
    unverified="the licence",
    manual_steps=(
        "download predictive-maintenance-dataset.csv from https://zenodo.org/records/3653909 in a browser, then: "
        "wearcast datasets fetch elevator --from THAT_FILE.csv"
    ),
)


class ElevatorDataset(Strict):
    """Elevator IoT, from `<data folder>/elevator/predictive-maintenance-dataset.csv` or a zip of it.

    Both published layouts are read: `ball-bearing;humidity;vibration`, and with commas
    `ID,revolutions,humidity,vibration,x1,x2,x3,x4,x5`.
    """

    counts_cycles: ClassVar[bool] = True
    kind: Literal["elevator"] = "elevator"
    test_share: float = Field(0.2, ge=0, lt=1, description="Share of the samples held back: the last ones.")
    uncertain: Literal["fail", "missing"] = Field(
        "fail", description="A damaged cell whose reading the neighbours do not tell: refuse it, or take it as missing."
    )
    extra_columns: bool = Field(False, description="Also load x1 to x5 of the layout with commas.")
    expected_rows: int | None = Field(ROWS, ge=1, description="Number of samples; null for any.")

    @property
    def name(self) -> str:
        """What a user types for it."""
        return "elevator"

    def load(self, split: Literal["train", "test", "all"] = "train") -> Fleet:
        """The first samples, those held back, or all; see the module on what the parts share.

        Raises:
            SourceNotFoundError: the set is not in the data folder.
            FormatError: other columns, another number of samples, samples out of order, a cell that is no number, or
                one that cannot be repaired with certainty (unless `uncertain` is `missing`).
        """
        cells, where = self._cells()
        columns = self._columns(cells, where)
        repaired = self._repaired(cells, columns, where)
        time = _samples(cells, where)
        values = {column: pl.Series(found.values).fill_nan(None) for column, found in repaired.items()}
        table = pl.DataFrame({"unit": ["elevator"] * cells.height, "sample": time, **values})
        cut = round(table.height * (1 - self.test_share))
        start, stop = {"train": (0, cut), "test": (cut, table.height), "all": (0, table.height)}[split]
        if start == stop:
            raise FormatError(f"no sample is in the {split} part", where=where, hint="choose another test_share")
        name = "elevator" if split == "all" else f"elevator {split}"
        fleet = Fleet.from_frame(table[start:stop], unit="unit", cycle="sample", sensors=columns, name=name)
        units = {column: unit for column, unit in CARD.units_of_measure.items() if column in columns}
        schema = fleet.schema.model_copy(update={"units_of_measure": units, "sampling_rate_hz": SAMPLING_RATE_HZ})
        return replace(fleet, schema=schema).with_notes(*_notes(repaired))

    def repairs(self) -> pl.DataFrame:
        """Every damaged cell of the whole file: `line`, `column`, `cell`, `value` and `kind` (`date` or `tenfold`).

        A cell that could not be repaired is of kind `uncertain` and has no value.
        """
        cells, where = self._cells()
        columns = self._columns(cells, where)
        parts = []
        for column, found in self._repaired(cells, columns, where, refuse=False).items():
            kinds = (("date", found.dates), ("tenfold", found.shifted), ("uncertain", found.uncertain))
            parts += [
                pl.DataFrame(
                    {
                        "line": line_of(0) + rows,
                        "column": [column] * len(rows),
                        "cell": cells[column].gather(rows),
                        "value": pl.Series(found.values[rows], dtype=pl.Float64).fill_nan(None),
                        "kind": [kind] * len(rows),
                    },
                    schema_overrides={"column": pl.String, "kind": pl.String},
                )
                for kind, rows in kinds
            ]
        return pl.concat(parts).sort("line", "column")

    def _cells(self) -> tuple[pl.DataFrame, str]:
        """The file as text under the names used here."""
        data, where = read_member(dataset_dir(CARD.name), _MEMBER)
        separator = ";" if b";" in data.partition(b"\n")[0] else ","
        cells = read_cells(data, separator=separator, where=where)
        names = [_NAMES.get(column, column) for column in cells.columns]
        unknown = [old for old, new in zip(cells.columns, names, strict=True) if new not in ("ID", *_SENSORS, *_EXTRA)]
        missing = [column for column in _SENSORS if column not in names]
        if missing or unknown or len(set(names)) < len(names):
            known = "`ball-bearing;humidity;vibration` or `ID,revolutions,humidity,vibration,x1,x2,x3,x4,x5`"
            what = f"there is no column {missing[0]!r}" if missing else f"column {(unknown or names)[0]!r} is not known"
            raise FormatError(what, where=f"{where}: line 1", hint=f"the published header is {known}")
        check_rows(cells, self.expected_rows, where=where)
        return cells.rename(dict(zip(cells.columns, names, strict=True))), where

    def _columns(self, cells: pl.DataFrame, where: str) -> tuple[str, ...]:
        if not self.extra_columns:
            return _SENSORS
        missing = [column for column in _EXTRA if column not in cells.columns]
        if missing:
            hint = "only the layout with commas has it: set extra_columns to false"
            raise FormatError(f"there is no column {missing[0]!r}", where=f"{where}: line 1", hint=hint)
        return (*_SENSORS, *_EXTRA)

    def _repaired(
        self, cells: pl.DataFrame, columns: tuple[str, ...], where: str, *, refuse: bool = True
    ) -> dict[str, Repaired]:
        found = {}
        for column in columns:
            found[column] = repair_cells(cells[column], shifts=column == "vibration", where=where)
            rows = found[column].uncertain
            if refuse and self.uncertain == "fail" and len(rows):
                row = int(rows[0])
                raise FormatError(
                    f"a spreadsheet damaged {cells[column][row]!r}, and the neighbours do not tell what it was",
                    where=f"{where}: line {line_of(row)}, column {column!r}",
                    hint=f"{len(rows)} cells of this column; uncertain: missing takes them as missing readings",
                )
        return found


def _samples(cells: pl.DataFrame, where: str) -> pl.Series:
    """Number of each sample: `ID` where there is one, else the row."""
    if "ID" not in cells.columns:
        return pl.Series(np.arange(1, cells.height + 1, dtype=np.int64))
    numbers = read_numbers_strict(cells, ["ID"], where=where)["ID"]
    for bad, what in (
        (numbers != numbers.round(), "is not a whole number"),
        ((numbers.diff() <= 0).fill_null(False), "does not come after the sample before it"),
    ):
        if bad.any():
            row = int(bad.arg_true()[0])
            raise FormatError(f"{cells['ID'][row]!r} {what}", where=f"{where}: line {line_of(row)}, column 'ID'")
    return numbers.cast(pl.Int64)


def _notes(repaired: dict[str, Repaired]) -> tuple[Note, ...]:
    """What was repaired in the whole file, by column."""
    notes = []
    for column, found in repaired.items():
        for kind, count, text in (
            (
                "dates_repaired",
                len(found.dates),
                "that a spreadsheet had turned into dates were read from the neighbours",
            ),
            ("tenfold_repaired", len(found.shifted), "that a spreadsheet had made ten times too high were put back"),
            ("uncertain_missing", len(found.uncertain), "that a spreadsheet had damaged are taken as missing"),
        ):
            if count:
                notes.append(
                    Note(f"{kind}_{column}", count, f"{count} readings of {column} {text} (in the whole file)")
                )
    return tuple(notes)
