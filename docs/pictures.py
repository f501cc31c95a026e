"""Draw the pictures of the data sets' pages: `WEARCAST_DATA_DIR=~/data python docs/pictures.py [NAME …]`.

They are committed, since the documentation is built where the data are not. Those of layouts for one's own files show
what the first Python example of their page makes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from wearcast.datasets.ai4i import Ai4iDataset
from wearcast.datasets.cmapss import CmapssDataset
from wearcast.datasets.elevator import ElevatorDataset
from wearcast.datasets.etth1 import TEST_ROWS, TRAIN_ROWS, VALIDATION_ROWS, Etth1Dataset
from wearcast.datasets.lookout import LookoutDataset
from wearcast.datasets.metropt import FAILURES, RELEASES, MetroptDataset
from wearcast.datasets.recordings import RecordingsDataset
from wearcast.datasets.simulated import SimulatedDataset
from wearcast.fleet import Fleet

Floats = NDArray[np.float64]
DOCS = Path(__file__).parent
WIDTH, LEFT, RIGHT = 748.0, 150.0, 18.0
COLOURS = ("#3a5fb0", "#b8752a", "#2f7d57", "#a23b5c", "#6a4fa3", "#4a8ca8")
STYLE = """
.card{fill:#fff;stroke:#d9dee5}
.frame{fill:#fbfcfe;stroke:#d9dee5}
.shade{fill:#f0c08f}
.cut{stroke:#5b6b80;stroke-dasharray:4 3}
text{font-family:Inter,'Segoe UI',Helvetica,Arial,sans-serif;font-size:11.5px;fill:#4a5868}
.name{font-size:13px;font-weight:600;fill:#1d2733}
.r{text-anchor:end}
.m{text-anchor:middle}
polyline{fill:none;stroke-width:1.1;stroke-linejoin:round}"""


@dataclass(frozen=True)
class Series:
    """A line, or points where `dots`."""

    x: Floats
    y: Floats
    colour: str = COLOURS[0]
    dots: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes: a name at the left, its series, and the stretches of x that are shaded."""

    name: str
    series: Sequence[Series]
    unit: str = ""
    shades: Sequence[tuple[float, float]] = ()
    cuts: Sequence[float] = ()
    height: float = 84
    limits: tuple[float, float] | None = None
    scale: bool = True


@dataclass(frozen=True)
class Picture:
    """Panels over one x axis, with a caption of the axis below and a legend of colours."""

    title: str
    panels: Sequence[Panel]
    axis: str
    ticks: Sequence[tuple[float, str]] = ()
    legend: Sequence[tuple[str, str]] = field(default=())
    log: bool = False

    def svg(self) -> str:
        """The drawing, on a card of its own so that it reads on light and on dark pages."""
        every = np.concatenate([line.x for panel in self.panels for line in panel.series])
        low, high = float(every.min()), float(every.max())

        def place(x: ArrayLike) -> Floats:
            value, ends = np.asarray(x, dtype=np.float64), np.array([low, high])
            if self.log:
                value, ends = np.log(value), np.log(ends)
            return np.asarray(LEFT + (value - ends[0]) / (ends[1] - ends[0]) * (WIDTH - RIGHT - LEFT))

        top, parts = (46.0 if self.legend else 18.0), []
        for panel in self.panels:
            parts += _panel(panel, top, place)
            top += panel.height + 10
        for at, text in self.ticks or [(at, f"{at:g}") for at in _round_ticks(low, high)]:
            parts.append(f'<text class="m" x="{place(at):.1f}" y="{top + 6:.1f}">{escape(text)}</text>')
        parts.append(
            f'<text class="m" x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{top + 24:.1f}">{escape(self.axis)}</text>'
        )
        at = 16.0
        for colour, text in self.legend:
            parts.append(f'<rect x="{at:.1f}" y="20" width="11" height="11" rx="2" fill="{colour}"/>')
            parts.append(f'<text x="{at + 16:.1f}" y="30">{escape(text)}</text>')
            at += 32 + 6.4 * len(text)
        height = top + 36
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" width="{WIDTH:g}" '
        head += (
            f'height="{height:g}" role="img" aria-labelledby="title">\n<title id="title">{escape(self.title)}</title>'
        )
        card = f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1:g}" height="{height - 1:g}" rx="10"/>'
        return "\n".join([head, f"<style>{STYLE}\n</style>", card, *parts, "</svg>\n"])


def _panel(panel: Panel, top: float, place: Callable[[ArrayLike], Floats]) -> list[str]:
    values = np.concatenate([line.y for line in panel.series])
    low, high = panel.limits or (float(np.nanmin(values)), float(np.nanmax(values)))
    high = high if high > low else low + 1.0
    bottom = top + panel.height

    def up(y: Floats) -> Floats:
        return np.asarray(bottom - 6 - (y - low) / (high - low) * (panel.height - 12))

    parts = [
        f'<rect class="frame" x="{LEFT:g}" y="{top:g}" width="{WIDTH - RIGHT - LEFT:g}" height="{panel.height:g}"/>'
    ]
    for start, end in panel.shades:
        x0, x1 = (float(x) for x in place([start, end]))
        parts.append(
            f'<rect class="shade" x="{x0:.1f}" y="{top:g}" width="{max(x1 - x0, 1.5):.1f}" height="{panel.height:g}"/>'
        )
    for cut in panel.cuts:
        parts.append(f'<line class="cut" x1="{place(cut):.1f}" x2="{place(cut):.1f}" y1="{top:g}" y2="{bottom:g}"/>')
    for line in panel.series:
        x, y = place(line.x), up(line.y)
        if line.dots:
            marks = " ".join(f"M{a:.0f} {b:.0f}h0" for a, b in zip(x, y, strict=True))
            parts.append(f'<path d="{marks}" stroke="{line.colour}" stroke-width="3" stroke-linecap="round"/>')
        else:
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
            parts.append(f'<polyline stroke="{line.colour}" points="{points}"/>')
    parts.append(f'<text class="name" x="16" y="{top + 16:g}">{escape(panel.name)}</text>')
    if panel.unit:
        parts.append(f'<text x="16" y="{top + 32:g}">{escape(panel.unit)}</text>')
    for value, at in ((high, top + 11), (low, bottom - 3)) if panel.scale else ():
        parts.append(f'<text class="r" x="{LEFT - 6:g}" y="{at:g}">{_number(value)}</text>')
    return parts


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _round_ticks(low: float, high: float) -> Floats:
    """About six round numbers between two ends."""
    raw = (high - low) / 6
    step = min((m * 10.0 ** np.floor(np.log10(raw)) for m in (1, 2, 5, 10)), key=lambda s: abs(s - raw))
    return np.asarray(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step)


def thinned(x: Floats, y: Floats, columns: int = 260, colour: str = COLOURS[0]) -> Series:
    """The lowest and the highest reading of each of so many stretches: what a line of all of them would cover."""
    keep: list[int] = []
    for rows in np.array_split(np.arange(len(x)), min(columns, len(x))):
        ends = [int(rows[np.argmin(y[rows])]), int(rows[np.argmax(y[rows])])]
        keep += sorted(set(ends))
    return Series(x[keep], y[keep], colour)


def _lives(fleet: Fleet, columns: Sequence[str], names: Sequence[str], units: Iterable[int | str]) -> list[Panel]:
    """Sensors of some units over the cycles that they had left."""
    chosen = list(units)
    panels = []
    for column, name in zip(columns, names, strict=True):
        series = []
        for colour, one in zip(COLOURS, chosen, strict=False):
            y = fleet.unit_frame(one)[column].to_numpy().astype(np.float64)
            series.append(thinned(np.arange(len(y), dtype=np.float64) - len(y), y, 70, colour))
        unit = fleet.schema.units_of_measure.get(column, "-")
        panels.append(Panel(name, series, column if unit == "-" else f"{column}, {unit}"))
    return panels


def cmapss() -> Picture:
    """Five engines of FD001."""
    fleet = CmapssDataset(subset="FD001").load("train")
    names = ("LPT outlet", "HPC outlet", "fuel flow", "bypass ratio")
    panels = _lives(fleet, ("T50", "Ps30", "phi", "BPR"), names, fleet.units[:5])
    return Picture("Sensors of five engines of FD001 until they fail", panels, "cycles to the end of life")


def simulated() -> Picture:
    """Five engines of the simulator."""
    fleet = SimulatedDataset(censored_share=0.0).load("train")
    columns = ("exhaust_temperature", "compressor_pressure", "fuel_ratio", "vibration")
    names = ("exhaust", "compressor", "fuel ratio", "vibration")
    panels = _lives(fleet, columns, names, fleet.units[:5])
    panels = [Panel(p.name, p.series, fleet.schema.units_of_measure[c]) for p, c in zip(panels, columns, strict=True)]
    return Picture("Sensors of five simulated engines until they fail", panels, "cycles to the end of life")


def ai4i() -> Picture:
    """Torque over speed, with the modes of failure and the rated power."""
    frame = Ai4iDataset().load("all").frame
    legend = {"none": "#c3cbd6", "TWF": "#a23b5c", "HDF": "#3a5fb0", "PWF": "#b8752a", "OSF": "#2f7d57"}
    series = []
    for mode, colour in legend.items():
        rows = frame.filter(pl.col("failure_mode") == mode)
        rows = rows[:: max(1, rows.height // 900)]
        x, y = (rows[c].to_numpy().astype(np.float64) for c in ("rotational_speed", "torque"))
        series.append(Series(x, y, colour, dots=True))
    speed = np.linspace(1168.0, 2886.0, 60)
    for watts in (3500.0, 9000.0):
        torque = watts / (speed * 2 * np.pi / 60)
        series.append(Series(speed[torque < 77], torque[torque < 77], "#1d2733"))
    names = {
        "none": "no failure (one in ten)",
        "TWF": "tool wear",
        "HDF": "heat",
        "PWF": "power",
        "OSF": "overstrain",
    }
    panel = Panel("torque", series, "Nm", height=330)
    labels = [*((colour, names[mode]) for mode, colour in legend.items()), ("#1d2733", "3500 W and 9000 W")]
    return Picture("Torque and speed of the records of AI4I 2020", [panel], "rotational speed, rpm", legend=labels)


def elevator() -> Picture:
    """The vibration as it stands in the file, and all three columns repaired."""
    dataset = ElevatorDataset()
    frame = dataset.load("all").frame
    hours = frame["time"].to_numpy().astype(np.float64) / 4 / 3600
    cells = dataset.repairs().filter(pl.col("column") == "vibration", pl.col("kind") == "tenfold")
    vibration = frame["vibration"].to_numpy().astype(np.float64)
    raw = vibration.copy()
    raw[cells["line"].to_numpy() - 2] *= 10
    panels = [
        Panel("in the file", [thinned(hours, raw, 400, COLOURS[1])], "vibration, without dates"),
        Panel("vibration", [thinned(hours, vibration)], "repaired"),
        Panel("ball bearing", [thinned(hours, frame["revolutions"].to_numpy().astype(np.float64))], "revolutions"),
        Panel("humidity", [thinned(hours, frame["humidity"].to_numpy().astype(np.float64))], "%"),
    ]
    return Picture("The elevator's readings before and after the repair", panels, "hours")


def metropt() -> Picture:
    """The readings of MetroPT-3 that are here; the dates of its failures are on the page."""
    fleet = MetroptDataset(version="3").load("all")
    frame = fleet.frame
    minutes = (frame["time"] - frame["time"].min()).dt.total_seconds().to_numpy().astype(np.float64) / 60
    panels = []
    for column, name in (("TP2", "compressor"), ("Reservoirs", "reservoirs"), ("Motor_current", "motor")):
        y = frame[column].to_numpy().astype(np.float64)
        panels.append(Panel(name, [thinned(minutes, y, 240)], f"{column}, {fleet.schema.units_of_measure[column]}"))
    y = frame["COMP"].to_numpy().astype(np.float64)
    panels.append(Panel("intake valve", [Series(minutes, y, COLOURS[2])], "COMP, on or off", height=40))
    oil = frame["Oil_temperature"].to_numpy().astype(np.float64)
    panels.append(Panel("oil", [thinned(minutes, oil, 240, COLOURS[1])], "Oil_temperature, °C"))
    start = frame["time"].dt.to_string("%Y-%m-%d %H:%M")[0]
    return Picture(f"{frame.height} readings of MetroPT-3", panels, f"minutes from {start}")


def failures() -> Picture:
    """When MetroPT-3 failed, and where its lives are divided."""
    first = datetime(2020, 2, 1)

    def day(at: datetime) -> float:
        return (at - first).total_seconds() / 86400

    shades = [(day(one.start), day(one.end)) for one in FAILURES["3"]]
    line = Series(np.array([0.0, day(datetime(2020, 9, 1))]), np.array([0.0, 0.0]), "none")
    panel = Panel("MetroPT-3", [line], "air leaks", shades, [day(RELEASES["3"].split_at)], 40, scale=False)
    months = [(day(datetime(2020, month, 1)), datetime(2020, month, 1).strftime("%b")) for month in range(2, 9)]
    text = "2020; shaded: reported failures; dashed: lives that end before are for training"
    return Picture("The failures of MetroPT-3", [panel], text, months)


def etth1() -> Picture:
    """Oil temperature and loads, with the usual split."""
    fleet = Etth1Dataset().load("all")
    days = np.arange(fleet.n_rows) / 24.0
    cuts = [TRAIN_ROWS / 24, (TRAIN_ROWS + VALIDATION_ROWS) / 24]
    panels = []
    for column, name, colour in (
        ("OT", "oil", 1),
        ("HUFL", "high load", 0),
        ("MUFL", "middle load", 0),
        ("LUFL", "low load", 0),
    ):
        y = fleet.frame[column].to_numpy().astype(np.float64)
        unit = "OT, °C" if column == "OT" else column
        panels.append(Panel(name, [thinned(days, y, 240, COLOURS[colour])], unit, (), cuts))
    ends = (0.0, TRAIN_ROWS, TRAIN_ROWS + VALIDATION_ROWS, TRAIN_ROWS + VALIDATION_ROWS + TEST_ROWS)
    names = ("12 months to train on", "4 to validate", "4 to test")
    ticks = [((a + b) / 48, text) for a, b, text in zip(ends[:-1], ends[1:], names, strict=True)]
    return Picture("Two years of a transformer", panels, "July 2016 to February 2018, a month being 30 days", ticks)


def lookout() -> Picture:
    """The asset that the page's example makes, with its labels."""
    with tempfile.TemporaryDirectory() as folder:
        _run_example("lookout", folder)
        source = str(Path(folder) / "pump-7")
        frame = LookoutDataset(source=source, labels="labels.csv").load("all").frame[: 45 * 48]
    days = np.arange(frame.height) / 48.0
    inside = np.diff(frame["anomaly"].to_numpy(), prepend=0, append=0)
    begun, over = np.flatnonzero(inside == 1), np.flatnonzero(inside == -1)
    shades = [(days[a], days[b - 1]) for a, b in zip(begun, over, strict=True)]
    panels = []
    for column in ("bearing.temperature", "vibration", "current", "motor.temperature"):
        component, _, name = column.rpartition(".")
        y = frame[column].to_numpy().astype(np.float64)
        panels.append(Panel(name, [thinned(days, y)], component, shades))
    return Picture("A made asset in the layout of Lookout for Equipment", panels, "days; shaded: labelled ranges")


def recordings() -> Picture:
    """A recording of each folder that the page's example makes."""
    with tempfile.TemporaryDirectory() as folder:
        _run_example("recordings", folder)
        source = str(Path(folder) / "bearings")
        fleet = RecordingsDataset(source=source, sampling_rate_hz=12000, time_column="seconds").load("all")
    panels = []
    for colour, unit in zip(COLOURS, ("normal/run_0", "inner/run_0"), strict=False):
        y = fleet.unit_frame(unit)["vibration"].to_numpy().astype(np.float64)[:720]
        panels.append(Panel(unit, [Series(np.arange(len(y)) / 12.0, y, colour)], "vibration", limits=(-1.2, 1.2)))
    return Picture("Two made recordings", panels, "milliseconds")


def _run_example(page: str, folder: str) -> None:
    """Run the first Python example of a page in a folder."""
    text = (DOCS / "datasets" / f"{page}.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    if found is None:
        raise SystemExit(f"{page}.md has no Python example")
    subprocess.run([sys.executable, "-c", found[1]], cwd=folder, check=True)  # noqa: S603 - our own page


PICTURES: dict[str, Callable[[], Picture]] = {
    "cmapss": cmapss,
    "simulated": simulated,
    "ai4i": ai4i,
    "elevator": elevator,
    "metropt": metropt,
    "metropt-failures": failures,
    "etth1": etth1,
    "lookout": lookout,
    "recordings": recordings,
}


def main(names: Sequence[str]) -> None:
    """Draw these pictures, or all."""
    unknown = sorted(set(names) - set(PICTURES))
    if unknown:
        raise SystemExit(f"no picture {unknown[0]!r}; there are {', '.join(PICTURES)}")
    for name in names or PICTURES:
        file = DOCS / "assets" / "datasets" / f"{name}.svg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PICTURES[name]().svg(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
