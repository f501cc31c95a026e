"""Forecasts that were given are kept beside the requests, outcomes are held against them, a worse arm is stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from tests.fixtures import postgres_server
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.deployments import ScriptedRegistry, scaled_bundle, unit_readings
from tests.fixtures.targets import make_answered_fleet, make_target_experiment

from wearcast import train
from wearcast.service import database
from wearcast.service.audit import Audit
from wearcast.service.deployment import Deployment
from wearcast.service.events import Event, EventKind, Events
from wearcast.service.given import Given, Keeping, forecasts
from wearcast.service.history import History
from wearcast.service.layout import Layouts, UnitReadings
from wearcast.service.outcomes import Outcomes, as_json
from wearcast.service.problems import Problem
from wearcast.service.scoring import forecast
from wearcast.service.served import Served, load_served
from wearcast.service.settings import ModelsSettings
from wearcast.service.split import Split, StoredSplits
from wearcast.service.truth import Record, arms_of, judged, judged_by_readings

LAYOUTS = Layouts()
AT_ONCE = Keeping(each_s=0.0, pause_s=0.01)


@pytest.fixture(scope="session")
def versions(trained: TrainedByKind, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Version n forecasts n times the RUL of the first."""
    folder, source = tmp_path_factory.mktemp("versions"), trained("lightgbm").path
    return {str(n): scaled_bundle(source, folder / f"v{n}", float(n)) for n in (1, 2, 3)}


@pytest.fixture(scope="session")
def served(versions: dict[str, Path]) -> Served:
    return load_served(versions["1"], arm="champion", name="pumps", version="1")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = database.open(f"sqlite:///{tmp_path / 'state.sqlite'}")
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    if reason := postgres_server.missing():
        pytest.skip(reason)
    with postgres_server.postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def any_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Both databases; PostgreSQL with no rows in the tables that are used here."""
    if request.param == "sqlite":
        opened = database.open(f"sqlite:///{tmp_path / 'state.sqlite'}")
    else:
        opened = database.open(request.getfixturevalue("server").replace("postgresql://", "postgresql+psycopg://"))
        with database.writing(opened) as connection:
            for name in ("forecasts", "outcomes", "splits"):
                connection.execute(database.metadata.tables[name].delete())
    yield opened
    opened.dispose()


def deployed(versions: dict[str, Path], engine: Engine, **settings: Any) -> Deployment:
    registry = ScriptedRegistry(dict(versions), {"champion": "1", "challenger": "2"})
    given = ModelsSettings.model_validate({"reference": "pumps@champion", **settings})
    return Deployment(given, registry=registry, splits=StoredSplits(engine))


def rows_in(engine: Engine) -> Sequence[Any]:
    with database.reading(engine) as connection:
        return connection.execute(sa.select(forecasts).order_by(forecasts.c.id)).all()


# ------------------------------------------------------------------ forecasts that were given


def test_the_last_forecast_of_each_unit_is_kept(any_engine: Engine, served: Served) -> None:
    units = [unit_readings(served.bundle, f"pump-{i}", rows=30 + i, seed=i) for i in range(3)]
    scored = forecast(served, units, LAYOUTS.of(served), every=5)
    given = Given(any_engine, AT_ONCE)
    assert given.add(served, units, scored)
    given.flush()
    rows = rows_in(any_engine)
    assert [(row.unit, row.at) for row in rows] == [("pump-0", 30.0), ("pump-1", 31.0), ("pump-2", 32.0)]
    assert {(row.name, row.version, row.arm, row.kind) for row in rows} == {("pumps", "1", "champion", "rul")}
    last = [scored.offsets[i + 1] - 1 for i in range(3)]
    assert [row.point for row in rows] == pytest.approx([scored.columns["rul"][i] for i in last])
    assert [row.low for row in rows] == pytest.approx([scored.columns["rul_q05"][i] for i in last])
    assert [row.high for row in rows] == pytest.approx([scored.columns["rul_q95"][i] for i in last])
    assert given.knows(["pump-1", "nobody"]) == {"pump-1"}
    assert given.written == 3


def test_a_unit_that_is_asked_for_without_pause_is_kept_once(engine: Engine, served: Served) -> None:
    units = [unit_readings(served.bundle, "pump-1")]
    scored = forecast(served, units, LAYOUTS.of(served))
    given = Given(engine, Keeping(each_s=60))
    assert [given.add(served, units, scored) for _ in range(100)].count(True) == 1
    assert given.dropped == 0, "thinned, not dropped"


def test_what_does_not_fit_is_dropped_and_counted(engine: Engine, served: Served) -> None:
    units = [unit_readings(served.bundle, "pump-1")]
    scored = forecast(served, units, LAYOUTS.of(served))
    given = Given(engine, Keeping(each_s=0.0, buffer=10))
    for _ in range(1_000):
        given.add(served, units, scored)
    assert given.dropped == 990
    assert given.written == 0
    assert rows_in(engine) == [], "to give is not to wait for the database"


def test_a_database_that_fails_loses_records_and_nothing_else(
    engine: Engine, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with database.writing(engine) as connection:
        connection.execute(sa.text("DROP TABLE forecasts"))
    units = [unit_readings(served.bundle, "pump-1")]
    given = Given(engine, AT_ONCE)
    given.start()
    assert given.add(served, units, forecast(served, units, LAYOUTS.of(served)))
    given.close()
    assert given.dropped == 1
    assert given.written == 0


def test_old_forecasts_go(engine: Engine, served: Served) -> None:
    units = [unit_readings(served.bundle, f"pump-{i}") for i in range(2)]
    scored = forecast(served, units, LAYOUTS.of(served))
    given = Given(engine, Keeping(each_s=0.0, pause_s=0.01, days=1))
    given.add(served, units, scored)
    given.flush()
    with database.writing(engine) as connection:
        connection.execute(
            forecasts.update().where(forecasts.c.unit == "pump-0").values(given=time.time() - 2 * 86_400)
        )
    given._swept = -1e9
    given.start()
    deadline = time.monotonic() + 20
    while len(rows_in(engine)) == 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    given.close()
    assert [row.unit for row in rows_in(engine)] == ["pump-1"]


# ------------------------------------------------------------------ events


def test_an_event_is_told_once(any_engine: Engine) -> None:
    events = Events(any_engine)
    failure = Event("pump-1", 153.0, "failure", "bearing")
    assert events.add([failure, failure], "scada") == (1, 1)
    assert events.add([failure], "scada") == (0, 1)
    assert events.all()["pump-1"][0].said == failure.said


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("failure", 10.0, None), ("failure", 10.0, "bearing")),
        (("failure", 10.0, "bearing"), ("maintenance", 10.0, None)),
        (("end_of_life", 10.0, None), ("end_of_life", 12.0, None)),
        (("end_of_life", 10.0, None), ("failure", 12.0, None)),
        (("failure", 12.0, None), ("end_of_life", 10.0, None)),
    ],
)
def test_what_contradicts_is_refused_and_nothing_of_it_is_recorded(
    any_engine: Engine, first: tuple[EventKind, float, str | None], second: tuple[EventKind, float, str | None]
) -> None:
    events = Events(any_engine)
    events.add([Event("pump-1", first[1], first[0], first[2])], "scada")
    with pytest.raises(Problem, match="conflict") as found:
        events.add([Event("pump-2", 1.0, "failure"), Event("pump-1", second[1], second[0], second[2])], "scada")
    assert found.value.status == 409
    assert set(events.all()) == {"pump-1"}


def test_a_machine_may_fail_and_be_repaired_again_and_again(any_engine: Engine) -> None:
    events = Events(any_engine)
    told = [("failure", 10.0), ("maintenance", 11.0), ("failure", 30.0), ("end_of_life", 50.0)]
    kinds: list[tuple[EventKind, float]] = told  # type: ignore[assignment]
    assert events.add([Event("pump-1", at, kind) for kind, at in reversed(kinds)], "scada") == (4, 0)
    assert [event.at for event in events.all()["pump-1"]] == [10.0, 11.0, 30.0, 50.0]


# ------------------------------------------------------------------ truth


def record(unit: str = "u", at: float = 10.0, **changes: Any) -> Record:
    given = {
        "unit": unit, "at": at, "given": 0.0, "version": "1", "arm": "champion", "kind": "rul", "point": 20.0,
        "low": 5.0, "high": 40.0, "bound": 125.0, "per_unit": 1.0, "detail": None,
    }  # fmt: skip
    return Record(**{**given, **changes})


def errors(records: Sequence[Record], *events: Event) -> list[float]:
    by_unit: dict[str, list[Event]] = {}
    for event in events:
        by_unit.setdefault(event.unit, []).append(event)
    return [found.error for found in judged(records, by_unit)]


def test_a_rul_is_held_against_the_time_that_was_left() -> None:
    failed = Event("u", 35.0, "failure")
    assert errors([record(at=10.0), record(at=30.0), record(at=40.0)], failed) == [5.0, 15.0]
    assert errors([record(at=10.0)], Event("u", 500.0, "end_of_life")) == [105.0], "capped at 125, as the forecast is"
    assert errors([record(at=10.0)], Event("u", 35.0, "censored")) == [], "it lasted at least so long"
    assert errors([record(at=10.0)], Event("u", 20.0, "maintenance"), failed) == [], "another life"
    assert errors([record(at=10e6, per_unit=3600e6)], Event("u", 10e6 + 25 * 3600e6, "failure")) == [5.0], "hours"


def test_an_interval_holds_the_truth_or_not() -> None:
    found = judged([record(at=10.0), record(at=34.0)], {"u": [Event("u", 35.0, "failure")]})
    assert [one.held for one in found] == [True, False]


def test_a_failure_is_judged_by_the_brier_score() -> None:
    said = record(at=10.0, kind="failure", point=0.8, bound=30.0)
    assert errors([said], Event("u", 20.0, "failure")) == pytest.approx([0.04])
    assert errors([said], Event("u", 60.0, "failure")) == pytest.approx([0.64])
    assert errors([said], Event("u", 60.0, "censored")) == pytest.approx([0.64]), "it lasted beyond the horizon"
    assert errors([said], Event("u", 20.0, "censored")) == []
    assert errors([record(kind="failure", point=0.8, bound=None)], Event("u", 20.0, "failure")) == [], "a label"


def test_a_fault_is_judged_by_its_class() -> None:
    said = record(kind="fault", detail='{"ball": 0.7, "inner": 0.2, "outer": 0.1}')
    found = errors([said], Event("u", 20.0, "failure", "ball"))
    assert found == pytest.approx([(0.3**2 + 0.2**2 + 0.1**2) / 2])
    assert errors([said], Event("u", 20.0, "failure", "belt")) == [], "a class that the model does not know"
    assert errors([said], Event("u", 20.0, "failure")) == []


def test_pairs_are_of_one_unit_and_time() -> None:
    records = [
        record("a", 10.0, point=20.0), record("a", 10.0, point=30.0, version="2", arm="shadow"),
        record("a", 12.0, point=20.0), record("b", 10.0, point=26.0), record("b", 10.0, point=25.0, version="2"),
    ]  # fmt: skip
    known = judged(records, {unit: [Event(unit, 35.0, "failure")] for unit in "ab"})
    arms = arms_of(known, "1", "2")
    assert arms.mode == "paired"
    assert (arms.champion.tolist(), arms.challenger.tolist()) == ([5.0, 1.0], [5.0, 0.0])


def test_a_unit_that_was_moved_counts_for_neither_arm() -> None:
    records = [
        record("before", given=1.0), record("a", given=4.5), record("b", given=5.0, version="2"),
        record("moved", given=6.0), record("moved", given=9.0, version="2"),
    ]  # fmt: skip
    known = judged(records, {unit: [Event(unit, 35.0, "failure")] for unit in ("before", "a", "b", "moved")})
    arms = arms_of(known, "1", "2")
    assert arms.mode == "split"
    assert (len(arms.champion), len(arms.challenger)) == (1, 1)


# ------------------------------------------------------------------ all of it


async def _give(outcomes: Outcomes, deployment: Deployment, count: int, *, at: int = 40) -> list[float]:
    """One forecast of each of `count` units; what the champion, or whoever answers, says of each."""
    said = []
    for i in range(count):
        arm = deployment.choose(f"pump-{i}")
        units = [unit_readings(arm.bundle, f"pump-{i}", rows=at, seed=i)]
        scored = forecast(arm, units, LAYOUTS.of(arm))
        outcomes.given(arm, units, scored)
        said.append(scored.columns["rul"][0] / float(arm.version))
    return said


def test_a_challenger_that_is_worse_is_found_in_the_shadow(engine: Engine, versions: dict[str, Path]) -> None:
    """Version 2 says twice the RUL of version 1, and version 1 is right."""

    async def scenario() -> dict[str, Any]:
        deployment = deployed(versions, engine, shadow=True)
        await deployment.start()
        outcomes = Outcomes(engine, deployment, LAYOUTS, keeping=AT_ONCE)
        outcomes._shadow._most = 1_000
        await outcomes.start()
        said = await _give(outcomes, deployment, 40)
        assert await asyncio.to_thread(outcomes._shadow.wait_idle)
        told = [Event(f"pump-{i}", 40.0 + rul, "failure") for i, rul in enumerate(said)]
        assert await outcomes.add(told, "scada") == (40, 0)
        found = as_json(await outcomes.compare())
        assert outcomes.counts()["shadow_done"] == 40
        await outcomes.stop()
        return found

    found = asyncio.run(scenario())
    assert (found["mode"], found["verdict"], found["losing"]) == ("paired", "worse", True)
    assert found["words"] == "version 1 is better than version 2"
    assert found["champion"]["error"] == pytest.approx(0, abs=1e-3)
    assert found["difference"] > 0
    assert found["interval"][0] > 0
    assert found["figure"] == "mae_capped"
    assert found["champion"]["forecasts"] == found["challenger"]["forecasts"] == 40


def test_a_losing_arm_is_stopped_audited_and_stays_stopped(engine: Engine, versions: dict[str, Path]) -> None:
    async def scenario() -> None:
        deployment = deployed(versions, engine, challenger_share=0.5)
        await deployment.start()
        outcomes = Outcomes(engine, deployment, LAYOUTS, audit=Audit(engine), stop_losing=True, keeping=AT_ONCE)
        await outcomes.start()
        said = await _give(outcomes, deployment, 120)
        told = [Event(f"pump-{i}", 40.0 + rul, "failure") for i, rul in enumerate(said)]
        await outcomes.add(told, "scada")
        async with asyncio.timeout(30):
            while not outcomes.stopped:  # the outcomes have woken the review
                await asyncio.sleep(0.01)
        assert {deployment.choose(f"pump-{i}").version for i in range(120)} == {"1"}
        assert "mae_capped of version 2 is higher" in (deployment.status().split.stopped or "")
        await outcomes.stop()
        again = deployed(versions, engine, challenger_share=0.5)
        await again.start()
        assert again.status().split.share == 0, "also after a restart"

    asyncio.run(scenario())
    entries = Audit(engine).entries()
    assert [(entry.act, entry.subject, entry.result) for entry in entries] == [("deployment.stop", "pumps/2", "done")]


def test_an_arm_that_is_no_worse_is_not_stopped(engine: Engine, versions: dict[str, Path]) -> None:
    """Both versions are off by the same: the truth lies between them."""

    async def scenario() -> bool:
        deployment = deployed(versions, engine, challenger_share=0.5)
        await deployment.start()
        outcomes = Outcomes(engine, deployment, LAYOUTS, stop_losing=True, keeping=AT_ONCE)
        said = await _give(outcomes, deployment, 120)
        noise = np.random.default_rng(0).normal(0, 0.3, 120)
        told = [Event(f"pump-{i}", 40.0 + 1.5 * rul + noise[i], "failure") for i, rul in enumerate(said)]
        await outcomes.add(told, "scada")
        return await outcomes.review()

    assert asyncio.run(scenario()) is False


def history(unit: str, values: Sequence[Sequence[float]], *, names: tuple[str, ...] = ("flow", "heat")) -> History:
    """Readings of two sensors at the times 1, 2, 3 …."""
    read = np.array(values, dtype=np.float32)
    time_ = np.arange(1.0, read.shape[1] + 1)
    return History(unit, 1, names, False, {}, time_, read, 0, 0.0)


def test_a_forecast_of_sensors_is_held_against_what_was_read_since() -> None:
    said = record(at=2.0, kind="sensor", point=None, detail='{"flow": [3.0, 5.0], "heat": [1.0, 1.0]}')
    nan = float("nan")
    whole = history("u", [[1, 2, 3, 4], [1, 1, 1, nan]])
    (found,) = judged_by_readings([said], {"u": whole}.get)
    assert found.error == pytest.approx((0 + 1 + 0) / 3), "a reading that is missing says nothing"
    assert judged_by_readings([said], {"u": history("u", [[1, 2, 3], [1, 1, 1]])}.get) == [], "not read to its end"
    assert judged_by_readings([said], {"v": whole}.get) == [], "another unit"
    other = history("u", [[1, 2, 3, 4], [1, 1, 1, 1]], names=("flow", "speed"))
    assert judged_by_readings([said], {"u": other}.get) == []
    assert judged_by_readings([record(at=2.5, kind="sensor", detail=said.detail)], {"u": whole}.get) == []


def test_a_unit_nobody_knows_is_refused(engine: Engine, versions: dict[str, Path]) -> None:
    kept = history("kept", [[1.0], [1.0]])

    async def scenario() -> None:
        deployment = deployed(versions, engine)
        await deployment.start()
        outcomes = Outcomes(
            engine, deployment, LAYOUTS, read=lambda unit: kept if unit == "kept" else None, keeping=AT_ONCE
        )
        await _give(outcomes, deployment, 1)
        assert await outcomes.add([Event("pump-0", 50.0, "failure"), Event("kept", 50.0, "failure")], "scada") == (2, 0)
        with pytest.raises(Problem, match="pump-99") as found:
            await outcomes.add([Event("pump-0", 60.0, "failure"), Event("pump-99", 50.0, "failure")], "scada")
        assert found.value.status == 404

    asyncio.run(scenario())


def test_a_comparison_needs_two_versions_and_says_when_it_knows_nothing(
    engine: Engine, versions: dict[str, Path]
) -> None:
    async def scenario() -> None:
        deployment = deployed(versions, engine)
        await deployment.start()
        outcomes = Outcomes(engine, deployment, LAYOUTS, keeping=AT_ONCE)
        found = as_json(await outcomes.compare())
        assert found["verdict"] == "unknown"
        assert found["interval"] is None
        assert "too little is known" in found["words"]
        with pytest.raises(Problem, match="it is the champion's version"):
            await outcomes.compare("pumps", "1", "1")
        with pytest.raises(Problem, match="no challenger"):
            await outcomes.compare("fans")

    asyncio.run(scenario())


def test_a_full_shadow_drops_and_counts(engine: Engine, versions: dict[str, Path]) -> None:
    async def scenario() -> Outcomes:
        deployment = deployed(versions, engine, shadow=True)
        await deployment.start()
        outcomes = Outcomes(engine, deployment, LAYOUTS, keeping=AT_ONCE)  # not started: nobody works the list off
        await _give(outcomes, deployment, 70)
        return outcomes

    outcomes = asyncio.run(scenario())
    assert outcomes.counts()["shadow_dropped"] == 70 - 64


def test_decisions_about_challengers_are_kept_in_the_database(any_engine: Engine) -> None:
    splits = StoredSplits(any_engine)
    assert splits.read("pumps", "2") is None
    splits.write("pumps", "2", Split(0.25, shadow=True))
    splits.write("pumps", "2", Split(0.0, shadow=True, stopped="worse"))
    assert splits.read("pumps", "2") == Split(0.0, shadow=True, stopped="worse")
    assert splits.read("pumps", "3") is None


@pytest.mark.parametrize(("target", "kind"), [("failure", "lightgbm"), ("fault", "lightgbm"), ("sensor", "lightgbm")])
def test_forecasts_of_every_target_are_kept_as_the_comparison_needs_them(
    target: str, kind: str, engine: Engine, tmp_path: Path
) -> None:
    fleet = make_answered_fleet()
    train(make_target_experiment(target, kind), fleet, out=tmp_path / target)
    made = load_served(tmp_path / target, arm="champion", name="fans", version="1")
    frame = fleet.frame.filter(fleet.frame["unit"] == 1).head(30)
    names = made.bundle.columns
    values = np.stack([frame[name].to_numpy().astype(np.float32) for name in names])
    units = [UnitReadings("1", frame["time"].to_numpy(), names, values, {})]
    scored = forecast(made, units, LAYOUTS.of(made), every=7)
    given = Given(engine, AT_ONCE)
    given.add(made, units, scored)
    given.flush()
    (row,) = rows_in(engine)
    (kept,) = [Record(*(getattr(row, field) for field in Record.__dataclass_fields__))]
    assert (kept.kind, kept.at) == (target, 30.0)
    if target == "sensor":
        later = fleet.frame.filter(fleet.frame["unit"] == 1)
        whole = history("1", [later["s0"].to_list(), later["s1"].to_list()], names=("s0", "s1"))
        (found,) = judged_by_readings([kept], {"1": whole}.get)
        said = made.bundle.predict(fleet.select([1]), every=1).to_frame().filter(pl.col("time") == 30)
        truth = [later[row["column"]][29 + row["step"]] for row in said.iter_rows(named=True)]
        assert found.error == pytest.approx(np.abs(said["value"].to_numpy() - np.array(truth)).mean(), rel=1e-4)
        return
    mode = "inner" if target == "fault" else None
    (found,) = judged([kept], {"1": [Event("1", 35.0, "failure", mode)]})
    assert 0 <= found.error <= 1
    if target == "failure":
        assert found.error == pytest.approx((1 - scored.columns["failure_probability"][-1]) ** 2)
        assert kept.bound == 10.0
