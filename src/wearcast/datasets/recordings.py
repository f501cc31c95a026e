"""Recordings of the user: CSV files in folders that are named after what was wrong, such as `normal/` and `inner/`."""

from __future__ import annotations

import fnmatch
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from wearcast import frames
from wearcast.config import Strict, nearest
from wearcast.datasets.csvfile import open_csv
from wearcast.errors import FleetError, FormatError, SourceNotFoundError
from wearcast.fleet import Fleet

__all__ = ["RecordingsDataset"]

_RATE_TOLERANCE = 0.01
_SUFFIXES = (".csv", ".tsv", ".txt")


class RecordingsDataset(Strict):
    """CSV recordings in folders: a file is a unit, a row is a sample, the folder's name is the fault.

    All recordings have one sampling rate and the same channels. A recording is never parted by a split.
    """

    counts_cycles: ClassVar[bool] = True
    kind: Literal["recordings"] = "recordings"
    source: str = Field(description="The folder that holds the labelled folders.")
    sampling_rate_hz: float = Field(gt=0, description="Of every recording.")
    label_folder: Literal["last", "first", "none"] = Field(
        "last",
        description="Which folder on the way to a file names the fault: the one it lies in, the outermost, or none: "
        "the faults are not known.",
    )
    header: bool = Field(True, description="Whether the first row of each file names the columns.")
    channels: tuple[str, ...] | None = Field(
        None, min_length=1, description="Columns of signals; all columns of numbers. Without a header, their names."
    )
    time_column: str | None = Field(None, description="Seconds since the start; only checked against sampling_rate_hz.")
    rpm: float | None = Field(None, gt=0, description="Speed of the shaft, if it is one and the same.")
    test_recordings: tuple[str, ...] = Field(
        (), description="Patterns such as *_2.csv of the paths held back; without them, test_share of each label."
    )
    test_share: float = Field(0.25, gt=0, lt=1, description="Share of each label's recordings that is held back.")

    @model_validator(mode="after")
    def _names_without_a_header(self) -> RecordingsDataset:
        if not self.header and self.channels is None:
            raise ValueError("without a header the names of the columns are needed: name all of them in channels")
        if self.channels is not None and len(set(self.channels)) < len(self.channels):
            raise ValueError("one of the channels is there twice")
        return self

    @property
    def name(self) -> str:
        """`recordings/` and the name of the folder."""
        return f"recordings/{Path(self.source).name or 'folder'}"

    def load(self, split: Literal["train", "test", "all"] = "train") -> Fleet:
        """The recordings to train on, to test on, or all; a unit is named after its path without the suffix.

        Raises:
            SourceNotFoundError: there is no such folder, or no recording in it.
            FormatError: a file lies outside a labelled folder, lacks a channel, or is not at the sampling rate.
            FleetError: a cell is not a number, or no recording is on this side of the split.
        """
        found = self._found()
        held = set() if split == "all" else self._test(found)
        taken = found if split == "all" else [one for one in found if (one.path in held) == (split == "test")]
        if not taken:
            raise FleetError(
                f"no recording is left for {split} of {len(found)}",
                where=self.name,
                hint="change test_recordings or test_share, or take split 'all'",
            )
        channels = self.channels or self._channels_of(found[0])
        fleet = Fleet.from_frame(
            pl.concat([self._samples(one, channels) for one in taken]),
            unit="unit",
            cycle="sample",
            sensors=channels,
            statics=("rpm",) if self.rpm else (),
            labels=() if self.label_folder == "none" else ("fault",),
            events="censored",
            name=self.name if split == "all" else f"{self.name} {split}",
        )
        return replace(fleet, schema=fleet.schema.model_copy(update={"sampling_rate_hz": self.sampling_rate_hz}))

    def _found(self) -> list[_Found]:
        folder = Path(self.source).expanduser()
        if not folder.is_dir():
            raise SourceNotFoundError("there is no such folder", where=str(folder))
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
        if not files:
            raise SourceNotFoundError(f"there is no {', '.join(_SUFFIXES)} file", where=str(folder))
        found = []
        for path in files:
            relative = path.relative_to(folder)
            if len(relative.parts) == 1 and self.label_folder != "none":
                raise FormatError(
                    "the recording lies in no labelled folder",
                    where=str(path),
                    hint="move it into a folder that is named after its fault, such as normal/, or set label_folder "
                    "to none where the faults are not known",
                )
            label = {"last": relative.parts[-2:-1], "first": relative.parts[:1], "none": ()}[self.label_folder]
            found.append(_Found(path, relative.as_posix(), relative.with_suffix("").as_posix(), "".join(label)))
        doubled = [unit for unit, count in Counter(one.unit for one in found).items() if count > 1]
        if doubled:
            raise FormatError(f"there are two recordings {doubled[0]}", where=str(folder), hint="remove one of them")
        return found

    def _test(self, found: Sequence[_Found]) -> set[Path]:
        if self.test_recordings:
            unused = [p for p in self.test_recordings if not any(fnmatch.fnmatchcase(one.relative, p) for one in found)]
            if unused:
                raise FleetError(f"no recording is like {unused[0]!r}", where=self.name)
            return {
                one.path for one in found if any(fnmatch.fnmatchcase(one.relative, p) for p in self.test_recordings)
            }
        held: set[Path] = set()
        for label in {one.label for one in found}:
            same = sorted((one for one in found if one.label == label), key=lambda one: _place(one.unit))
            # One of two is held back, one of one is not: a label that training never saw cannot be tested.
            count = min(math.ceil(self.test_share * len(same)), len(same) - 1)
            held |= {one.path for one in same[:count]}
        return held

    def _channels_of(self, first: _Found) -> tuple[str, ...]:
        file = open_csv(first.path)
        channels = tuple(c for c in file.columns if c != self.time_column and file.kinds[c] != "text")
        if not channels:
            raise FormatError("there is no column of numbers", where=str(first.path))
        return channels

    def _samples(self, one: _Found, channels: tuple[str, ...]) -> pl.DataFrame:
        table = self._read(one.path, channels)
        if table.height == 0:
            raise FormatError("there are no samples", where=str(one.path))
        if self.time_column is not None:
            self._check_rate(table[self.time_column], one.path)
        return table.select(
            pl.lit(one.unit).alias("unit"),
            pl.int_range(pl.len()).alias("sample"),
            *channels,
            *([pl.lit(self.rpm, dtype=pl.Float32).alias("rpm")] if self.rpm else []),
            *([] if self.label_folder == "none" else [pl.lit(one.label).alias("fault")]),
        )

    def _read(self, path: Path, channels: tuple[str, ...]) -> pl.DataFrame:
        wanted = channels if self.time_column is None else (*channels, self.time_column)
        if self.header:
            file = open_csv(path)
            lacking = [column for column in wanted if column not in file.columns]
            if lacking:
                raise FormatError(
                    f"column {lacking[0]!r} is missing; there are {', '.join(file.columns)}",
                    where=str(path),
                    hint=nearest(lacking[0], file.columns),
                )
            # Float32 does not tell the times of a long recording apart.
            texts = [self.time_column] if self.time_column else []
            return file.read(list(channels), texts)
        try:
            table = pl.read_csv(path, has_header=False, infer_schema=False)
        except pl.exceptions.NoDataError:
            raise FormatError("the file is empty", where=str(path)) from None
        except pl.exceptions.PolarsError as error:
            raise FormatError(f"cannot be read as CSV: {error}", where=str(path)) from error
        if table.width != len(wanted):
            raise FormatError(f"{table.width} columns, but {len(wanted)} are named", where=str(path))
        table.columns = list(wanted)
        return table.with_columns(frames.numbers(table[column], str(path)) for column in channels)

    def _check_rate(self, column: pl.Series, path: Path) -> None:
        where = f"{path}: column {column.name!r}"
        times = column.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
        if times.null_count():
            row = int(times.is_null().arg_max() or 0)
            raise FormatError(f"{column[row]!r} is not a number of seconds", where=f"{where}, row {row + 1}")
        steps = np.diff(times.to_numpy())
        if (steps < 0).any():
            row = int(np.argmax(steps < 0)) + 2
            raise FormatError("the time goes backwards", where=f"{where}, row {row}")
        # Over the whole recording, since times are often written with too few digits to tell one step.
        span = float(times[-1]) - float(times[0])
        rate = len(steps) / span if span > 0 else math.inf
        if len(steps) and abs(rate / self.sampling_rate_hz - 1) > _RATE_TOLERANCE:
            raise FormatError(
                f"it was sampled at {rate:.6g} Hz, not {self.sampling_rate_hz:g} Hz",
                where=where,
                hint="recordings of several rates are never mixed: resample them, or load them apart",
            )


@dataclass(frozen=True)
class _Found:
    """A recording in a labelled folder."""

    path: Path
    relative: str
    unit: str
    label: str


def _place(unit: str) -> bytes:
    """An order that depends on nothing but the unit's name."""
    return hashlib.sha256(unit.encode()).digest()
