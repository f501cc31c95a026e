"""Arrow bodies: read as they were meant, refused before anything is believed that they claim."""

from __future__ import annotations

import io
import struct
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearcast.service.ipc import BadStreamError, check_stream
from wearcast.service.layout import Accepted
from wearcast.service.parsing import RequestLimits
from wearcast.service.problems import Problem
from wearcast.service.tables import read_table, write_table

CYCLES = Accepted(frozenset({"flow", "vib", "site"}), frozenset({"site"}), "cycle")
CLOCK = Accepted(CYCLES.columns, CYCLES.texts, "hour")
LIMITS = RequestLimits(units=3, rows=20, forecasts=10)


def table(**changes: Any) -> pl.DataFrame:
    columns = {"unit": ["a", "a", "b"], "time": [1, 2, 1], "flow": [1.0, None, 3.0], "vib": [1, 2, 3], **changes}
    return pl.DataFrame({name: values for name, values in columns.items() if values is not None}, strict=False)


def stream(frame: pl.DataFrame, **options: Any) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer, **options)
    return buffer.getvalue()


def refused(frame: pl.DataFrame | bytes, accepted: Accepted = CYCLES) -> Problem:
    with pytest.raises(Problem) as caught:
        read_table(frame if isinstance(frame, bytes) else stream(frame), accepted, LIMITS)
    return caught.value


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Enum(["a", "b"])])
@pytest.mark.parametrize("oldest", [False, True])
def test_a_long_table_becomes_units(dtype: Any, oldest: bool) -> None:
    frame = table(site=["x", "x", "y"]).with_columns(pl.col("unit").cast(dtype))
    options = {"compat_level": pl.CompatLevel.oldest()} if oldest else {}
    asked = read_table(stream(frame, **options), CYCLES, LIMITS, "pumps", 2)
    first, second = asked.units
    assert (first.unit, second.unit, first.names, asked.model, asked.every) == ("a", "b", ("flow", "vib"), "pumps", 2)
    np.testing.assert_array_equal(first.values, [[1, np.nan], [1, 2]])
    assert first.values.dtype == np.float32
    assert (first.texts, second.texts) == ({"site": "x"}, {"site": "y"})


def test_what_pyarrow_writes_is_read() -> None:
    """Several batches, and dictionaries that come between them."""
    pa = pytest.importorskip("pyarrow")
    made = pa.table({"unit": ["a", "a", "b"], "time": [1, 2, 1], "flow": [1.0, 2.0, 3.0]})
    for content in (made, made.set_column(0, "unit", made["unit"].dictionary_encode())):
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, content.schema) as writer:
            writer.write_table(content, max_chunksize=2)
        asked = read_table(sink.getvalue(), CYCLES, LIMITS)
        assert [(one.unit, one.time.tolist()) for one in asked.units] == [("a", [1, 2]), ("b", [1])]


def test_clocks_are_utc() -> None:
    stamps = [datetime(2026, 5, 18, 10), datetime(2026, 5, 18, 11), datetime(2026, 5, 18, 10)]
    for zone, hours in ((None, 10), ("Europe/Vienna", 8)):
        series = pl.Series("time", stamps, dtype=pl.Datetime("ns")).dt.replace_time_zone(zone)
        found = read_table(stream(table().with_columns(series)), CLOCK, LIMITS).units[0].time
        assert found[0] == np.datetime64(f"2026-05-18T{hours:02d}", "us").astype(np.int64)


def nested(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(vib=pl.concat_list("flow", "flow"))


@pytest.mark.parametrize(
    ("frame", "slug", "said"),
    [
        (table(unit=None), "bad-input", "column 'unit' is missing"),
        (table(time=None), "bad-input", "column 'time' is missing"),
        (table().head(0), "bad-input", "no rows"),
        (table(flwo=[1.0, 2.0, 3.0]), "wrong-columns", "did you mean 'flow'?"),
        (table(flow=["1", "2", "3"]), "bad-input", "expected numbers, got String"),
        (table(flow=[True, False, True]), "bad-input", "expected numbers, got Boolean"),
        (table(flow=[1.0, float("inf"), 2.0]), "bad-input", "row 2, column 'flow'"),
        (table(flow=[1.0, 1e39, 2.0]), "bad-input", "row 2, column 'flow'"),
        (table(site=[1, 1, 1]), "bad-input", "expected text"),
        (table(site=["x", "y", "y"]), "bad-input", "changes within a unit"),
        (table(site=["x" * 300] * 3), "bad-input", "longer than 256"),
        (table(unit=["a", "b", "a"]), "bad-input", "there twice"),
        (table(unit=["a", None, "b"]), "bad-input", "row 2, column 'unit'"),
        (table(unit=["a", "a", "../b"]), "bad-input", "row 3, column 'unit'"),
        (table(unit=[1.0, 1.0, 2.0]), "bad-input", "units are numbers or text"),
        (table(time=[2, 1, 1]), "bad-input", "is earlier than \"2\", the one before it"),
        (table(time=[2, 2, 1]), "bad-input", "there twice"),
        (table(time=[1, None, 1]), "bad-input", "the time is missing"),
        (table(time=["1", "2", "1"]), "bad-input", "expected cycle numbers"),
        (table(time=[1, 2**60, 1]), "bad-input", "not a cycle number"),
        (table(time=[1.0, float("nan"), 1.0]), "bad-input", "not a cycle number"),
        (table(time=[datetime(2026, 5, day) for day in (18, 19, 18)]), "bad-input", "as the model"),
        (nested(table()), "bad-arrow", "columns of type list"),
        (pl.concat([table()] * 7), "bad-arrow", "at most 20"),
        (pl.DataFrame({"unit": [1, 2, 3, 4], "time": [1] * 4, "flow": [1.0] * 4}), "too-much", "4 units"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(frame: pl.DataFrame, slug: str, said: str) -> None:
    problem = refused(frame)
    assert problem.slug == slug
    assert said in str(problem.body())


def test_streams_that_are_none() -> None:
    whole = stream(table())
    for content, said in (
        (b"", "without its end mark"),
        (whole[:-8], "without its end mark"),
        (whole[:200], "cut off"),
        (b"PAR1" + whole, "no message"),
        (b"\xff\xff\xff\xff\x00\x00\x00\x00", "no schema"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + whole, "cut off"),
        (stream(table(), compression="zstd"), "compressed"),
        (stream(table(), compression="lz4"), "compressed"),
        (b'{"units": []}', "no message"),
    ):
        problem = refused(content)
        assert problem.slug == "bad-arrow"
        assert said in problem.detail, content[:40]


def test_a_bomb_is_not_opened() -> None:
    """A few kilobytes that would unfold to a hundred megabytes, and a batch that claims more rows than it has."""
    rows = 25_000_000
    bomb = stream(pl.DataFrame({"unit": pl.repeat(1, rows, eager=True), "time": pl.repeat(0, rows, eager=True)}),
                  compression="zstd")  # fmt: skip
    assert len(bomb) < 100_000
    assert "compressed" in refused(bomb).detail
    whole = bytearray(stream(table()))
    assert whole.count(struct.pack("<q", 3)) >= 1
    claimed = bytes(whole).replace(struct.pack("<q", 3), struct.pack("<q", 2**40))
    assert refused(claimed).slug == "bad-arrow"


WHOLE = stream(table(site=["x", "x", "y"]))


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(WHOLE)))
def test_damage_is_refused_or_harmless(changes: list[tuple[int, int]], end: int) -> None:
    """Any byte may be another one: the stream is read, or refused; the reader never sees what cannot be."""
    content = bytearray(WHOLE)
    for at, value in changes:
        content[at] = value
    problem: Problem | None = None
    for body in (bytes(content), bytes(content[:end])):
        try:
            asked = read_table(body, CYCLES, LIMITS)
        except Problem as error:
            problem = error
        else:
            assert sum(len(one.time) for one in asked.units) <= 20
    assert problem is None or problem.status in (400, 413, 422)


def test_the_frame_is_counted() -> None:
    assert check_stream(WHOLE, most_rows=3, most_columns=5) == 3
    with pytest.raises(BadStreamError, match="at most 2"):
        check_stream(WHOLE, most_rows=2, most_columns=5)
    with pytest.raises(BadStreamError, match="at most 4"):
        check_stream(WHOLE, most_rows=3, most_columns=4)


def test_forecasts_of_all_kinds_are_written() -> None:
    columns: dict[str, list[Any]] = {
        "unit": ["a", 7],
        "time": [1, 2],
        "rul": [1.5, None],
        "flags": [["x", "y"], []],
        "model": ["m", "m"],
    }
    found = pl.read_ipc_stream(io.BytesIO(write_table(columns)))
    assert found["unit"].to_list() == ["a", "7"]
    assert found["flags"].to_list() == ["x;y", ""]
    assert found["rul"].to_list() == [1.5, None]
