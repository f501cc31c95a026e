"""One MATLAB file of the Case Western bearing data: which recording it holds, its channels and its speed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearcast.datasets.matfile import read_mat
from wearcast.datasets.skf_recordings import ALIASES, RECORDINGS, Recording
from wearcast.errors import FormatError

__all__ = ["RecordingFile", "read_recording_file"]

_SIGNAL = re.compile(r"X(\d+)_(DE|FE|BA)_time")
_LABEL = re.compile(r"(?<![A-Za-z])(Normal|(?:IR|B|OR)\d{3}(?:@\d+)?)_(\d)(?!\d)")
_NUMBER = re.compile(r"(?<![A-Za-z\d@])(\d{2,4})(?![\d@kK])")


@dataclass(frozen=True)
class RecordingFile:
    """A recording as it was read.

    Attributes:
        path: of the file, in its folder or zip.
        where: what errors call it.
        recording: what the number in its variables says it is.
        channels: `DE`, `FE`, `BA` as far as they are there, each `(n_samples,)`.
        rpm: measured speed of the shaft; None if there is none.
        misnamed: whether the file is named after another recording.
    """

    path: Path
    where: str
    recording: Recording
    channels: dict[str, NDArray[np.float64]]
    rpm: float | None
    misnamed: bool


def read_recording_file(path: Path, data: bytes, *, where: str) -> RecordingFile:
    """Read a recording out of the bytes of its file.

    Of a file that also holds another recording's variables (the published `99.mat` holds those of 98), the one that
    the file is named after is taken.

    Raises:
        FormatError: no MATLAB 5 file, no recording in it, an unknown one, or several and none by the file's name.
    """
    arrays = read_mat(data, where=where)
    signals: dict[int, dict[str, NDArray[np.float64]]] = {}
    for name, values in arrays.items():
        match = _SIGNAL.fullmatch(name)
        if match is not None:
            signals.setdefault(int(match[1]), {})[match[2]] = values
    if not signals:
        known = ", ".join(arrays) or "none"
        raise FormatError(
            f"there is no channel in it; its variables are {known}",
            where=where,
            hint="a recording has variables such as X118_DE_time",
        )
    number = _pick(path, sorted(signals), where)
    recording = RECORDINGS[ALIASES.get(number, number)]
    channels = {
        channel: _signal(signals[number][channel], number, channel, where) for channel in sorted(signals[number])
    }
    lengths = {len(values) for values in channels.values()}
    if len(lengths) > 1:
        sizes = ", ".join(f"{channel} {len(values)}" for channel, values in channels.items())
        raise FormatError(f"the channels of recording {number} differ in length: {sizes}", where=where)
    hinted = _named_after(path)
    misnamed = bool(hinted) and recording.number not in {other.number for other in hinted}
    return RecordingFile(path, where, recording, channels, _speed(arrays, number, where), misnamed)


def _pick(path: Path, numbers: list[int], where: str) -> int:
    known = [number for number in numbers if ALIASES.get(number, number) in RECORDINGS]
    if not known:
        raise FormatError(
            f"recording {numbers[0]} is not one of the {len(RECORDINGS)} published ones",
            where=where,
            hint="recordings of your own go into folders as CSV, or are read as files with a mapping",
        )
    if len(known) == 1:
        return known[0]
    hinted = {recording.number for recording in _named_after(path)}
    named = [number for number in known if ALIASES.get(number, number) in hinted]
    if len(named) != 1:
        raise FormatError(
            f"there are several recordings in it: {', '.join(map(str, known))}",
            where=where,
            hint=f"name the file after the one that is meant, such as {known[-1]}.mat",
        )
    return named[0]


def _named_after(path: Path) -> list[Recording]:
    """The recordings that the name of a file may mean; none if it says nothing."""
    numbers = [RECORDINGS[int(found)] for found in _NUMBER.findall(path.stem) if int(found) in RECORDINGS]
    label = _LABEL.search(path.stem)
    if label is None:
        return numbers
    by_label = [recording for recording in RECORDINGS.values() if recording.label == label[0]]
    both = [recording for recording in by_label if recording in numbers]
    return both or by_label or numbers


def _signal(values: NDArray[np.float64], number: int, channel: str, where: str) -> NDArray[np.float64]:
    what = f"channel {channel} of recording {number}"
    if values.size == 0 or values.size != max(values.shape):
        raise FormatError(f"{what} is {' × '.join(map(str, values.shape))}, not one row of samples", where=where)
    flat = values.ravel(order="F")
    wrong = ~np.isfinite(flat)
    if wrong.any():
        raise FormatError(f"{what} is not a finite number at sample {int(np.argmax(wrong))}", where=where)
    return flat


def _speed(arrays: dict[str, NDArray[np.float64]], number: int, where: str) -> float | None:
    name = next((f"X{number:0{width}d}RPM" for width in (1, 3) if f"X{number:0{width}d}RPM" in arrays), None)
    if name is None:
        return None
    values = arrays[name]
    if values.size != 1 or not np.isfinite(values).all() or values.item() <= 0:
        raise FormatError(f"{name} is not a speed: {values.ravel()[:3].tolist()}", where=where)
    return float(values.item())
