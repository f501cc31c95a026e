"""The report: one file, safe against its data, and honest about what is not known."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.fixtures.forecasters import Oracle, make_judged_fleet

from wearcast import Fleet
from wearcast.errors import MissingExtraError
from wearcast.evaluation import plots, report, write_report
from wearcast.evaluation.drawing import clean
from wearcast.evaluation.protocol import evaluate_rul as evaluate
from wearcast.evaluation.report import look_first

HOSTILE = [
    "<script>alert(1)</script>",
    "a&b\"'<img src=x onerror=x>",
    "$x_{$ \\frac",
    "{{ 7 * 7 }}",
    "emoji \U0001f600",
]


def written(folder: Path, **kwargs) -> str:
    """The report of an honest oracle."""
    fleet, lives = make_judged_fleet(**kwargs)
    oracle = Oracle(lives, effects={"s0": 12.0})
    return write_report(evaluate(oracle, fleet), oracle, folder / "report.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Collects tags and visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text.append(data)


def test_the_report_is_self_contained(tmp_path):
    """No address outside, no script, under 2 MB, all six pictures; the headline names the most urgent units."""
    html = written(tmp_path, units=12)
    fleet, lives = make_judged_fleet(units=12)
    evaluation = evaluate(Oracle(lives), fleet)
    lower = evaluation.forecast.interval()[0][evaluation.last]
    first = look_first(evaluation)
    assert list(first) == [fleet.units[i] for i in np.argsort(lower)[:3]]
    assert f"Look first at {first[0]}, {first[1]} and {first[2]}." in html
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", html)
    assert "<script" not in html
    assert len(html) < 2_000_000
    assert html.count("<svg") == 6
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html
    assert not re.search(r"#0a0a0\d", html), "a placeholder colour is left"


def test_hostile_unit_names_stay_text(tmp_path):
    """Markup, templates and formulas in names are shown, not obeyed; partly known truth is said."""
    html = written(tmp_path, units=len(HOSTILE), names=HOSTILE, unknown=1)
    page = Tags()
    page.feed(html)
    assert not {"script", "img"} & set(page.tags)
    text = "".join(page.text)
    assert "<script>alert(1)</script>" in text
    assert "{{ 7 * 7 }}" in text
    assert "of 4 of 5 units is known" in text


def test_unknown_truth_leaves_out_what_needs_it(tmp_path):
    """Three pictures, and a sentence instead of the others."""
    html = written(tmp_path, units=4, unknown=4)
    assert html.count("<svg") == 3
    assert "cannot be drawn" in html
    assert "none of the 4 units is known" in html


def test_whole_lives_are_named_and_reports_deterministic(tmp_path):
    """Histories to the end of life are said to be; the same evaluation gives the same bytes."""
    html = written(tmp_path, units=2, seen=1.0)
    assert "at the last reading every unit is at its end" in html
    assert html == written(tmp_path, units=2, seen=1.0)


def test_a_fleet_with_a_clock_gets_dates(tmp_path):
    """The act-by column is a date: the last reading plus the lower quantile in hours."""
    start = datetime(2026, 1, 1)
    frame = pl.DataFrame(
        {"unit": ["p"] * 50, "time": [start + timedelta(hours=h) for h in range(50)], "s0": list(range(50))}
    )
    end = pl.DataFrame({"unit": ["p"], "time": [start + timedelta(hours=80)]})
    fleet = Fleet.from_frame(frame, unit="unit", time="time", sensors=["s0"], events=end, name="clock")
    oracle = Oracle({"p": 80.0}, sd=3.0)
    html = write_report(evaluate(oracle, fleet), oracle, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "2026-01-03 01:00" in html
    assert re.search(r"<b>2026-01-0[34] \d\d:\d\d</b>", html)
    assert "hours" in html


def test_a_missing_extra_is_answered_with_the_install_line(tmp_path, monkeypatch):
    """pip install 'wearcast[report]'."""

    def missing(module: str, *, extra: str) -> None:
        raise MissingExtraError(f"this needs {module}", hint=f"pip install 'wearcast[{extra}]'")

    monkeypatch.setattr(report, "require", missing)
    fleet, lives = make_judged_fleet(units=3)
    oracle = Oracle(lives)
    with pytest.raises(MissingExtraError, match=r"wearcast\[report\]"):
        write_report(evaluate(oracle, fleet), oracle, tmp_path / "r.html")


def test_large_fleets_stay_small(tmp_path):
    """More units than are shown: said so, and still under 2 MB."""
    html = written(tmp_path, units=plots.SHOWN_UNITS + 20, life=20)
    assert f"{plots.SHOWN_UNITS} most urgent of {plots.SHOWN_UNITS + 20} units" in html
    assert len(html) < 2_000_000


def test_names_are_cut_and_cleaned():
    """Control characters and length."""
    assert clean("a\x00b\n") == "a�b�"
    assert clean("x" * 50) == "x" * 27 + "…"


def test_a_calibration_curve_needs_the_truth():
    """The picture is refused rather than drawn empty."""
    fleet, lives = make_judged_fleet(units=3, unknown=3)
    with pytest.raises(ValueError, match="needs the truth"):
        plots.calibration(evaluate(Oracle(lives), fleet))
