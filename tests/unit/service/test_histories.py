"""Readings that are kept: durable, never changed, right with several writers, and nothing dropped that matters."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.forecast_service import Answering, answering
from tests.fixtures.postgres_server import missing, postgres_server
from tests.fixtures.unit_writer import LAYOUT, write_some

from wearcast.readings import Readings
from wearcast.service import database
from wearcast.service.histories import UnitHistories
from wearcast.service.history import kept_rows
from wearcast.service.layout import Layout, UnitReadings
from wearcast.service.problems import Problem
from wearcast.service.schemas import ReadingsAnswer, UnitAnswer, Units

CLOCK = replace(LAYOUT, time_unit="hour")
TEXTS = replace(LAYOUT, columns=("x", "y", "power", "site"), texts=frozenset({"site"}))


def readings(time: list[float], unit: str = "a", **columns: list[float]) -> UnitReadings:
    given = columns or {"x": [float(t) for t in time], "y": [0.5] * len(time)}
    stamps = np.array(time)
    values = np.array(list(given.values()), dtype=np.float32)
    return UnitReadings(unit, stamps, tuple(given), values, {})


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = database.open(f"sqlite:///{tmp_path / 'state.sqlite'}")
    yield made
    made.dispose()


def refused(histories: UnitHistories, one: UnitReadings, layout: Layout = LAYOUT) -> Problem:
    with pytest.raises(Problem) as caught:
        histories.append(one, [layout])
    return caught.value


def test_readings_are_kept_and_repeating_them_changes_nothing(engine: Engine) -> None:
    histories = UnitHistories(engine)
    added = histories.append(readings([1, 2]), [LAYOUT])
    assert (added.appended, added.repeated, added.history.n_rows) == (2, 0, 2)
    again = histories.append(readings([1, 2, 3]), [LAYOUT])
    assert (again.appended, again.repeated) == (1, 2)
    twice = histories.append(readings([2, 3]), [LAYOUT])
    assert (twice.appended, twice.repeated, twice.history) == (0, 2, again.history)
    fresh = UnitHistories(engine).read("a")  # as after a restart
    assert fresh is not None
    assert fresh.time.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(fresh.values, [[1, 2, 3], [0.5, 0.5, 0.5]])
    assert histories.read("b") is None


def test_columns_may_come_in_any_order_and_nan_is_a_missing_reading(engine: Engine) -> None:
    histories = UnitHistories(engine)
    nan = float("nan")
    histories.append(readings([1], x=[nan], y=[2.0]), [LAYOUT])
    added = histories.append(readings([1, 2], y=[2.0, 3.0], x=[nan, 1.0]), [LAYOUT])
    assert added.repeated == 1
    np.testing.assert_array_equal(added.history.values, [[nan, 1], [2, 3]])


def test_what_does_not_fit_is_refused_and_nothing_is_stored(engine: Engine) -> None:
    histories = UnitHistories(engine)
    histories.append(readings([10, 20]), [LAYOUT])
    before = histories.read("a").revision
    for one, slug, where in (
        (readings([15, 30]), "readings-out-of-order", "time[0]"),
        (readings([5]), "readings-out-of-order", "time[0]"),
        (readings([20, 30], x=[9.0, 1.0], y=[0.5, 0.5]), "readings-changed", "columns.x[0]"),
        (readings([20], x=[float("nan")], y=[0.5]), "readings-changed", "columns.x[0]"),
        (readings([30], x=[1.0]), "wrong-columns", "body.columns"),
        (readings([30], x=[1.0], y=[1.0], z=[1.0]), "history-differs", "columns.z"),
    ):
        problem = refused(histories, one)
        assert (problem.slug, problem.faults[0].where) == (slug, where)
    assert UnitHistories(engine).read("a").revision == before


def test_a_reading_from_the_future_is_refused(engine: Engine) -> None:
    histories = UnitHistories(engine)
    now = time.time() * 1e6
    histories.append(readings([now - 1e6, now + 60e6]), [CLOCK])  # clocks differ a little
    problem = refused(histories, readings([now + 120e6, now + 3600e6]), CLOCK)
    assert (problem.slug, problem.status, problem.faults[0].where) == ("readings-from-the-future", 422, "time[1]")
    ahead = readings([1, 10**12])  # cycles are no clock
    assert histories.append(replace(ahead, unit="b"), [LAYOUT]).appended == 2


def test_statics_are_given_once(engine: Engine) -> None:
    histories = UnitHistories(engine)
    first = readings([1], x=[1.0], y=[1.0], power=[2.5])
    histories.append(replace(first, texts={"site": "north"}, fixed=("power",)), [TEXTS])
    added = histories.append(readings([2], x=[1.0], y=[1.0]), [TEXTS])
    assert added.history.statics == {"power": 2.5, "site": "north"}
    np.testing.assert_array_equal(added.history.values[2], [2.5, 2.5])
    problem = refused(histories, replace(readings([3], x=[1.0], y=[1.0]), texts={"site": "south"}), TEXTS)
    assert (problem.slug, problem.faults[0].where) == ("history-differs", "statics.site")
    problem = refused(histories, replace(readings([3], x=[1.0], y=[1.0], power=[3.0]), fixed=("power",)), TEXTS)
    assert problem.faults[0].where == "statics.power"


def test_a_deleted_unit_begins_anew(engine: Engine) -> None:
    """Also for another process that remembers the old one."""
    one, other = UnitHistories(engine), UnitHistories(engine)
    one.append(readings([1, 2]), [LAYOUT])
    other.append(readings([3]), [LAYOUT])
    assert one.delete("a")
    assert not one.delete("a")
    assert one.append(readings([1]), [LAYOUT]).history.n_rows == 1
    assert other.read("a").time.tolist() == [1]
    assert other.append(readings([2]), [LAYOUT]).history.time.tolist() == [1, 2]


def test_units_are_listed_page_by_page(engine: Engine) -> None:
    histories = UnitHistories(engine)
    for name in ("c", "a", "b"):
        histories.append(readings([1, 2], name), [LAYOUT])
    assert [one.unit for one in histories.listed()] == ["a", "b", "c"]
    (one,) = histories.listed(after="a", limit=1)
    assert (one.unit, one.readings, one.first_time, one.last_time, one.columns) == ("b", 2, 1.0, 2.0, ("x", "y"))


def test_blocks_are_put_together(engine: Engine) -> None:
    histories = UnitHistories(engine)
    for t in range(300):
        histories.append(readings([t]), [LAYOUT])
    with engine.connect() as connection:
        count = connection.execute(sa.text("SELECT count(*) FROM unit_readings")).scalar()
    assert count is not None
    assert count < 60
    assert UnitHistories(engine).read("a").time.tolist() == list(range(300))


def test_memory_is_bounded(engine: Engine) -> None:
    histories = UnitHistories(engine, memory_bytes=5_000)
    for i in range(20):
        histories.append(readings([1, 2], f"u{i:02d}"), [LAYOUT])
    assert len(histories._copies) <= 5
    assert histories.append(readings([3], "u00"), [LAYOUT]).history.n_rows == 3


# ------------------------------------------------------------------ what is dropped


def test_the_oldest_that_matter_stay(engine: Engine) -> None:
    histories = UnitHistories(engine, most_rows=10)
    for t in range(30):
        nan_late = [float("nan") if t > 3 else float(t)]
        added = histories.append(readings([t], x=[float(t)], y=nan_late), [LAYOUT])
    history = added.history
    assert history.n_rows <= 10
    assert history.n_rows + history.dropped == 30
    assert history.time[:2].tolist() == [0, 1]
    assert 3.0 in history.time  # the last known reading of y
    assert history.time[-5:].tolist() == [25, 26, 27, 28, 29]
    assert UnitHistories(engine).read("a").dropped == history.dropped
    problem = refused(histories, readings([10], x=[10.0], y=[float("nan")]))
    assert problem.slug == "readings-out-of-order"
    assert "no longer kept" in problem.detail


def test_a_full_history_is_an_error_where_all_matters(engine: Engine) -> None:
    histories = UnitHistories(engine, most_rows=10)
    layout = replace(LAYOUT, context=None)
    histories.append(readings(list(range(10))), [layout])
    assert refused(histories, readings([10]), layout).slug == "history-full"
    assert histories.read("a").n_rows == 10


@pytest.mark.parametrize("kind", ["cnn_bilstm", "lightgbm"])
def test_forecasts_do_not_notice(trained: TrainedByKind, kind: str) -> None:
    """The rows that are kept say what all rows say, with holes wherever they are."""
    bundle = trained(kind).bundle
    layout = Layout.of(bundle)
    rng = np.random.default_rng(0)
    assert layout.context is not None
    for n in (layout.context + layout.healthy_steps + 1, 400):
        values = rng.normal(0, 1, (len(layout.columns), n)).astype(np.float32)
        values[rng.random(values.shape) < 0.3] = np.nan
        values[0, 5:] = np.nan
        rows = kept_rows(values, layout.context, layout.healthy_steps)
        assert rows is not None
        assert len(rows) < n
        said = []
        for at in (np.arange(n), rows):
            columns = dict(zip(layout.columns, values[:, at], strict=True))
            forecast = bundle.predict(Readings(("u",), np.array([0, len(at)]), np.arange(n)[at], columns))
            said.append(forecast.to_frame())
        assert said[0].equals(said[1])


# ------------------------------------------------------------------ several writers


def check_writers(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    done: Any = context.Queue()
    engine = database.open(url)
    workers = [context.Process(target=write_some, args=(url, worker, done)) for worker in range(2)]
    for worker in workers:
        worker.start()
    counts = dict(done.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    histories = UnitHistories(engine)
    shared = histories.read("shared")
    assert shared is not None
    assert shared.n_rows == sum(counts.values())  # none lost, none twice
    assert (np.diff(shared.time) > 0).all()
    np.testing.assert_array_equal(shared.values[0], shared.time)
    assert all(histories.read(f"own-{worker}").n_rows == 40 for worker in range(2))
    engine.dispose()


def test_several_processes_write_sqlite(tmp_path: Path) -> None:
    check_writers(f"sqlite:///{tmp_path / 'state.sqlite'}")


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_several_processes_write_postgres() -> None:
    with postgres_server() as url:
        check_writers(url)


# ------------------------------------------------------------------ over HTTP


@pytest.fixture(scope="module")
def service(trained: TrainedByKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answering]:
    with answering(trained("cnn_bilstm").path, tmp_path_factory.mktemp("units")) as made:
        yield made


def body(service: Answering, time: list[Any], value: float = 1.0) -> dict[str, Any]:
    columns = service.service.scorer.layouts.of(service.service.deployment.champion()).columns
    return {"time": time, "columns": {name: [value + 0.1 * i for i in range(len(time))] for name in columns}}


def test_each_addition_is_answered_with_the_forecast_of_all(service: Answering) -> None:
    whole = body(service, list(range(1, 31)))
    head = {"time": whole["time"][:29], "columns": {name: values[:29] for name, values in whole["columns"].items()}}
    tail = {"time": whole["time"][29:], "columns": {name: values[29:] for name, values in whole["columns"].items()}}
    assert service.add("pump-7", head).status_code == 200
    answer = service.add("pump-7", tail)
    ReadingsAnswer.model_validate_json(answer.content)
    told = answer.json()
    assert told["history"] == {
        "appended": 1, "repeated": 0, "readings": 30, "dropped": 0, "first_time": 1, "last_time": 30,
    }  # fmt: skip
    at_once = service.forecast({"units": [{"unit": "pump-7", **whole}]}).json()
    assert told["forecasts"] == at_once["forecasts"]
    assert service.add("pump-7", whole).json()["history"]["repeated"] == 30
    one = UnitAnswer.model_validate_json(service.client.get("/v1/units/pump-7").content)
    assert (one.readings, one.last_time, one.forecasts[0].time) == (30, 30, 30)
    page = Units.model_validate_json(service.client.get("/v1/units?limit=1").content)
    assert [unit.unit for unit in page.units] == ["pump-7"]
    assert service.client.delete("/v1/units/pump-7").status_code == 204
    gone = service.client.get("/v1/units/pump-7")
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/unknown-unit")
    assert service.client.delete("/v1/units/pump-7").status_code == 404


def test_what_is_wrong_has_its_status(service: Answering) -> None:
    assert service.add("p1", body(service, [1, 2, 3])).status_code == 200
    changed = body(service, [3, 4], value=7.0)
    misspelt = body(service, [4])
    misspelt["columns"]["lod"] = misspelt["columns"].pop("load")
    for content, status, slug in (
        (changed, 409, "readings-changed"),
        (body(service, [0]), 409, "readings-out-of-order"),
        (misspelt, 422, "wrong-columns"),
        (body(service, ["2026-05-18T10:00:00Z"]), 422, "bad-input"),
        (b"{", 400, "bad-json"),
    ):
        answer = service.add("p1", content)
        assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
    assert "did you mean 'load'?" in service.add("p1", misspelt).text
    for path in ("/v1/units?limit=0", "/v1/units?limit=x", "/v1/units?after=%2F", "/v1/units/%20"):
        assert service.client.get(path).status_code == 422, path
    assert service.add("p%20q", body(service, [1])).status_code == 422


def test_a_restart_loses_nothing(trained: TrainedByKind, tmp_path: Path) -> None:
    path = trained("cnn_bilstm").path
    with answering(path, tmp_path) as first:
        before = first.add("p1", body(first, list(range(1, 20)))).json()
    with answering(path, tmp_path) as second:
        after = second.client.get("/v1/units/p1").json()
    assert after["forecasts"] == before["forecasts"]
    assert datetime.fromisoformat(after["updated"]).tzinfo == UTC
