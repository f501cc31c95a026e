"""What a check writes: the page, its pictures, the figures for a monitor."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from tests.fixtures.fleets import make_fleet

from wearcast import Fleet
from wearcast.datasets.quality import check
from wearcast.datasets.quality.histories import Histories
from wearcast.datasets.quality.metrics import json_line, prometheus_text
from wearcast.datasets.quality.pictures import BINS, profile, sparkline
from wearcast.datasets.quality.report import report_html

ODD = 'a "b"\\<script>\n'


def _dirty() -> Fleet:
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "u": np.repeat([f"<i>{i}" for i in range(12)], 50),
            "c": np.tile(np.arange(50), 12),
            ODD: np.where(rng.random(600) < 0.2, np.nan, rng.normal(size=600)),
            "flow": np.append(rng.normal(50, 1, size=599), -500.0),
            "empty": np.full(600, np.nan),
            "dead": np.zeros(600),
            "y": rng.integers(0, 3, size=600).astype(str),
        }
    )
    sensors = [ODD, "flow", "empty", "dead"]
    return Fleet.from_frame(table, unit="u", cycle="c", sensors=sensors, labels=["y"], events="last_row", name="<x>")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else():
    pytest.importorskip("jinja2")
    fleet = _dirty()
    page = report_html(check(fleet, ranges={"flow": (0, None)}), fleet, at=datetime(2024, 5, 18, tzinfo=UTC))
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert not tags.seen & {"script", "i>", "link", "img", "iframe"}
    assert not re.search(r"(src|href)=|url\(|@import", page)
    assert "2024-05-18 00:00 UTC" in page
    assert "there is not one reading" in page
    assert "below 0" in page
    assert page.count("<svg") == 3  # no picture of the empty column, and all histories are equally long


@pytest.mark.parametrize("fleet", [make_fleet(), make_fleet().select([])], ids=["good", "empty"])
def test_the_page_of_a_good_and_of_an_empty_fleet(fleet):
    pytest.importorskip("jinja2")
    page = report_html(check(fleet), fleet)
    assert page.rstrip().endswith("</html>")


def test_the_page_says_what_is_wrong_with_time_and_answers():
    pytest.importorskip("jinja2")
    rng = np.random.default_rng(0)
    cycle = np.concatenate([np.arange(n) + 5 * (np.arange(n) > 20) for n in range(40, 52)])
    unit = np.repeat(np.arange(12), range(40, 52))
    table = pl.DataFrame({"u": unit, "c": cycle, "s": rng.normal(size=len(unit)), "y": rng.integers(0, 30, len(unit))})
    fleet = Fleet.from_frame(table, unit="u", cycle="c", sensors=["s"], labels=["y"], events="censored")
    page = report_html(check(fleet), fleet)
    assert "6 cycles (unit 0 before 26)" in page
    assert "60 readings" in page
    assert "10 more values" in page
    assert "One finding should be looked at first" in page
    assert page.count("<svg") == 2  # one column, and how long the histories are


def test_a_table_of_cases_has_a_page_too():
    pytest.importorskip("jinja2")
    table = pl.DataFrame({"u": range(40), "c": [1] * 40, "s": np.arange(40.0)})
    fleet = Fleet.from_frame(table, unit="u", cycle="c", sensors=["s"])
    page = report_html(check(fleet), fleet)
    assert "the rows in their order" in page
    assert "No unit has two readings" in page


def test_a_profile_is_what_a_plain_loop_finds():
    fleet = _dirty()
    column = check(fleet).columns[0]
    drawn = profile(Histories(fleet), column)
    assert drawn is not None
    values = fleet.values([ODD])[:, 0].reshape(12, 50)
    for part in (0, 1, 40, BINS - 1):  # fifty readings on 96 parts: each part is one reading
        reading = values[:, part * 50 // BINS]
        assert drawn.low[part] == np.nanmin(reading)
        assert drawn.high[part] == np.nanmax(reading)
        assert drawn.mean[part] == pytest.approx(np.nanmean(reading), abs=1e-6)
        assert drawn.missing[part] == pytest.approx(np.isnan(reading).mean())


def test_a_picture_is_xml_and_marks_what_lies_beyond():
    fleet = _dirty()
    flow = check(fleet, ranges={"flow": (49, None)}).columns[1]
    drawn = profile(Histories(fleet), flow)
    assert drawn is not None
    assert drawn.view[0] > 0
    kinds = [part.get("class") for part in ElementTree.fromstring(sparkline(drawn, flow))]  # noqa: S314 - our own
    assert kinds.count("far") >= 1
    assert kinds.count("limit") == 1
    assert "missing" not in kinds


def test_figures_for_prometheus():
    report = check(_dirty())
    lines = prometheus_text(report, at=1_716_000_000.5).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    grammar = re.compile(r'[a-z_]+\{[a-z]+="(\\.|[^"\\\n])*"(,[a-z]+="(\\.|[^"\\\n])*")*\} -?[0-9.e+-]+')
    assert all(grammar.fullmatch(line) for line in samples)
    assert r'wearcast_data_column_missing_share{dataset="<x>",column="a \"b\"\\<script>\n"} ' in "\n".join(samples)
    assert samples[-1].endswith(" 1716000000.500")
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    assert {line.split("{")[0] for line in samples} <= set(names)


def test_figures_as_a_line():
    record = json.loads(json_line(check(_dirty()), at=0))
    assert record["time"] == "1970-01-01T00:00:00+00:00"
    assert record["findings"]["error"] >= 1
    assert record["columns"]["empty"] == {
        "missing_share": 1.0, "out_of_range_readings": 0, "outlier_readings": 0, "longest_still": 0,
    }  # fmt: skip
    assert sum(record["labels"]["y"].values()) == 600
