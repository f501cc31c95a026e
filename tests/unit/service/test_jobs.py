"""Batch jobs: every form in and out, the numbers of `predict`, cancel, a restart, limits, nothing half-written."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from sqlalchemy import Engine
from tests.fixtures import postgres_server
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.deployments import ScriptedRegistry, scaled_bundle, unit_readings

from wearcast.service import database, jobinput
from wearcast.service.deployment import Deployment
from wearcast.service.jobfiles import FORMS, whole
from wearcast.service.jobinput import InputForm, portions, read_input, units_of
from wearcast.service.jobs import JobLimits, Jobs
from wearcast.service.jobtable import Job, JobTable
from wearcast.service.layout import Layouts
from wearcast.service.problems import Problem
from wearcast.service.settings import ModelsSettings

LAYOUTS = Layouts()
QUICK = JobLimits(poll_s=0.01, silent_s=0.3)
Make = Callable[..., Jobs]


@pytest.fixture(scope="session")
def versions(trained: TrainedByKind, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Version n forecasts n times the RUL of the first."""
    folder, source = tmp_path_factory.mktemp("versions"), trained("lightgbm").path
    return {str(n): scaled_bundle(source, folder / f"v{n}", float(n)) for n in (1, 2)}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = database.open(f"sqlite:///{tmp_path / 'state.sqlite'}")
    yield opened
    opened.dispose()


@pytest.fixture
def registry(versions: dict[str, Path]) -> ScriptedRegistry:
    return ScriptedRegistry(dict(versions), {"champion": "1"})


@pytest.fixture
def deployment(registry: ScriptedRegistry, tmp_path: Path) -> Deployment:
    given = ModelsSettings(reference="pumps@champion", cache_dir=tmp_path / "cache")
    made = Deployment(given, registry=registry)
    asyncio.run(made.start())
    return made


@pytest.fixture
def make(engine: Engine, deployment: Deployment, tmp_path: Path) -> Make:
    def build(limits: JobLimits = QUICK, busy: Callable[[], int] = lambda: 0) -> Jobs:
        return Jobs(tmp_path / "jobs", engine, deployment, LAYOUTS, limits=limits, busy=busy)

    return build


@pytest.fixture
def fleet(deployment: Deployment) -> pl.DataFrame:
    """A long table of 30 units, of which the readings are out of order."""
    return _long(deployment, 30).sample(fraction=1.0, shuffle=True, seed=1)


def _long(deployment: Deployment, units: int) -> pl.DataFrame:
    bundle = deployment.champion().bundle
    parts = []
    for i in range(units):
        one = unit_readings(bundle, f"pump-{i:04d}", rows=25 + i % 5, seed=i)
        columns = {name: one.values[k] for k, name in enumerate(one.names)}
        parts.append(pl.DataFrame({"unit": [one.unit] * len(one.time), "time": one.time, **columns}))
    return pl.concat(parts)


def encoded(table: pl.DataFrame, form: InputForm) -> bytes:
    buffer = io.BytesIO()
    if form == "parquet":
        table.write_parquet(buffer)
    elif form == "csv":
        table.write_csv(buffer)
    elif form == "arrow":
        table.write_ipc_stream(buffer, compat_level=pl.CompatLevel.oldest())
    else:
        ordered = table.sort("unit", "time")
        units = [
            {
                "unit": part["unit"][0],
                "time": part["time"].to_list(),
                "columns": {name: part[name].to_list() for name in part.columns if name not in ("unit", "time")},
            }
            for part in ordered.partition_by("unit", maintain_order=True)
        ]
        buffer.write(orjson.dumps({"units": units}))
    return buffer.getvalue()


async def chunks(content: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


async def until(jobs: Jobs, id: str, *states: str) -> Job:
    async with asyncio.timeout(60):
        while (job := await jobs.get(id, None)).state not in states:
            await asyncio.sleep(0.01)
    return job


def expected(deployment: Deployment, table: pl.DataFrame) -> dict[str, float]:
    """RUL of each unit as the bundle says when it is asked directly."""
    from wearcast import Fleet

    names = [name for name in table.columns if name not in ("unit", "time", "load")]
    fleet = Fleet.from_frame(table, unit="unit", cycle="time", sensors=names, settings=["load"])
    frame = deployment.champion().bundle.predict(fleet).to_frame()
    return dict(zip(frame["unit"].to_list(), frame["rul"].to_list(), strict=True))


@pytest.mark.parametrize("form", ["json", "arrow", "parquet", "csv"])
def test_a_job_says_what_predict_says_whatever_is_sent(
    make: Make, deployment: Deployment, fleet: pl.DataFrame, form: InputForm
) -> None:
    async def scenario() -> tuple[Job, pl.DataFrame]:
        jobs = make()
        await jobs.start()
        job = await jobs.submit("scada", chunks(encoded(fleet, form)), form)
        assert job.state in ("queued", "running")
        job = await until(jobs, job.id, "done", "failed")
        path = await jobs.result(job.id, "scada", "parquet")
        await jobs.stop()
        return job, pl.read_parquet(path)

    job, table = asyncio.run(scenario())
    assert (job.state, job.units, job.units_done) == ("done", 30, 30)
    assert table["unit"].to_list() == sorted(fleet["unit"].unique().to_list())
    found = dict(zip(table["unit"].to_list(), table["rul"].to_list(), strict=True))
    assert found == pytest.approx(expected(deployment, fleet), rel=1e-5)
    assert set(table["version"]) == {"pumps/1"}


def test_a_result_is_given_in_every_form(make: Make, fleet: pl.DataFrame) -> None:
    async def scenario() -> dict[str, pl.DataFrame]:
        jobs = make()
        await jobs.start()
        job = await jobs.submit("scada", chunks(encoded(fleet, "parquet")), "parquet", every=10)
        await until(jobs, job.id, "done")
        read: dict[str, Callable[[Path], pl.DataFrame]] = {
            "parquet": pl.read_parquet, "arrow": pl.read_ipc, "csv": pl.read_csv, "jsonl": pl.read_ndjson,
        }  # fmt: skip
        paths = {form: await jobs.result(job.id, "scada", form) for form in FORMS}
        found: dict[str, pl.DataFrame] = {form: read[form](path) for form, path in paths.items()}
        await jobs.stop()
        return found

    found = asyncio.run(scenario())
    for table in found.values():
        assert table.height == found["parquet"].height > 60
        assert table["rul"].to_list() == pytest.approx(found["parquet"]["rul"].to_list())


def test_a_job_belongs_to_its_client(make: Make, fleet: pl.DataFrame) -> None:
    async def scenario() -> None:
        jobs = make()
        job = await jobs.submit("scada", chunks(encoded(fleet, "csv")), "csv")
        assert (await jobs.get(job.id, None)).id == job.id
        for ask in (jobs.get(job.id, "other"), jobs.cancel(job.id, "other"), jobs.result(job.id, "other", "csv")):
            with pytest.raises(Problem, match="no such job of yours"):
                await ask
        assert await jobs.newest("other", before=None, limit=10) == []
        assert len(await jobs.newest("scada", before=None, limit=10)) == 1
        with pytest.raises(Problem, match="queued"):
            await jobs.result(job.id, "scada", "csv")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("content", "form", "said"),
    [
        (b"{", "json", "bad-json"),
        (b"PAR1 nothing", "parquet", "bad-request"),
        (b"no stream", "arrow", "bad-arrow"),
        (b"unit,time\n", "csv", "bad-input"),
        (b"unit,flow\na,1\n", "csv", "bad-input"),
        (b"unit,time,s0,s1,s2,load\na,1,1,x,1,0\n", "csv", "bad-input"),
        (b"unit,time,s0,s1,s2,load\na,1,1,1,1,0\na,1,1,1,1,0\n", "csv", "bad-input"),
        (b"unit,time,s0,load\na,1,1,0\n", "csv", "wrong-columns"),
        (b"unit,time,s0,s1,s2,load,extra\na,1,1,1,1,0,1\n", "csv", "wrong-columns"),
        (b"unit,time,s0,s1,s2,load\n,1,1,1,1,0\n", "csv", "bad-input"),
        (b"unit,time,s0,s1,s2,load\n=cmd,1,1,1,1,0\n", "csv", "bad-input"),
    ],
)
def test_what_is_wrong_is_said_by_the_job(
    make: Make, tmp_path: Path, content: bytes, form: InputForm, said: str
) -> None:
    async def scenario() -> Job:
        jobs = make()
        await jobs.start()
        job = await jobs.submit("scada", chunks(content), form)
        job = await until(jobs, job.id, "done", "failed")
        await jobs.stop()
        return job

    job = asyncio.run(scenario())
    assert job.state == "failed"
    assert (job.problem or {})["type"] == f"/problems/{said}", job.problem
    assert str(tmp_path) not in str(job.problem), "no path of this machine"


def test_empty_readings_are_missing_ones(make: Make, deployment: Deployment) -> None:
    """A CSV cell without a number, and a column without any, as JSON has them as null."""
    text = "unit,time,s0,s1,s2,load\n" + "".join(f"7,{t},{0.1 * t},,{'' if t % 2 else 1.5},0\n" for t in range(1, 30))

    async def scenario() -> pl.DataFrame:
        jobs = make()
        await jobs.start()
        job = await jobs.submit("scada", chunks(text.encode()), "csv")
        job = await until(jobs, job.id, "done", "failed")
        assert job.state == "done", job.problem
        table = pl.read_parquet(await jobs.result(job.id, "scada", "parquet"))
        await jobs.stop()
        return table

    table = asyncio.run(scenario())
    assert table["unit"].to_list() == [7]
    assert "missing_readings" in table["flags"][0]


def test_a_job_can_be_cancelled_and_forgotten(make: Make, fleet: pl.DataFrame, tmp_path: Path) -> None:
    async def scenario() -> None:
        jobs = make()
        job = await jobs.submit("scada", chunks(encoded(fleet, "csv")), "csv")
        cancelled = await jobs.cancel(job.id, "scada")
        assert cancelled is not None
        assert cancelled.state == "cancelled"
        assert not (tmp_path / "jobs" / job.id).exists()
        await jobs.start()
        await asyncio.sleep(0.1)
        assert (await jobs.get(job.id, "scada")).state == "cancelled", "nobody takes it up"
        assert await jobs.cancel(job.id, "scada") is None, "and then it is forgotten"
        with pytest.raises(Problem, match="no such job"):
            await jobs.get(job.id, "scada")
        await jobs.stop()

    asyncio.run(scenario())


def test_a_running_job_stops_when_it_is_cancelled(make: Make, deployment: Deployment, tmp_path: Path) -> None:
    async def scenario() -> Job:
        jobs = make(busy=lambda: 1)  # requests all the time: the job gets a turn a second
        await jobs.start()
        job = await jobs.submit("scada", chunks(encoded(_long(deployment, 300), "parquet")), "parquet")
        await until(jobs, job.id, "running")
        await jobs.cancel(job.id, "scada")
        async with asyncio.timeout(10):
            while (tmp_path / "jobs" / job.id).exists():
                await asyncio.sleep(0.01)
        await jobs.stop()
        return await jobs.get(job.id, "scada")

    job = asyncio.run(scenario())
    assert job.state == "cancelled"
    assert job.units_done < 300


def _small_portions(monkeypatch: pytest.MonkeyPatch, units: int) -> None:
    monkeypatch.setattr(jobinput, "UNITS", units)
    monkeypatch.setattr(jobinput, "BATCH_UNITS", units)


async def _stopped_in_the_middle(make: Make, table: pl.DataFrame) -> Job:
    """A job that has written some portions when its process ends."""
    jobs = make()
    await jobs.start()
    job = await jobs.submit("scada", chunks(encoded(table, "parquet")), "parquet")
    async with asyncio.timeout(60):
        while (job := await jobs.get(job.id, None)).portions_done < 3:
            await asyncio.sleep(0.001)
    await jobs.stop()
    job = await jobs.get(job.id, None)
    assert job.state == "queued", "given back"
    return job


def test_a_job_goes_on_behind_its_last_portion_after_a_restart(
    make: Make, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small_portions(monkeypatch, 2)
    table = _long(deployment, 60)

    async def scenario() -> pl.DataFrame:
        before = await _stopped_in_the_middle(make, table)
        folder = tmp_path / "jobs" / before.id
        kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
        assert len(kept) >= 3
        jobs = make()
        await jobs.start()
        async with asyncio.timeout(60):
            while (job := await jobs.get(before.id, None)).portions_done <= before.portions_done:
                await asyncio.sleep(0.001)
        again = {name: (folder / name).stat().st_mtime_ns for name in kept if (folder / name).exists()}
        assert all(kept[name] == written for name, written in again.items()), "nothing is done twice"
        job = await until(jobs, before.id, "done", "failed")
        found = pl.read_parquet(await jobs.result(job.id, "scada", "parquet"))
        await jobs.stop()
        return found

    found = asyncio.run(scenario())
    assert dict(zip(found["unit"], found["rul"], strict=True)) == pytest.approx(expected(deployment, table), rel=1e-5)


def test_a_job_begins_anew_with_another_version(
    make: Make, deployment: Deployment, registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One version answers a whole job, so what the old one has written is of no use."""
    _small_portions(monkeypatch, 2)
    table = _long(deployment, 60)

    async def scenario() -> pl.DataFrame:
        before = await _stopped_in_the_middle(make, table)
        registry.aliases["champion"] = "2"
        await deployment.refresh()
        jobs = make()
        await jobs.start()
        job = await until(jobs, before.id, "done", "failed")
        found = pl.read_parquet(await jobs.result(job.id, "scada", "parquet"))
        await jobs.stop()
        return found

    found = asyncio.run(scenario())
    assert set(found["version"]) == {"pumps/2"}
    assert found.height == 60


def test_a_promotion_in_the_middle_changes_nothing_for_a_job(
    make: Make, deployment: Deployment, registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small_portions(monkeypatch, 2)
    table = _long(deployment, 60)

    async def scenario() -> pl.DataFrame:
        jobs = make()
        await jobs.start()
        job = await jobs.submit("scada", chunks(encoded(table, "parquet")), "parquet")
        async with asyncio.timeout(60):
            while (await jobs.get(job.id, None)).portions_done < 2:
                await asyncio.sleep(0.001)
        registry.aliases["champion"] = "2"
        await deployment.refresh()
        assert deployment.champion().version == "2"
        await until(jobs, job.id, "done", "failed")
        found = pl.read_parquet(await jobs.result(job.id, "scada", "parquet"))
        await jobs.stop()
        return found

    assert set(asyncio.run(scenario())["version"]) == {"pumps/1"}


def test_the_job_of_a_process_that_is_gone_is_taken_up_at_once(make: Make, engine: Engine, fleet: pl.DataFrame) -> None:
    async def scenario() -> Job:
        jobs = make(replace(QUICK, silent_s=3_600))
        job = await jobs.submit("scada", chunks(encoded(fleet, "csv")), "csv")
        table = JobTable(engine)
        import socket

        assert table.claim(f"{socket.gethostname()}:{os.getpid()}:dead", silent_s=1) is not None
        assert table.claim("somebody:1:x", silent_s=3_600) is None, "it is being worked on"
        await jobs.start()
        job = await until(jobs, job.id, "done", "failed")
        await jobs.stop()
        return job

    assert asyncio.run(scenario()).state == "done"


def test_the_job_of_another_machine_that_fell_silent_is_taken_up(
    make: Make, engine: Engine, fleet: pl.DataFrame
) -> None:
    async def scenario() -> Job:
        jobs = make()
        job = await jobs.submit("scada", chunks(encoded(fleet, "csv")), "csv")
        JobTable(engine).claim("elsewhere:7:x", silent_s=1)
        await jobs.start()
        job = await until(jobs, job.id, "done", "failed")
        assert not JobTable(engine).update(job.id, "elsewhere:7:x", units_done=1), "who was silent has no say any more"
        await jobs.stop()
        return job

    assert asyncio.run(scenario()).state == "done"


def test_limits_are_refused_clearly(make: Make, fleet: pl.DataFrame, tmp_path: Path) -> None:
    content = encoded(fleet, "csv")

    async def refused(jobs: Jobs, client: str = "scada") -> Problem:
        with pytest.raises(Problem) as found:
            await jobs.submit(client, chunks(content), "csv")
        return found.value

    async def scenario() -> None:
        assert (await refused(make(replace(QUICK, body_bytes=1_000)))).status == 413
        assert (await refused(make(replace(QUICK, budget_bytes=1_000)))).status == 507
        jobs = make(replace(QUICK, of_a_client=1, waiting=2))
        await jobs.submit("scada", chunks(content), "csv")
        assert (await refused(jobs)).status == 429
        await jobs.submit("other", chunks(content), "csv")
        assert (await refused(jobs, "third")).status == 503
        with pytest.raises(Problem, match="no such model"):
            await jobs.submit("scada", chunks(content), "csv", model="fans@champion")
        assert len(list((tmp_path / "jobs").iterdir())) == 2, "nothing is left of what was refused"

    asyncio.run(scenario())


def test_a_full_budget_fails_the_job_and_says_so(make: Make, fleet: pl.DataFrame) -> None:
    content = encoded(fleet, "csv")

    async def scenario() -> Job:
        jobs = make(replace(QUICK, budget_bytes=len(content) + 100))
        await jobs.start()
        job = await jobs.submit("scada", chunks(content), "csv")
        job = await until(jobs, job.id, "done", "failed")
        await jobs.stop()
        return job

    job = asyncio.run(scenario())
    assert (job.problem or {})["type"] == "/problems/storage-full"


def test_results_go_after_their_time(make: Make, fleet: pl.DataFrame, tmp_path: Path) -> None:
    async def scenario() -> None:
        jobs = make(replace(QUICK, keep_s=0.05))
        await jobs.start()
        job = await jobs.submit("scada", chunks(encoded(fleet, "csv")), "csv")
        await until(jobs, job.id, "done")
        await asyncio.sleep(0.1)
        await asyncio.to_thread(jobs._sweep)
        assert not (tmp_path / "jobs" / job.id).exists()
        with pytest.raises(Problem, match="result-gone") as found:
            await jobs.result(job.id, "scada", "csv")
        assert found.value.status == 410
        await jobs.stop()

    asyncio.run(scenario())


def test_what_a_kill_has_left_is_removed(make: Make, tmp_path: Path) -> None:
    stray = tmp_path / "jobs" / "0123"
    stray.mkdir(parents=True)
    os.utime(stray, (time.time() - 7_200,) * 2)
    young = tmp_path / "jobs" / "4567"
    young.mkdir()

    async def scenario() -> None:
        jobs = make()
        await jobs.start()
        await jobs.stop()

    asyncio.run(scenario())
    assert not stray.exists()
    assert young.exists(), "somebody may be writing it"


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "result"

    def fail() -> None:
        with whole(target) as path:
            path.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with whole(target) as path:
        path.write_bytes(b"whole")
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("result", b"whole")]


def test_portions_are_whole_units_and_all_of_them(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobinput, "UNITS", 7)
    table = _long(deployment, 30)
    found = list(portions(table))
    assert [portion.units for portion in found] == [7, 7, 7, 7, 2]
    assert [portion.first for portion in found[1:]] == [portion.stop for portion in found[:-1]]
    accepted = LAYOUTS.accepted(deployment.arms())
    units = [one.unit for portion in found for batch in units_of(table, portion, accepted) for one in batch]
    assert units == table["unit"].unique(maintain_order=True).to_list()


def test_a_table_that_is_too_large_is_refused_before_it_is_read(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Parquet file of a few kilobytes may hold a billion equal rows."""
    monkeypatch.setattr(jobinput, "MOST_CELLS", 1_000_000)
    path = tmp_path / "bomb"
    pl.DataFrame({"unit": np.ones(2_000_000, dtype=np.int64), "time": np.arange(2_000_000)}).write_parquet(path)
    with pytest.raises(Problem, match="cells of one job"):
        read_input(path, "parquet", LAYOUTS.accepted(deployment.arms()))


def test_two_processes_never_take_one_job(tmp_path: Path) -> None:
    """On PostgreSQL, where writers do not wait for each other by themselves."""
    if reason := postgres_server.missing():
        pytest.skip(reason)
    from concurrent.futures import ThreadPoolExecutor

    with postgres_server.postgres_server() as url:
        opened = database.open(url.replace("postgresql://", "postgresql+psycopg://"))
        table = JobTable(opened)
        for i in range(20):
            table.add(f"job{i}", "scada", "csv", None, None)
        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(lambda i: table.claim(f"owner{i}", silent_s=60), range(30)))
        ids = [job.id for job in taken if job is not None]
        assert sorted(ids) == sorted(f"job{i}" for i in range(20))
        assert table.counts()["running"] == 20
        opened.dispose()
