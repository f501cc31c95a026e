"""MetroPT-2 and MetroPT-3: the air production unit of a metro train, with air and oil leaks reported by its operator.

B. Veloso, R. P. Ribeiro, J. Gama, P. M. Pereira, "The MetroPT dataset for predictive maintenance", Scientific Data 9
(2022) 764. N. Davari et al., "Predictive maintenance based on anomaly detection using deep learning for air production
unit in the railway industry", IEEE DSAA 2021.

The files hold no labels: the failure reports of the publications are data of this module. One compressor fails, is
repaired and runs on, so its history is cut into lives (see `wearcast.datasets.lives`). `DV_eletric` is spelled so in
both files. The reports of MetroPT-3 also name three moments of maintenance (30 April, evidently for 30 May, 12:00;
8 June 16:00; 16 July 00:00) without a duration, so that nothing is set apart for them unless `maintenance` says what.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field, NaiveDatetime, model_validator

from wearcast.config import Strict
from wearcast.datasets.card import DataFile, DatasetCard
from wearcast.datasets.combine import combine
from wearcast.datasets.largecsv import open_csv_with, scan_numbers
from wearcast.datasets.lives import Lives, cut_lives
from wearcast.datasets.location import dataset_dir
from wearcast.errors import FleetError
from wearcast.fleet import Fleet
from wearcast.schema import Note

__all__ = [
    "ANALOGUE",
    "CARD",
    "DIGITAL",
    "FAILURES",
    "GPS",
    "RELEASES",
    "MetroptDataset",
    "Release",
    "Version",
    "Window",
]

Version = Literal["2", "3"]

TIME = "timestamp"
ASSET = "apu"

# name: (unit of measure, what it is), in the order of the files
_ANALOGUE = {
    "TP2": ("bar", "pressure at the compressor"),
    "TP3": ("bar", "pressure at the pneumatic panel"),
    "H1": ("bar", "pressure drop when the cyclonic separator filter discharges"),
    "DV_pressure": ("bar", "pressure drop when the air dryers' towers discharge; 0 under load"),
    "Reservoirs": ("bar", "pressure downstream of the reservoirs, close to TP3"),
    "Oil_temperature": ("°C", "temperature of the compressor's oil"),
    "Flowmeter": ("m³/h", "air flow at the pneumatic panel (MetroPT-2 only)"),
    "Motor_current": ("A", "one phase of the motor: near 0 off, 4 unloaded, 7 under load, 9 starting"),
}
_DIGITAL = {
    "COMP": "air intake valve: on when no air is taken in (off or unloaded)",
    "DV_eletric": "outlet valve: on under load",
    "Towers": "which drying tower works and which drains",
    "MPG": "starts the compressor under load below 8.2 bar",
    "LPS": "on below 7 bar",
    "Pressure_switch": "discharge in the drying towers",
    "Oil_level": "oil level: on when the oil is low",
    "Caudal_impulses": "impulses of the air flow from the unit to the reservoirs",
}
_GPS = {
    "gpsLong": ("deg", "longitude; 0 without a fix"),
    "gpsLat": ("deg", "latitude; 0 without a fix"),
    "gpsSpeed": ("km/h", "speed of the train"),
    "gpsQuality": ("-", "quality of the fix; 0 without one"),
}

ANALOGUE = tuple(_ANALOGUE)
"""Measured quantities; `Flowmeter` is in MetroPT-2 only."""
DIGITAL = tuple(_DIGITAL)
"""Valves and switches, on (1) or off (0): sensors too, but a mean of them is a share of time."""
GPS = tuple(_GPS)
"""Where the train was; MetroPT-2 only, and only when asked for."""
READINGS = "readings"
"""Column of a resampled fleet: how many readings a row stands for."""

CARD = DatasetCard(
    name="metropt",
    title="MetroPT-2 and MetroPT-3: air production unit of a metro train",
    summary=(
        "Pressures, current, temperature and valve signals of one compressor: 7.1 million readings at 1 Hz (2), "
        "1.5 million at about 10 s (3). Failures are known from the operator's reports only: two leaks (2), four (3)."
    ),
    subsets=("2", "3"),
    licence="CC BY 4.0",
    licence_url="https://creativecommons.org/licenses/by/4.0/",
    citation=(
        "B. Veloso, R. P. Ribeiro, J. Gama, P. M. Pereira: The MetroPT dataset for predictive maintenance. "
        "Scientific Data 9, 764, 2022."
    ),
    publisher="INESC TEC and Metro do Porto",
    homepage="https://archive.ics.uci.edu/dataset/791/metropt+3+dataset",
    url="https://archive.ics.uci.edu/static/public/791/metropt+3+dataset.zip",
    rows=7_116_940 + 1_516_948,
    published="2023",
    files=(
        DataFile(
            pattern="MetroPT3*.csv",
            required=False,
            columns=("Unnamed: 0", TIME, *(c for c in _ANALOGUE if c != "Flowmeter"), *_DIGITAL),
        ),
        DataFile(pattern="*.csv", required=False),
    ),
    units_of_measure={
        **{name: unit for name, (unit, _) in {**_ANALOGUE, **_GPS}.items()},
        **dict.fromkeys(_DIGITAL, "on/off"),
        READINGS: "1",
    },
    descriptions={
        **{name: text for name, (_, text) in {**_ANALOGUE, **_GPS}.items()},
        **_DIGITAL,
        TIME: "local time of the reading",
        READINGS: "readings that a resampled row stands for",
    },
    kinds={TIME: "timestamp"},
    traps=(
        "the files hold no labels: the failures are in the operator's reports, which this loader declares",
        "steps are irregular, and MetroPT-3 is at about 10 s although its page says 1 Hz",
        "one compressor fails several times: a random split of its readings leaks",
    ),
    manual_steps=(
        "MetroPT-3: download the zip of data set 791 of the UCI Machine Learning Repository; MetroPT-2: the CSV of "
        "Zenodo record 7766691; then: wearcast datasets fetch metropt --from THAT_FILE"
    ),
    unverified="name and order of columns of the file of MetroPT-2, which is known here by its header only",
)


class Window(Strict):
    """A stretch of time with both its ends, such as a failure or a maintenance."""

    start: NaiveDatetime
    end: NaiveDatetime
    mode: str | None = Field(None, description="What happened.")

    @model_validator(mode="after")
    def _forward(self) -> Window:
        if self.end < self.start:
            raise ValueError(f"it ends at {self.end}, before it starts at {self.start}")
        return self


FAILURES: dict[Version, tuple[Window, ...]] = {
    "2": (
        Window(start=datetime(2022, 6, 4, 10, 19, 24), end=datetime(2022, 6, 4, 14, 22, 39), mode="air leak"),
        Window(start=datetime(2022, 7, 11, 10, 10, 18), end=datetime(2022, 7, 14, 10, 22, 8), mode="oil leak"),
    ),
    "3": (
        Window(start=datetime(2020, 4, 18), end=datetime(2020, 4, 18, 23, 59), mode="air leak"),
        Window(start=datetime(2020, 5, 29, 23, 30), end=datetime(2020, 5, 30, 6), mode="air leak"),
        Window(start=datetime(2020, 6, 5, 10), end=datetime(2020, 6, 7, 14, 30), mode="air leak"),
        Window(start=datetime(2020, 7, 15, 14, 30), end=datetime(2020, 7, 15, 19), mode="air leak"),
    ),
}
"""The operator's failure reports: Veloso et al. 2022 (2) and the page of UCI 791 (3)."""


@dataclass(frozen=True)
class Release:
    """What was published.

    Attributes:
        analogue: columns that the file must have, beside the time and `DIGITAL`.
        gps: columns that may be there as well.
        rows: number of readings.
        split_at: lives that end before are for training, so that failures are on both sides.
    """

    analogue: tuple[str, ...]
    gps: tuple[str, ...]
    rows: int
    split_at: datetime


RELEASES: dict[Version, Release] = {
    "2": Release(ANALOGUE, GPS, 7_116_940, datetime(2022, 6, 15)),
    "3": Release(tuple(c for c in ANALOGUE if c != "Flowmeter"), (), 1_516_948, datetime(2020, 6, 1)),
}


class MetroptDataset(Strict):
    """MetroPT-2 or MetroPT-3, from `<data folder>/metropt/`: the CSV, or the zip that holds it.

    The file is streamed: what is held is the fleet, and of a resampled one not even all readings.
    """

    counts_cycles: ClassVar[bool] = False
    kind: Literal["metropt"] = "metropt"
    version: Version = Field("3", description="2: at 1 Hz, with flow and GPS; 3: about every 10 s.")
    resample: str | None = Field(
        None,
        pattern=r"^[1-9][0-9]*(s|m|h)$",
        description="Step such as 10s or 1m: analogue columns are averaged, digital ones as `digital` says.",
    )
    digital: Literal["mean", "max"] = Field("mean", description="Share of a step that a signal is on, or ever on.")
    gps: bool = Field(False, description="Also load the GPS columns (version 2).")
    maintenance: tuple[Window, ...] = Field((), description="Times whose readings are set apart.")
    split_at: NaiveDatetime | None = Field(
        None, description="Lives that end before are for training, the others for tests."
    )
    test_lives: tuple[str, ...] = Field(
        (), description="Lives for tests by name, such as apu#1, instead of those that end after split_at."
    )
    also_learn_from: Version | None = Field(
        None,
        description="The other release: its lives, named apu-3#1 or apu-2#1 and so on, are all for training. Of both "
        "only the columns that they share are read, at the step of `resample`.",
    )

    @model_validator(mode="after")
    def _choices_fit(self) -> MetroptDataset:
        if self.gps and not RELEASES[self.version].gps:
            raise ValueError(f"MetroPT-{self.version} has no GPS columns")
        if self.split_at is not None and self.test_lives:
            raise ValueError("split_at and test_lives both say which lives are for tests: give one of them")
        if self.also_learn_from is not None:
            if self.also_learn_from == self.version:
                raise ValueError(f"also_learn_from is the other release, not MetroPT-{self.version} itself")
            if self.resample is None:
                raise ValueError("the releases have other steps: with also_learn_from say resample, such as 1m")
            if self.gps:
                raise ValueError("with also_learn_from the columns of both are read, and MetroPT-3 has no GPS")
        return self

    @property
    def name(self) -> str:
        """What a user types for it."""
        return f"metropt/{self.version}"

    @property
    def sensors(self) -> tuple[str, ...]:
        """The columns of the fleet."""
        # How many readings make a step would tell the releases apart, and nothing else.
        extra = (READINGS,) if self.resample and self.also_learn_from is None else ()
        return (*self._columns, *extra)

    @property
    def _columns(self) -> tuple[str, ...]:
        """What is read of the file, beside the time."""
        other = None if self.also_learn_from is None else RELEASES[self.also_learn_from].analogue
        analogue = tuple(c for c in RELEASES[self.version].analogue if other is None or c in other)
        return (*analogue, *DIGITAL, *(RELEASES[self.version].gps if self.gps else ()))

    def load(self, split: Literal["train", "test", "all"] = "train") -> Fleet:
        """The lives that end before `split_at`, the later ones, or all; units are named `apu#1` and so on.

        With `also_learn_from` the other release's lives come to those for training. Readings inside a reported failure
        or `maintenance` are set apart and counted in a note.

        Raises:
            SourceNotFoundError: the set is not in the data folder.
            FormatError: a column is missing, a cell is not a number or a time, or the file is cut off.
            FleetError: no life is on this side of the split, a test life is not there, or overlapping maintenance.
        """
        if self.also_learn_from is None or split == "test":
            return self._load(split, ASSET)
        update = {"version": self.also_learn_from, "also_learn_from": self.version}
        other = self.model_copy(update=update)._load("all", f"{ASSET}-{self.also_learn_from}")
        return combine(self._load(split, ASSET), other, name=f"{self.name} and {other.name}")

    def _load(self, split: Literal["train", "test", "all"], asset: str) -> Fleet:
        with self._readings() as readings:
            lives = self._lives(readings, asset)
            chosen = self._choose(lives, split)
            # What is read is Float32 already: no second copy is made on the way into the fleet.
            table = self._resampled(chosen.rows).collect(engine="streaming")
        fleet = Fleet.from_frame(
            table,
            unit="unit",
            time=TIME,
            time_unit="hour",
            sensors=self.sensors,
            events=chosen.events,
            name=f"{self.name} {split}" if split != "all" else self.name,
        )
        units = {column: unit for column, unit in CARD.units_of_measure.items() if column in self.sensors}
        rate = None if self.resample or self.version == "3" else 1.0
        schema = fleet.schema.model_copy(update={"units_of_measure": units, "sampling_rate_hz": rate})
        return replace(fleet, schema=schema).with_notes(*lives.notes, *self._excerpt(lives))

    @contextmanager
    def _readings(self) -> Iterator[pl.LazyFrame]:
        whole = (*RELEASES[self.version].analogue, *DIGITAL, *(RELEASES[self.version].gps if self.gps else ()))
        other = () if self.version == "2" else ("Flowmeter",)
        with (
            open_csv_with(dataset_dir(CARD.name), (TIME, *whole), without=other) as path,
            scan_numbers(path, time=TIME, numbers=self._columns) as rows,
        ):
            yield rows

    def _lives(self, readings: pl.LazyFrame, asset: str) -> Lives:
        return cut_lives(
            readings,
            _table(FAILURES[self.version]),
            _table(self.maintenance) if self.maintenance else None,
            time=TIME,
            asset_name=asset,
            stray="note",
            name=self.name,
        )

    def _choose(self, lives: Lives, split: Literal["train", "test", "all"]) -> Lives:
        if split == "all":
            return lives
        if self.test_lives:
            lives.select(list(self.test_lives))  # which refuses the names of lives that are not there
            said, tested = "all are test_lives", pl.col("unit").cast(pl.String).is_in(self.test_lives)
        else:
            at = self.split_at or RELEASES[self.version].split_at
            said, tested = f"the split is at {at}", pl.col("end") >= at
        units = lives.table.filter(tested if split == "test" else ~tested)["unit"].to_list()
        if not units:
            ends = f"the lives end {', '.join(map(str, lives.table['end'].sort()))}"
            raise FleetError(
                f"there is no life for {split}: {ends}, and {said}",
                where=self.name,
                hint="set split_at or test_lives, or take split 'all'",
            )
        return lives.select(units)

    def _resampled(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """One row a step that has readings, at the time of the last one, so that no row looks ahead."""
        if self.resample is None:
            return rows
        level = [c for c in self.sensors if c not in (*DIGITAL, READINGS)]
        switch = pl.col(*DIGITAL).mean() if self.digital == "mean" else pl.col(*DIGITAL).max()
        grouped = rows.group_by("unit", pl.col(TIME).dt.truncate(self.resample).alias("step")).agg(
            pl.col(TIME).max(), pl.col(*level).mean(), switch, pl.len().cast(pl.Float32).alias(READINGS)
        )
        return grouped.sort("unit", TIME).drop("step")

    def _excerpt(self, lives: Lives) -> tuple[Note, ...]:
        found = int(lives.table["rows"].sum()) + int(lives.apart["rows"].sum())
        published = RELEASES[self.version].rows
        if found == published:
            return ()
        return (Note("excerpt", found, f"{found} readings, but {published} were published"),)


def _table(windows: tuple[Window, ...]) -> pl.DataFrame:
    rows = [window.model_dump() for window in windows]
    return pl.DataFrame(rows, schema={"start": pl.Datetime("us"), "end": pl.Datetime("us"), "mode": pl.String})
