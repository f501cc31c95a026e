"""The CSV layout of Amazon Lookout for Equipment, for those whose service ended.

As *Formatting your data* and *Labeling your data* in the service's user guide have it: an asset is one folder. Each
component of it is a CSV file (or a folder of them, one after the other in time) whose first column is a timestamp and
whose others are sensors; an asset in one single file is a component too. Labels are a CSV file without a header, two
timestamps a line: when abnormal behaviour began, and when the failure was noticed or maintenance was done.

    pump-7/
        bearing/bearing.csv      Timestamp,temperature,vibration
        motor/2020-01.csv        Timestamp,current,temperature
        motor/2020-02.csv
        labels.csv               2020-02-03 10:00:00,2020-02-04 08:30:00

Components are joined on time, and a reading that another component does not have is missing there. Sensors of one name
in several components become `bearing.temperature` and `motor.temperature`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
import polars as pl
from pydantic import Field

from wearcast import frames
from wearcast.config import Strict
from wearcast.datasets.csvfile import open_csv
from wearcast.datasets.lives import Lives, Overlap, Stray, cut_lives
from wearcast.errors import FleetError, FormatError, SourceNotFoundError, UsageError
from wearcast.fleet import Fleet
from wearcast.schema import Note, TimeUnit

__all__ = ["LookoutDataset"]

_YEAR_FIRST: Final = (
    (r"\d{4}/\d\d?/\d\d? \d\d?:\d\d", "%Y/%m/%d %H:%M"),
    (r"\d{4}/\d\d?/\d\d? \d\d?:\d\d:\d\d", "%Y/%m/%d %H:%M:%S"),
    (r"\d{4}/\d\d?/\d\d?T\d\d?:\d\d:\d\d", "%Y/%m/%dT%H:%M:%S"),
    (r"\d{4}-\d\d?-\d\d?-\d\d?-\d\d-\d\d", "%Y-%m-%d-%H-%M-%S"),
    (r"\d{4}-\d\d?-\d\d?-\d\d?:\d\d:\d\d", "%Y-%m-%d-%H:%M:%S"),
    (r"\d{8} \d\d:\d\d:\d\d", "%Y%m%d %H:%M:%S"),
    (r"\d{8}T\d\d:\d\d:\d\d", "%Y%m%dT%H:%M:%S"),
)
"""Formats that the service reads, beside ISO 8601, in which day and month cannot be confused."""


class LookoutDataset(Strict):
    """One asset in the layout of Amazon Lookout for Equipment."""

    counts_cycles: ClassVar[bool] = False
    kind: Literal["lookout"] = "lookout"
    source: str = Field(description="The asset's folder, or its single CSV file.")
    labels: str | None = Field(
        None, description="File of abnormal ranges, absolute or within source; null if there is none."
    )
    maintenance: str | None = Field(None, description="File of maintenance ranges in the same layout.")
    ranges: Literal["label", "lives"] = Field(
        "label",
        description="label: one history with the columns `anomaly` and `maintenance` (0 or 1). lives: the history is "
        "cut into lives that end where an abnormal range begins; rows inside ranges are set apart.",
    )
    time_format: str | None = Field(
        None, description="Such as '%m/%d/%Y %H:%M', where day and month could be confused."
    )
    time_unit: TimeUnit = Field("hour", description="Unit of age and remaining life.")
    test_share: float = Field(
        0.2, ge=0, lt=1, description="Share of the history, or of the lives, held back: the last."
    )
    overlap: Overlap = Field("refuse", description="Ranges that overlap are refused, or merged.")
    stray: Stray = Field("refuse", description="A range outside the readings is refused, or left out with a note.")

    @property
    def name(self) -> str:
        """`lookout/` and the name of the asset's folder or file."""
        return f"lookout/{self._asset}"

    @property
    def _asset(self) -> str:
        return Path(self.source).expanduser().stem if self.source.endswith(".csv") else Path(self.source).name

    def without_absent_ranges(self) -> LookoutDataset:
        """As it is read where nothing is judged: a file of ranges that the asset does not have is not asked for."""
        kept = {
            key: file if file is not None and self._ranges_file(file).exists() else None
            for key, file in (("labels", self.labels), ("maintenance", self.maintenance))
        }
        return self.model_copy(update={**kept, "ranges": self.ranges if kept["labels"] else "label"})

    def _ranges_file(self, file: str) -> Path:
        place = Path(self.source).expanduser()
        return (place if place.is_dir() else place.parent) / file

    def load(self, split: Literal["train", "test", "all"] = "train") -> Fleet:
        """The first part of the history (or the first lives), what is held back of it, or all.

        Raises:
            SourceNotFoundError: there is no such folder or file, or no CSV file in it.
            FormatError: a file that is no CSV, a sensor twice, components of one name with other sensors.
            FleetError: a timestamp that is none or is there twice, text where a number belongs, a range that ends
                before it starts, overlaps another or lies outside the readings.
            UsageError: a file of labels is in the folder, but `labels` does not name it.
        """
        place = Path(self.source).expanduser()
        files = self._files(place)
        tables = {component: self._component(component, paths) for component, paths in files.items()}
        table, sensors, notes = _joined(tables)
        windows = {
            kind: self._windows(self._ranges_file(file))
            for kind, file in (("anomaly", self.labels), ("maintenance", self.maintenance))
            if file is not None
        }
        if self.ranges == "lives":
            return self._lives(table, sensors, windows, notes, split)
        if windows:
            notes += [note for note in self._cut(table, windows).notes if note.kind.startswith("windows_")]
        for kind, ranges in windows.items():
            table = table.with_columns(_inside(table["time"], ranges).alias(kind))
        cut = round(table.height * (1 - self.test_share))
        start, stop = {"train": (0, cut), "test": (cut, table.height), "all": (0, table.height)}[split]
        if start == stop:
            raise FleetError(f"no reading is in the {split} part", where=self.name, hint="choose another test_share")
        part = table[start:stop].with_columns(pl.lit(self._asset).alias("unit"))
        return self._fleet(part, sensors, list(windows), "censored", notes, split)

    def _fleet(
        self,
        table: pl.DataFrame,
        sensors: list[str],
        labels: list[str],
        events: pl.DataFrame | Literal["censored"],
        notes: list[Note],
        split: str,
    ) -> Fleet:
        fleet = Fleet.from_frame(
            table,
            unit="unit",
            time="time",
            time_unit=self.time_unit,
            sensors=sensors,
            labels=labels,
            events=events,
            name=self.name if split == "all" else f"{self.name} {split}",
        )
        return fleet.with_notes(*notes)

    # ------------------------------------------------------------------ components

    def _files(self, place: Path) -> dict[str, list[Path]]:
        """The CSV files of each component, without those of ranges."""
        if place.is_file():
            return {place.stem: [place]}
        if not place.is_dir():
            raise SourceNotFoundError("there is no such folder or file", where=str(place))
        named = {(place / file).resolve() for file in (self.labels, self.maintenance) if file is not None}
        files: dict[str, list[Path]] = {}
        for path in sorted(place.rglob("*.csv")):
            if path.resolve() in named:
                continue
            if re.match(r"labels?\b", path.stem.lower()):
                hint = f"labels: {path.relative_to(place)}, or move it away"
                raise UsageError(
                    "this looks like a file of labels, but labels does not name it", where=str(path), hint=hint
                )
            inner = path.relative_to(place).parts
            files.setdefault(path.stem if len(inner) == 1 else inner[0], []).append(path)
        if not files:
            raise SourceNotFoundError("there is no CSV file of a component", where=str(place))
        return files

    def _component(self, component: str, paths: list[Path]) -> pl.DataFrame:
        """`time` and the sensors of a component, sorted by time; one or more files with the same columns."""
        parts: list[pl.DataFrame] = []
        for path in paths:
            file = open_csv(path)
            clock, *sensors = file.columns
            if not sensors:
                raise FormatError("there is no sensor beside the timestamp", where=str(path))
            if "time" in sensors:
                hint = "the first column is the timestamp: rename this one"
                raise FormatError("a sensor is named 'time'", where=str(path), hint=hint)
            if parts and sorted(sensors) != sorted(parts[0].columns[1:]):
                other = sorted(set(sensors).symmetric_difference(parts[0].columns[1:]))[0]
                hint = f"{paths[0].name} and {path.name} are of one component"
                raise FormatError(f"not all files of {component} have column {other!r}", where=str(path), hint=hint)
            table = file.read(sensors, [clock])
            time = self._time(table[clock], str(path))
            parts.append(table.select(time.alias("time"), *(parts[0].columns[1:] if parts else sensors)))
        whole = pl.concat(parts)
        doubled = whole["time"].is_duplicated()
        if doubled.any():
            at = whole["time"].filter(doubled)[0]
            where = f"{paths[0].parent if len(paths) > 1 else paths[0]}"
            raise FleetError(f"{component} has two readings at {at}", where=where, hint="remove the repeated rows")
        return whole

    def _time(self, cells: pl.Series, where: str) -> pl.Series:
        """Timestamps in one of the service's formats; time zones become UTC."""
        text = cells.str.strip_chars()
        if text.null_count():
            row = int(text.is_null().arg_true()[0])
            raise FleetError("the timestamp is empty", where=f"{where}: row {row + 1}, column {cells.name!r}")
        if self.time_format is None:
            for digits, unit in ((10, "s"), (13, "ms")):
                if text.str.contains(rf"^\d{{{digits}}}$").all():
                    epoch: Literal["s", "ms"] = "s" if unit == "s" else "ms"
                    return pl.from_epoch(text.cast(pl.Int64), epoch).cast(pl.Datetime("us"))
            for pattern, format_ in _YEAR_FIRST:
                if text.str.contains(f"^{pattern}$").all():
                    return frames.timestamps(text, where, format_)
        return frames.timestamps(text, where, self.time_format)

    # ------------------------------------------------------------------ ranges

    def _windows(self, path: Path) -> pl.DataFrame:
        """`start` and `end` of each line of a file of ranges."""
        try:
            lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
        except FileNotFoundError as error:
            raise SourceNotFoundError("there is no such file of ranges", where=str(path)) from error
        except UnicodeDecodeError as error:
            raise FormatError("this is not UTF-8 text", where=str(path)) from error
        if lines and not any(re.search(r"\d", cell) for cell in lines[0]):
            lines = lines[1:]  # a header, which the service does not know
        lines = [line for line in lines if line]
        short = next((number for number, line in enumerate(lines, 1) if len(line) < 2), None)
        if short is not None:
            hint = "two timestamps a line: the start and the end of a range"
            raise FormatError("there is only one cell", where=f"{path}: row {short}", hint=hint)
        cells = {
            name: pl.Series(name, [line[i] for line in lines], pl.String) for i, name in enumerate(("start", "end"))
        }
        if not lines:
            return pl.DataFrame(schema={"start": pl.Datetime("us"), "end": pl.Datetime("us")})
        return pl.DataFrame({name: self._time(column, str(path)) for name, column in cells.items()})

    def _cut(self, table: pl.DataFrame, windows: dict[str, pl.DataFrame]) -> Lives:
        empty = pl.DataFrame(schema={"start": pl.Datetime("us"), "end": pl.Datetime("us")})
        return cut_lives(
            table,
            windows.get("anomaly", empty),
            windows.get("maintenance"),
            time="time",
            asset_name=self._asset,
            overlap=self.overlap,
            stray=self.stray,
            name=self.name,
        )

    def _lives(
        self, table: pl.DataFrame, sensors: list[str], windows: dict[str, pl.DataFrame], notes: list[Note], split: str
    ) -> Fleet:
        if "anomaly" not in windows:
            raise UsageError("lives end where an abnormal range begins, but labels names no file", where=self.name)
        lives = self._cut(table, windows)
        notes += lives.notes
        if split != "all":
            units = [str(unit) for unit in lives.table["unit"]]  # in the order of time
            held = min(max(1, round(len(units) * self.test_share)), len(units) - 1) if self.test_share else 0
            chosen = units[: len(units) - held] if split == "train" else units[len(units) - held :]
            if not chosen:
                hint = "choose another test_share, or take split 'all'"
                raise FleetError(f"there is no life for {split}: {len(units)} in all", where=self.name, hint=hint)
            lives = lives.select(chosen)
        return self._fleet(lives.rows.collect(), sensors, [], lives.events, notes, split)


def _joined(tables: dict[str, pl.DataFrame]) -> tuple[pl.DataFrame, list[str], list[Note]]:
    """All components on one time axis, the names of the sensors, and what is worth knowing, counted."""
    counts = Counter(column for table in tables.values() for column in table.columns[1:])
    notes = []
    backwards = sum(int((table["time"].to_physical().diff() < 0).sum()) for table in tables.values() if table.height)
    if backwards:
        notes.append(Note("time_backwards", backwards, f"{backwards} times a row is earlier than the row before it"))
    doubled = sorted(column for column, count in counts.items() if count > 1)
    if doubled:
        text = f"sensors in several components carry the component's name, {len(doubled)}: {', '.join(doubled[:5])}"
        notes.append(Note("sensors_prefixed", len(doubled), text))
    parts: list[pl.DataFrame] = []
    for component, table in tables.items():
        part = table.rename({column: f"{component}.{column}" for column in doubled if column in table.columns})
        taken = {column for other in parts for column in other.columns[1:]}
        clash = sorted(taken.intersection(part.columns[1:]))
        if clash:
            raise FormatError(f"two columns would be named {clash[0]!r}", where=component, hint="rename the sensor")
        parts.append(part)
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.join(part, on="time", how="full", coalesce=True)
    present = pl.concat([part["time"] for part in parts]).value_counts()["count"]
    alone = int((present < len(parts)).sum())
    if alone:
        text = f"{alone} of {joined.height} readings are without one component or more: those are missing there"
        notes.append(Note("components_missing", alone, text))
    return joined.sort("time"), joined.columns[1:], notes


def _inside(time: pl.Series, ranges: pl.DataFrame) -> pl.Series:
    """1 where a time lies within a range, both ends included, else 0."""
    starts, ends = (np.sort(ranges[column].to_physical().to_numpy()) for column in ("start", "end"))
    clock = time.to_physical().to_numpy()
    begun = np.searchsorted(starts, clock, side="right")
    over = np.searchsorted(ends, clock, side="left")
    return pl.Series((begun > over).astype(np.int8))
