"""Drawings for pages: inline SVG whose colours are the page's own, light or dark.

matplotlib draws with placeholder colours that are then replaced by CSS variables, so that one picture serves both
schemes and stays sharp at any size. Text stays text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from wearcast.errors import require
from wearcast.schema import UnitId

__all__ = ["ACCENT", "BAND", "GRID", "INK", "MUTED", "WARN", "Picture", "clean", "picture"]

INK, MUTED, GRID, ACCENT, WARN, BAND = (f"#0a0a0{i}" for i in range(1, 7))
_COLOURS = {INK: "--ink", MUTED: "--muted", GRID: "--grid", ACCENT: "--accent", WARN: "--warn", BAND: "--band"}
_FONT = "'DejaVu Sans', sans-serif"


def clean(unit: UnitId, length: int = 28) -> str:
    """A unit's name for display: control characters replaced, cut to `length`."""
    text = "".join(c if c.isprintable() else "�" for c in str(unit))
    return text if len(text) <= length else f"{text[: length - 1]}…"


@dataclass
class Picture:
    """A figure on its way to SVG."""

    figure: Any
    axes: Any
    svg: str = ""

    def label(self, x: str, y: str) -> Any:
        """Label the only axes."""
        self.axes[0].set(xlabel=x, ylabel=y)
        return self.axes[0]


@contextmanager
def picture(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    *,
    left: float = 0.62,
    bottom: float = 0.5,
    top: float = 0.12,
) -> Iterator[Picture]:
    """A grid of axes in a figure of this size with these margins, all in inches; SVG when the block ends.

    Fixed margins rather than a layout engine, which would draw everything twice to find them.
    """
    matplotlib = require("matplotlib", extra="report")
    # The browser's fonts draw the text: that matplotlib's own lacks a glyph of a unit's name does not matter.
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = require("matplotlib.figure", extra="report").Figure(figsize=(width, height))
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        figure.subplots_adjust(
            left=left / width,
            right=1 - 0.12 / width,
            bottom=bottom / height,
            top=1 - top / height,
            wspace=0.2,
            hspace=0.36,
        )
        drawn = Picture(figure, axes)
        yield drawn
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
        drawn.svg = _inline(out.getvalue())


_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "wearcast",
    "text.parse_math": False,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": MUTED,
}


def _inline(svg: str) -> str:
    """What belongs into an HTML page: no prolog, metadata, namespaces or fixed size; colours and font of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    svg = f'<svg {box.group(0) if box else ""} role="img">{body}'
    svg = re.sub(r' id="(?:figure|axes|patch|matplotlib|text|line2d|xtick|ytick|legend)[^"]*"', "", svg)
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace(_FONT, "var(--font)")
