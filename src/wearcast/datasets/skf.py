"""Bearing faults recorded at Case Western Reserve University: SKF 6205-2RS JEM and SKF 6203-2RS JEM bearings.

Case Western Reserve University Bearing Data Center, https://engineering.case.edu/bearingdatacenter. Critique and traps:
W. A. Smith, R. B. Randall, "Rolling element bearing diagnostics using the Case Western Reserve University data: a
benchmark study", Mechanical Systems and Signal Processing 64–65 (2015) 100–131.

A recording is a unit and a sample is a row. Windows of one recording resemble each other far more than windows of two,
so a split never parts a recording, and by default holds back a whole fault size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from wearcast.config import Strict
from wearcast.datasets.archive import open_archive
from wearcast.datasets.card import DataFile, DatasetCard
from wearcast.datasets.location import dataset_dir
from wearcast.datasets.skf_files import RecordingFile, read_recording_file
from wearcast.datasets.skf_recordings import RPM_BY_LOAD, SIZES, Bearing, Element, Recording
from wearcast.errors import FleetError, FormatError
from wearcast.fleet import Fleet
from wearcast.schema import Note

__all__ = ["CARD", "CHANNELS", "Channel", "SkfDataset", "decimate_by_4"]

Channel = Literal["DE", "FE", "BA"]

CHANNELS: dict[Channel, str] = {
    "DE": "acceleration at the drive end",
    "FE": "acceleration at the fan end",
    "BA": "acceleration of the base",
}
_MAT = ("*.mat", "*.MAT")
LABELS = ("fault", "fault_size", "position")
STATICS = ("rpm", "load_hp")

CARD = DatasetCard(
    name="skf",
    title="Case Western Reserve University bearing data (SKF bearings)",
    summary="Vibration of a motor whose SKF bearing has a fault of known element and size, at 12 or 48 kHz.",
    licence="Free for use with acknowledgement of the Bearing Data Center",
    citation=(
        "Case Western Reserve University Bearing Data Center: Seeded Fault Test Data. "
        "https://engineering.case.edu/bearingdatacenter"
    ),
    publisher="Case Western Reserve University, Bearing Data Center",
    homepage="https://engineering.case.edu/bearingdatacenter",
    url=None,
    published="2000",
    files=(DataFile(pattern="*.mat", media_type="application/x-matlab-data"),),
    units_of_measure={**dict.fromkeys(CHANNELS, "g"), "rpm": "1/min", "load_hp": "hp", "fault_size": "in"},
    descriptions={
        **CHANNELS,
        "rpm": "speed of the shaft",
        "load_hp": "load of the motor",
        "fault": "normal, inner, ball or outer: element that is damaged",
        "fault_size": "diameter of the fault, 0 without one",
        "position": "of an outer-race fault on a clock with the load zone at 6; none for others",
    },
    kinds={"fault": "text", "position": "text"},
    traps=(
        "windows of one recording resemble each other: 99.9% on a random split of them, 64% on an unseen fault size",
        "the number in the variables, not the name of the file, says which recording it is; 99.mat also holds 98",
        "normal recordings are 48 kHz in origin: energy above 4.8 kHz tells them from faults by artefact",
        "outer-race faults of 0.014 in do not show at their fault frequency",
    ),
    manual_steps=(
        "download the .mat files that you need from the tables of https://engineering.case.edu/bearingdatacenter "
        "into one folder, under any names, then: wearcast datasets fetch skf --from THAT_FOLDER"
    ),
    unverified="the unit of the channels, which the publisher does not give in the files",
)


class SkfDataset(Strict):
    """Recordings under `<data folder>/skf/`, in any folders; each is known by the number in its variables."""

    counts_cycles: ClassVar[bool] = True
    kind: Literal["skf"] = "skf"
    channels: tuple[Channel, ...] = Field(("DE",), min_length=1, description="Drive end, fan end, base.")
    bearing: Bearing = Field("drive_end", description="Which bearing is damaged: 6205-2RS (drive) or 6203-2RS (fan).")
    sampling_rate_hz: Literal[12_000, 48_000] = Field(12_000, description="Recordings at this rate are taken.")
    elements: tuple[Element, ...] = Field(("inner", "ball", "outer"), min_length=1, description="Fault classes.")
    sizes: tuple[float, ...] | None = Field(None, description="Fault diameters in inches; all that are there.")
    loads: tuple[Literal[0, 1, 2, 3], ...] | None = Field(None, description="Motor loads in HP; all that are there.")
    positions: tuple[Literal["3", "6", "12"], ...] | None = Field(None, description="Outer-race positions; all.")
    test_sizes: tuple[float, ...] = Field((0.021,), description="Fault diameters that are held back for the test.")
    test_loads: tuple[Literal[0, 1, 2, 3], ...] = Field(
        (), description="Loads held back too; a test recording must be of both a test size and a test load."
    )
    decimate_normal: bool = Field(False, description="Bring the 48 kHz normal recordings down to 12 kHz.")
    rpm_from_table: bool = Field(True, description="Take the published speed where none was measured.")

    @field_validator("sizes", "test_sizes")
    @classmethod
    def _published(cls, sizes: tuple[float, ...] | None) -> tuple[float, ...] | None:
        wrong = [size for size in sizes or () if size not in SIZES]
        if wrong:
            raise ValueError(f"there is no fault of {wrong[0]} in; there are {', '.join(map(str, SIZES))}")
        return sizes

    @model_validator(mode="after")
    def _consistent(self) -> SkfDataset:
        for what in ("channels", "elements"):
            if len(set(getattr(self, what))) < len(getattr(self, what)):
                raise ValueError(f"one of the {what} is there twice")
        if not self.test_sizes and not self.test_loads:
            raise ValueError("nothing is held back for the test: name test_sizes or test_loads")
        if self.bearing == "fan_end" and self.sampling_rate_hz != 12_000:
            raise ValueError("faults of the fan end were recorded at 12 kHz only")
        if "normal" in self.elements:
            if not self.test_loads:
                raise ValueError("normal recordings have no fault size: say with test_loads which are for the test")
            if self.sampling_rate_hz != 48_000 and not self.decimate_normal:
                raise ValueError(
                    "normal recordings are 48 kHz in origin, those of faults 12 kHz: set decimate_normal, or "
                    "sampling_rate_hz to 48000, or leave 'normal' out of elements"
                )
        return self

    @property
    def name(self) -> str:
        """What a user types for it."""
        return "skf"

    def load(self, split: Literal["train", "test", "all"] = "train") -> Fleet:
        """The recordings to train on, to test on, or all that are chosen; a unit's name is the publisher's label.

        A recording is on one side at most: of neither a test size nor a test load it is for training, of both for the
        test, and one of a test size at another load, or the other way about, is left out of both with a note.

        Raises:
            SourceNotFoundError: there are no recordings in the data folder.
            FormatError: a file is no MATLAB 5 file, is cut off, or lacks a channel or (unless taken from the table)
                the speed.
            FleetError: no recording is chosen, or one is there twice.
        """
        files = self._chosen(list(_files(dataset_dir(CARD.name))))
        sides: dict[str | None, list[RecordingFile]] = {
            part: [file for file in files if self.side(file.recording) == part] for part in ("train", "test", None)
        }
        taken = files if split == "all" else sides[split]
        if not taken:
            raise FleetError(
                f"no recording is left for {split}; there are {_listed(files)}",
                where=self.name,
                hint="change test_sizes, test_loads or what is chosen, or take split 'all'",
            )
        fleet = self._fleet(taken, split)
        unused = sides[None]
        if not unused or split == "all":
            return fleet
        text = f"{len(unused)} recordings are neither for training nor for the test: {_listed(unused)}"
        return fleet.with_notes(Note("left_out", len(unused), text))

    def side(self, recording: Recording) -> Literal["train", "test"] | None:
        """The split that a recording belongs to; None if to neither."""
        marks = set()
        if self.test_sizes and recording.fault != "normal":
            marks.add(recording.fault_size in self.test_sizes)
        if self.test_loads:
            marks.add(recording.load in self.test_loads)
        if len(marks) > 1:
            return None
        return "test" if marks == {True} else "train"

    def _chosen(self, files: Sequence[RecordingFile]) -> list[RecordingFile]:
        seen: dict[int, RecordingFile] = {}
        for file in files:
            first = seen.setdefault(file.recording.number, file)
            if first is not file:
                what = f"recording {file.recording.number} ({file.recording.label}) is also in {first.path.name}"
                raise FleetError(what, where=file.where, hint="remove one of them")
        chosen = [file for file in seen.values() if self._wants(file.recording)]
        if not chosen:
            what = f"none of the {len(files)} recordings here is chosen; there are {_listed(list(seen.values()))}"
            raise FleetError(what, where=self.name, hint="change bearing, sampling_rate_hz, elements, sizes or loads")
        return sorted(chosen, key=lambda file: file.recording.number)

    def _wants(self, recording: Recording) -> bool:
        if recording.fault not in self.elements or (self.loads is not None and recording.load not in self.loads):
            return False
        if recording.fault == "normal":
            return True
        return (
            recording.bearing == self.bearing
            and recording.sampling_rate_hz == self.sampling_rate_hz
            and (self.sizes is None or recording.fault_size in self.sizes)
            and (self.positions is None or recording.position is None or recording.position in self.positions)
        )

    def _fleet(self, files: Sequence[RecordingFile], split: str) -> Fleet:
        parts, notes = zip(*(self._samples(file) for file in files), strict=True)
        fleet = Fleet.from_frame(
            pl.concat(parts),
            unit="unit",
            cycle="sample",
            sensors=self.channels,
            statics=STATICS,
            labels=LABELS,
            events="censored",
            name=self.name if split == "all" else f"{self.name} {split}",
        )
        units = {column: unit for column, unit in CARD.units_of_measure.items() if column in fleet.frame.columns}
        schema = fleet.schema.model_copy(
            update={"units_of_measure": units, "sampling_rate_hz": float(self.sampling_rate_hz)}
        )
        return replace(fleet, schema=schema).with_notes(*_summed([note for found in notes for note in found]))

    def _samples(self, file: RecordingFile) -> tuple[pl.DataFrame, list[_Said]]:
        recording, said = file.recording, []
        missing = [channel for channel in self.channels if channel not in file.channels]
        if missing:
            raise FormatError(
                f"recording {recording.number} has no channel {missing[0]}; it has {', '.join(file.channels)}",
                where=file.where,
                hint="choose other channels, or leave the recording out",
            )
        rpm = file.rpm
        if rpm is None:
            if not self.rpm_from_table:
                what = f"recording {recording.number} has no speed (X{recording.number:03d}RPM)"
                raise FormatError(what, where=file.where, hint="set rpm_from_table to take the published one")
            rpm = RPM_BY_LOAD[recording.load]
            said.append(_Said("rpm_from_table", recording.label, "have no measured speed; the published one is taken"))
        signals: dict[str, NDArray[np.float64]] = {channel: file.channels[channel] for channel in self.channels}
        if recording.sampling_rate_hz != self.sampling_rate_hz:
            signals = {channel: decimate_by_4(signal) for channel, signal in signals.items()}
            said.append(_Said("decimated", recording.label, "are brought from 48 to 12 kHz"))
        if file.misnamed:
            text = "lie in a file named after another recording; the number in the variables counts"
            said.append(_Said("misnamed", f"{recording.label} in {file.path.name}", text))
        length = len(next(iter(signals.values())))
        table = pl.DataFrame({**signals, "sample": np.arange(length)}).select(
            pl.lit(recording.label).alias("unit"),
            "sample",
            *(pl.col(channel).cast(pl.Float32) for channel in self.channels),
            pl.lit(float(rpm), dtype=pl.Float32).alias("rpm"),
            pl.lit(float(recording.load), dtype=pl.Float32).alias("load_hp"),
            pl.lit(recording.fault).alias("fault"),
            pl.lit(recording.fault_size, dtype=pl.Float32).alias("fault_size"),
            pl.lit(recording.position or "none").alias("position"),
        )
        return table, said


@dataclass(frozen=True)
class _Said:
    """Something worth a note about one recording."""

    kind: str
    what: str
    text: str


def _summed(said: Sequence[_Said]) -> Iterator[Note]:
    for kind in dict.fromkeys(one.kind for one in said):
        same = [one for one in said if one.kind == kind]
        names = ", ".join(one.what for one in same)
        yield Note(kind, len(same), f"{len(same)} recordings {same[0].text}: {names}")


def _files(place: Path) -> Iterator[RecordingFile]:
    with open_archive(place, *_MAT) as archive:
        for path in archive.find(*_MAT):
            yield read_recording_file(Path(path), archive.read(path), where=archive.where(path))


def _listed(files: Sequence[RecordingFile], most: int = 6) -> str:
    names = [f"{file.recording.label} ({file.recording.sampling_rate_hz // 1000} kHz)" for file in files]
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + rest


def decimate_by_4(signal: NDArray[np.floating]) -> NDArray[np.float64]:
    """Every fourth sample behind a low-pass filter that passes up to 0.8 of the new Nyquist frequency.

    A windowed sinc (257 taps, Blackman; A. V. Oppenheim, R. W. Schafer, "Discrete-Time Signal Processing", 3rd ed.,
    section 7.5) with its -6 dB point at 0.9 of the new Nyquist frequency: no phase is shifted, edges see zeros.

    Args:
        signal: `(n,)`.

    Returns:
        `(ceil(n / 4),)`.
    """
    taps = np.arange(257) - 128
    cutoff = 0.9 / 4  # of the old Nyquist frequency
    kernel = cutoff * np.sinc(cutoff * taps) * np.blackman(257)
    padded = np.pad(np.asarray(signal, dtype=np.float64), 128)
    filtered: NDArray[np.float64] = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    return filtered[::4]
