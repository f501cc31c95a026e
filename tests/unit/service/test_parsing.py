"""JSON bodies: what is right becomes arrays, what is wrong is named with its place, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearcast.service.layout import Accepted
from wearcast.service.parsing import Asked, RequestLimits, read_forecast, read_readings
from wearcast.service.problems import Problem

CYCLES = Accepted(frozenset({"flow", "vib", "site", "power"}), frozenset({"site"}), "cycle")
CLOCK = Accepted(CYCLES.columns, CYCLES.texts, "hour")
LIMITS = RequestLimits(units=3, rows=20, forecasts=10)


def body(**changes: Any) -> dict[str, Any]:
    return {"unit": "p1", "time": [1, 2, 3], "columns": {"flow": [1.0, 2, None], "vib": [0.5, 0.25, 1e-3]}, **changes}


def read(*units: Any, accepted: Accepted = CYCLES, **top: Any) -> Asked:
    return read_forecast(json.dumps({"units": list(units), **top}).encode(), accepted, LIMITS)


def refused(content: bytes | dict[str, Any], accepted: Accepted = CYCLES) -> Problem:
    raw = content if isinstance(content, bytes) else json.dumps({"units": [content]}).encode()
    with pytest.raises(Problem) as caught:
        read_forecast(raw, accepted, LIMITS)
    return caught.value


def test_readings_become_arrays() -> None:
    asked = read(body(statics={"site": "north", "power": 2}), model="pumps/3", every=2)
    (one,) = asked.units
    assert (asked.model, asked.every, one.unit, one.names) == ("pumps/3", 2, "p1", ("flow", "vib", "power"))
    assert one.time.tolist() == [1, 2, 3]
    assert one.values.dtype == np.float32
    np.testing.assert_array_equal(one.values[0], [1, 2, np.nan])
    np.testing.assert_array_equal(one.values[2], [2, 2, 2])
    assert (one.texts, one.fixed) == ({"site": "north"}, ("power",))


@pytest.mark.parametrize(
    ("time", "wanted"),
    [
        (["2026-05-18T10:00:00Z", "2026-05-18T10:00:01.5Z", "2026-05-18T12:01:00+02:00"], [0, 1.5, 60]),
        (["2026-05-18 10:00:00", "2026-05-18T10:00:01", "2026-05-18T10:02"], [0, 1, 120]),
    ],
)
def test_times_of_a_clock(time: list[str], wanted: list[float]) -> None:
    found = read(body(time=time), accepted=CLOCK).units[0].time
    start = np.datetime64("2026-05-18T10:00:00", "us").astype(np.int64)
    assert ((found - start) / 1e6).tolist() == wanted


def test_whole_cycles_are_whole_numbers() -> None:
    assert read(body(time=[1.0, 2.0, 3.0])).units[0].time.dtype == np.int64
    assert read(body(time=[1.0, 2.5, 3.0])).units[0].time.dtype == np.float64


WRONG: list[tuple[str, dict[str, Any], str, str, str]] = [
    # what, the body, slug, where, what is said
    ("text for a number", body(columns={"flow": [1, "2", 3]}), "bad-input", "units[0].columns.flow[1]", '"2"'),
    ("only texts", body(columns={"flow": ["1", "2", "3"]}), "bad-input", "units[0].columns.flow[0]", "without quotes"),
    ("true", body(columns={"flow": [1, 2, True]}), "bad-input", "units[0].columns.flow[2]", "true"),
    ("a list", body(columns={"flow": [1, [2], 3]}), "bad-input", "units[0].columns.flow[1]", "a list"),
    ("an object", body(columns={"flow": [1, {}, 3]}), "bad-input", "units[0].columns.flow[1]", "an empty object"),
    ("too large", body(columns={"flow": [1, 1e39, 3]}), "bad-input", "units[0].columns.flow[1]", "1e+39"),
    ("a huge whole number", body(columns={"flow": [1, 10**300, 3]}), "bad-input", "units[0].columns.flow[1]", "1e+300"),
    ("ragged", body(columns={"flow": [1, 2]}), "bad-input", "units[0].columns.flow", "2 readings, but there are 3"),
    ("no list", body(columns={"flow": 7}), "bad-input", "units[0].columns.flow", "expected a list"),
    ("a text for a list", body(columns={"flow": "123"}), "bad-input", "units[0].columns.flow", "expected a list"),
    ("no columns", body(columns={}), "bad-input", "units[0].columns", "an empty object"),
    ("misspelt", body(columns={"flwo": [1, 2, 3]}), "wrong-columns", "units[0].columns.flwo", "did you mean 'flow'?"),
    ("text among columns", body(columns={"site": [1, 2, 3]}), "bad-input", "units[0].columns.site", "goes to statics"),
    ("no times", body(time=[]), "bad-input", "units[0].time", "an empty list"),
    ("times unsorted", body(time=[1, 3, 2]), "bad-input", "units[0].time[2]", "sort the readings"),
    ("times doubled", body(time=[1, 2, 2]), "bad-input", "units[0].time[2]", "there twice"),
    ("time null", body(time=[1, None, 3]), "bad-input", "units[0].time[1]", "expected a cycle number, got null"),
    ("time true", body(time=[True, 2, 3]), "bad-input", "units[0].time[0]", "got true"),
    ("time text", body(time=["1", "2", "3"]), "bad-input", "units[0].time[0]", "counts in cycles"),
    ("time too large", body(time=[1, 2, 2**60]), "bad-input", "units[0].time[2]", "not a cycle number"),
    ("unit with a slash", body(unit="../etc/passwd"), "bad-input", "units[0].unit", "letters, digits"),
    ("unit empty", body(unit=""), "bad-input", "units[0].unit", "letters, digits"),
    ("unit with a line break", body(unit="p1\n"), "bad-input", "units[0].unit", "letters, digits"),
    ("unit a fraction", body(unit=1.5), "bad-input", "units[0].unit", "1.5"),
    ("unit true", body(unit=True), "bad-input", "units[0].unit", "true"),
    ("unit missing", {k: v for k, v in body().items() if k != "unit"}, "bad-input", "units[0]", "'unit' is missing"),
    ("key misspelt", {**body(), "cloumns": {}}, "bad-input", "units[0]", "did you mean 'columns'?"),
    ("static unknown", body(statics={"sute": "x"}), "wrong-columns", "units[0].statics.sute", "did you mean 'site'?"),
    ("static number for text", body(statics={"site": 1}), "bad-input", "units[0].statics.site", "expected a text"),
    ("static text for number", body(statics={"power": "1"}), "bad-input", "units[0].statics.power", "finite number"),
    ("static true", body(statics={"power": True}), "bad-input", "units[0].statics.power", "finite number"),
    ("static too large", body(statics={"power": 1e39}), "bad-input", "units[0].statics.power", "finite number"),
    ("static and column", body(statics={"vib": 1}), "bad-input", "units[0].statics.vib", "give it once"),
    ("static too long", body(statics={"site": "x" * 300}), "bad-input", "units[0].statics.site", "expected a text"),
    ("statics a list", body(statics=[1]), "bad-input", "units[0].statics", "expected an object"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "slug", "where", "said"), [pytest.param(*row[1:], id=row[0]) for row in WRONG])
def test_what_is_wrong_is_named(content: dict[str, Any], slug: str, where: str, said: str) -> None:
    problem = refused(content)
    assert (problem.slug, problem.faults[0].where) == (slug, where)
    told = json.dumps(problem.body(), ensure_ascii=False).replace('\\"', '"')
    assert said in told


@pytest.mark.parametrize(
    ("content", "slug", "said"),
    [
        (b"", "bad-json", "there is none"),
        (b"{", "bad-json", "not JSON"),
        (b'{"units": [\xff\xfe]}', "bad-json", "not JSON"),
        (b'{"units": "\xff"}', "bad-json", "not JSON"),
        (b'{"units": [NaN]}', "bad-json", "write null"),
        (b'{"units": [-Infinity]}', "bad-json", "write null"),
        (b"[" * 100_000, "bad-json", "not JSON"),
        (b'{"units": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", "bad-input", "expected an object"),
        (b'{"a":' * 1_000 + b"1" + b"}" * 1_000, "bad-input", "'units' is missing"),
        (b"[]", "bad-input", "expected an object"),
        (b"null", "bad-input", "expected an object"),
        (b'{"units": []}', "bad-input", "at least one"),
        (b'{"units": {}}', "bad-input", "at least one"),
        (b'{"unit": []}', "bad-input", "did you mean 'unit'?"),
        (b'{"units": [1]}', "bad-input", "expected an object"),
        (b'{"units": [1, 2, 3, 4]}', "too-much", "4 units"),
    ],
)
def test_what_is_no_request(content: bytes, slug: str, said: str) -> None:
    problem = refused(content)
    assert problem.slug == slug
    assert said in json.dumps(problem.body())


def test_doubled_keys_are_seen() -> None:
    """A fast parser keeps the last of two; neither escapes nor depth hide the other."""
    plain = json.dumps({"units": [body()]})
    for doubled in (
        plain.replace('"vib": [', '"flow": [9, 9, 9], "vib": ['),
        plain.replace('"vib": [', '"fl\\u006fw": [9, 9, 9], "vib": ['),
        plain.replace('{"units"', '{"units": 1, "units"'),
        plain.replace('{"units"', '{"units": ' + "[" * 900 + "]" * 900 + ', "units"'),
        plain.replace('"unit": "p1"', '"unit": "p2", "unit": "p1"'),
        plain.replace('"unit": "p1"', '"unit": 3, "unit": "p1"'),
    ):
        problem = refused(doubled.encode())
        assert "there twice" in problem.detail or "nested too deeply" in problem.detail
    escaped = plain.replace('"p1"', '"\\u0070\\u0031"').encode()
    assert read_forecast(escaped, CYCLES, LIMITS).units[0].unit == "p1"


def test_one_unit_is_one() -> None:
    for second in ("p1", 7):
        first = "7" if second == 7 else second
        with pytest.raises(Problem, match="there twice, first at 0"):
            read(body(unit=first), body(unit=second))


def test_limits() -> None:
    long = body(time=list(range(11)), columns={"flow": [0.0] * 11})
    with pytest.raises(Problem, match="22 rows are more than the 20"):
        read(long, {**long, "unit": "p2"})
    with pytest.raises(Problem, match="11 forecasts are more than the 10"):
        read(long, every=1)
    assert len(read(long, every=2).units) == 1
    for every in (0, -1, 1.5, True, "1", 2**31):
        with pytest.raises(Problem, match="expected a whole number from 1"):
            read(long, every=every)
    names: list[Any] = ["", 1, [], "x" * 300]
    for model in names:
        with pytest.raises(Problem, match="expected a name"):
            read(long, model=model)


@pytest.mark.parametrize(
    ("time", "where", "said"),
    [
        ([1, 2, 3], "units[0].time[0]", "counts by the clock"),
        (["2026-05-18", "tomorrow", "2026-05-20"], "units[0].time[1]", "ISO 8601"),
        (["2026-05-18T10:00:00Z", "2026-05-18T11:00:00", "2026-05-18T12:00:00"], "units[0].time", "alike"),
        (["0001-01-01T00:00:00+14:00", "2026-05-18T11:00:00Z", "2026-05-18T12:00:00Z"], "units[0].time[0]", "ISO"),
        (["2026-05-18", "2026-05-18", "2026-05-20"], "units[0].time[1]", "there twice"),
    ],
)
def test_wrong_times_of_a_clock(time: list[Any], where: str, said: str) -> None:
    problem = refused(body(time=time), CLOCK)
    assert problem.faults[0].where == where
    assert said in json.dumps(problem.body())


def test_readings_of_one_unit() -> None:
    content = {key: value for key, value in body().items() if key != "unit"}
    one = read_readings(json.dumps(content).encode(), "p1", CYCLES, LIMITS)
    assert (one.unit, one.names, one.place) == ("p1", ("flow", "vib"), "body")
    with pytest.raises(Problem, match="unknown key 'unit'"):
        read_readings(json.dumps(body()).encode(), "p1", CYCLES, LIMITS)
    with pytest.raises(Problem) as caught:
        read_readings(json.dumps({**content, "time": [3, 2, 1]}).encode(), "p1", CYCLES, LIMITS)
    assert caught.value.faults[0].where == "time[1]"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(["unit", "time", "columns", "statics", "flow", "vib", "site", "units", "model", "every", "x"])
NEARLY = st.recursive(
    JSON, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)


@given(NEARLY)
def test_nothing_but_problems_comes_of_any_json(content: Any) -> None:
    """Whatever JSON comes: it is read, or refused as the client's fault, and what is said can be sent."""
    for accepted in (CYCLES, CLOCK):
        for shaped in (
            content,
            {"units": [content]},
            {"units": [body(columns=content)]},
            {"units": [body(time=content)]},
        ):
            refusal: Problem | None = None
            try:
                read_forecast(json.dumps(shaped).encode(), accepted, LIMITS)
            except Problem as problem:
                refusal = problem
            assert refusal is None or (400 <= refusal.status < 500 and json.dumps(refusal.body()).encode())


@given(
    st.lists(st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False), min_size=1)
)
def test_cells_are_what_numpy_makes_of_them(values: list[Any]) -> None:
    """An oracle by a plain loop: null is NaN, the rest is rounded to float32, or refused for its size."""
    limits = RequestLimits(rows=10_000)
    content = {"units": [{"unit": 1, "time": list(range(len(values))), "columns": {"flow": values}}]}
    largest = float(np.finfo(np.float32).max)
    wanted = [float("nan") if value is None else float(value) for value in values]
    if any(abs(value) > largest for value in wanted):
        with pytest.raises(Problem):
            read_forecast(json.dumps(content).encode(), CYCLES, limits)
        return
    found = read_forecast(json.dumps(content).encode(), CYCLES, limits).units[0].values[0]
    np.testing.assert_array_equal(found, np.array(wanted, dtype=np.float32))
