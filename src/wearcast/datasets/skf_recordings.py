"""What each recording of the Case Western bearing data is, by its number, as the Bearing Data Center's tables say.

Source: Case Western Reserve University Bearing Data Center, "Seeded Fault Test Data", tables of the normal baseline,
12k drive end, 48k drive end and 12k fan end. Traps: W. A. Smith, R. B. Randall, "Rolling element bearing diagnostics
using the Case Western Reserve University data: a benchmark study", Mechanical Systems and Signal Processing 64–65
(2015) 100–131.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["ALIASES", "ELEMENTS", "RECORDINGS", "RPM_BY_LOAD", "SIZES", "Bearing", "Element", "Recording"]

Element = Literal["normal", "inner", "ball", "outer"]
Bearing = Literal["drive_end", "fan_end"]

ELEMENTS: Final = ("normal", "inner", "ball", "outer")
SIZES: Final = (0.007, 0.014, 0.021, 0.028)
RPM_BY_LOAD: Final = {0: 1797.0, 1: 1772.0, 2: 1750.0, 3: 1730.0}
"""Published motor speed by load in HP, for recordings that do not hold a measured one."""

ALIASES: Final = {
    **{56 + i: 3001 + i for i in range(4)},
    **{48 + i: 3005 + i for i in range(4)},
    173: 174,
}
"""Number in the variables to number of the file, where the publisher's differ."""


@dataclass(frozen=True)
class Recording:
    """One published recording.

    Attributes:
        number: of the published file.
        label: the publisher's name of it, such as `IR007_2`; unique within a bearing and sampling rate.
        fault: element that is damaged.
        fault_size: diameter of the fault in inches, 0 without a fault.
        position: of an outer-race fault, as on a clock with the load zone at 6; None for others.
        load: of the motor in HP.
        sampling_rate_hz: at which it was sampled; the normal ones are published as 12 kHz but are 48 kHz in origin.
        bearing: where the fault is; None without a fault.
    """

    number: int
    label: str
    fault: Element
    fault_size: float
    position: Literal["3", "6", "12"] | None
    load: int
    sampling_rate_hz: int
    bearing: Bearing | None


# Numbers at 0, 1, 2 and 3 HP; None where nothing was published.
_Numbers = tuple[int | None, int | None, int | None, int | None]


def _four(first: int) -> _Numbers:
    return first, first + 1, first + 2, first + 3


_DRIVE_END_12K: dict[str, _Numbers] = {
    "IR007": _four(105),
    "B007": _four(118),
    "OR007@6": _four(130),
    "OR007@3": _four(144),
    "OR007@12": (156, 158, 159, 160),
    "IR014": _four(169),
    "B014": _four(185),
    "OR014@6": _four(197),
    "IR021": _four(209),
    "B021": _four(222),
    "OR021@6": _four(234),
    "OR021@3": _four(246),
    "OR021@12": _four(258),
    "IR028": _four(3001),
    "B028": _four(3005),
}
_DRIVE_END_48K: dict[str, _Numbers] = {
    "IR007": _four(109),
    "B007": _four(122),
    "OR007@6": _four(135),
    "OR007@3": _four(148),
    "OR007@12": _four(161),
    "IR014": _four(174),
    "B014": _four(189),
    "OR014@6": _four(201),
    "IR021": (213, 214, 215, 217),
    "B021": _four(226),
    "OR021@6": _four(238),
    "OR021@3": _four(250),
    "OR021@12": _four(262),
}
_FAN_END_12K: dict[str, _Numbers] = {
    "IR007": _four(278),
    "B007": _four(282),
    "OR007@6": _four(294),
    "OR007@3": _four(298),
    "OR007@12": (302, 305, 306, 307),
    "IR014": _four(274),
    "B014": _four(286),
    "OR014@6": (313, None, None, None),
    "OR014@3": (310, 309, 311, 312),
    "IR021": _four(270),
    "B021": _four(290),
    "OR021@6": (315, None, None, None),
    "OR021@3": (None, 316, 317, 318),
}
_LABEL = re.compile(r"(IR|B|OR)(\d{3})(?:@(\d+))?")
_FAULTS: dict[str, Element] = {"IR": "inner", "B": "ball", "OR": "outer"}
_POSITIONS: dict[str | None, Literal["3", "6", "12"]] = {"3": "3", "6": "6", "12": "12"}


def _table() -> dict[int, Recording]:
    series: tuple[tuple[dict[str, _Numbers], int, Bearing], ...] = (
        (_DRIVE_END_12K, 12_000, "drive_end"),
        (_DRIVE_END_48K, 48_000, "drive_end"),
        (_FAN_END_12K, 12_000, "fan_end"),
    )
    found = [Recording(97 + load, f"Normal_{load}", "normal", 0.0, None, load, 48_000, None) for load in RPM_BY_LOAD]
    for labels, rate, bearing in series:
        for label, numbers in labels.items():
            kind, mils, position = _LABEL.fullmatch(label).groups()  # type: ignore[union-attr]
            found += [
                Recording(
                    number,
                    f"{label}_{load}",
                    _FAULTS[kind],
                    int(mils) / 1000,
                    _POSITIONS.get(position),
                    load,
                    rate,
                    bearing,
                )
                for load, number in enumerate(numbers)
                if number is not None
            ]
    return {recording.number: recording for recording in found}


RECORDINGS: Final = _table()
"""Every published recording by its number."""
