"""ETTh1: two years of an electricity transformer, hour by hour; the usual test of long forecasts.

H. Zhou et al., "Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting", AAAI 2021. The
split is the one of that paper and of all that compare with it: 12 months to train on, 4 to validate, 4 to test, a
month being 30 days; the last months of the file are used by nobody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from wearcast.config import Strict
from wearcast.datasets.archive import open_archive
from wearcast.datasets.card import DataFile, DatasetCard
from wearcast.datasets.location import dataset_dir
from wearcast.errors import FormatError
from wearcast.fleet import Fleet

__all__ = ["CARD", "COLUMNS", "TARGET", "TEST_ROWS", "TRAIN_ROWS", "VALIDATION_ROWS", "Etth1Dataset"]

TARGET = "OT"
"""Oil temperature, what the transformer's life depends on."""

COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", TARGET)

_HOURS_A_MONTH = 30 * 24
TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = (months * _HOURS_A_MONTH for months in (12, 4, 4))
_ROWS = 17_420
_FILE = "ETTh1.csv"
_LEVELS = {"H": "high", "M": "middle", "L": "low"}
_PARTS = {"F": " useful load", "L": " useless load"}

CARD = DatasetCard(
    name="etth1",
    title="ETTh1: electricity transformer temperature, hourly",
    summary="One transformer, July 2016 to June 2018: six load features and the oil temperature, to be forecast.",
    licence="CC BY-ND 4.0",
    licence_url="https://creativecommons.org/licenses/by-nd/4.0/",
    citation=(
        "H. Zhou, S. Zhang, J. Peng, S. Zhang, J. Li, H. Xiong, W. Zhang: Informer: Beyond Efficient Transformer for "
        "Long Sequence Time-Series Forecasting. AAAI 2021."
    ),
    publisher="Haoyi Zhou and others, Beihang University",
    homepage="https://github.com/zhouhaoyi/ETDataset",
    url="https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv",
    sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
    size_bytes=2_589_657,
    rows=_ROWS,
    published="2020",
    files=(
        DataFile(
            pattern=_FILE,
            sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
            size_bytes=2_589_657,
            columns=("time", *COLUMNS),
        ),
    ),
    units_of_measure={TARGET: "°C"},
    descriptions={
        "time": "start of the hour, local time",
        **{f"{level}U{part}L": f"{text}{load}" for level, text in _LEVELS.items() for part, load in _PARTS.items()},
        TARGET: "oil temperature",
    },
    kinds={"time": "timestamp"},
    headers={"time": "date"},
    traps=(
        "published errors are of standardised values: mean and deviation of the 12 training months, column by column",
        "the split counts months of 30 days; the rows after 20 such months are left out by everybody",
    ),
    manual_steps=(
        "download ETT-small/ETTh1.csv of the repository zhouhaoyi/ETDataset, then: wearcast datasets fetch etth1 "
        "--from ETTh1.csv"
    ),
    unverified="units of the six loads, which the publisher does not give",
)


class Etth1Dataset(Strict):
    """ETTh1, from `<data folder>/etth1/`: one unit, every hour, still running."""

    counts_cycles: ClassVar[bool] = False
    kind: Literal["etth1"] = "etth1"
    test_context: int = Field(
        0, ge=0, le=TRAIN_ROWS, description="Hours before the 4 months of test, as context of the first forecasts."
    )
    standardised: bool = Field(
        False, description="Values as deviations from the mean of the 12 training months, as published errors count."
    )

    @property
    def name(self) -> str:
        """What a user types for it."""
        return "etth1"

    def load(self, split: Literal["train", "test", "all"] = "train") -> Fleet:
        """The 16 months of training and validation, the 4 months of test, or all 20 months.

        Raises:
            SourceNotFoundError: the set is not in the data folder.
            FormatError: other columns, a cell that is no number, or not the published size.
        """
        with open_archive(dataset_dir(CARD.name), _FILE) as archive:
            table = _read(archive.read(_FILE), archive.where(_FILE))
        if self.standardised:
            months = table[:TRAIN_ROWS]
            table = table.with_columns((pl.col(c) - months[c].mean()) / months[c].std(ddof=0) for c in COLUMNS)
        first, last = TRAIN_ROWS + VALIDATION_ROWS, TRAIN_ROWS + VALIDATION_ROWS + TEST_ROWS
        rows = {"train": table[:first], "test": table[first - self.test_context : last], "all": table[:last]}[split]
        name = self.name if split == "all" else f"{self.name} {split}"
        fleet = Fleet.from_frame(rows, unit="unit", time="time", sensors=COLUMNS, events="censored", name=name)
        changes = {"units_of_measure": {} if self.standardised else CARD.units_of_measure, "sampling_rate_hz": 1 / 3600}
        return replace(fleet, schema=fleet.schema.model_copy(update=changes))


def _read(data: bytes, where: str) -> pl.DataFrame:
    try:
        table = pl.read_csv(data, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise FormatError(f"not a table: {error}", where=where) from error
    if table.columns != ["date", *COLUMNS]:
        raise FormatError(f"the columns are {', '.join(table.columns)}", where=where, hint=f"not those of {_FILE}")
    if table.height != _ROWS:
        raise FormatError(
            f"{table.height} rows, but {_ROWS} were published", where=where, hint="the file is cut off or changed"
        )
    time = pl.col("date").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).alias("time")
    numbers = table.select(time, pl.col(*COLUMNS).cast(pl.Float64, strict=False))
    _refuse_nulls(table, numbers, where)
    hours = numbers["time"].diff().drop_nulls().dt.total_seconds()
    if (hours != 3600).any():
        row = int((hours != 3600).arg_true()[0]) + 3  # the header and the first reading are rows 1 and 2
        raise FormatError("not one hour after the row before", where=f"{where}: row {row}, column date")
    return numbers.with_columns(pl.lit("transformer").alias("unit"))


def _refuse_nulls(table: pl.DataFrame, numbers: pl.DataFrame, where: str) -> None:
    for column, name in zip(numbers.columns, table.columns, strict=True):
        wrong = numbers[column].is_null() | (numbers[column].is_nan() if column != "time" else False)
        if wrong.any():
            row = int(wrong.arg_true()[0])
            cell = table[name][row]
            raise FormatError(
                f"{cell!r} is not a {'time' if column == 'time' else 'number'}",
                where=f"{where}: row {row + 2}, column {name}",
            )
