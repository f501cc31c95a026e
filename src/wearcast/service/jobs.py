"""Batch jobs: many units, forecast behind the requests, a portion at a time, to be fetched later.

One version of a model answers a whole job, whatever is promoted meanwhile. What is written survives the process: after
a restart a job goes on behind its last portion, if the same version is loaded, and begins anew if it is not.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from wearcast.errors import WearcastError
from wearcast.service.jobfiles import BODY, JobFiles, ResultForm, whole
from wearcast.service.jobinput import InputForm, count_units, portions, read_input, units_of
from wearcast.service.jobtable import ENDED, Job, JobTable
from wearcast.service.logs import get_logger
from wearcast.service.niceness import step_back
from wearcast.service.problems import Problem, from_error
from wearcast.service.scoring import forecast

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Engine

    from wearcast.service.answers import Scored
    from wearcast.service.deployment import Deployment
    from wearcast.service.layout import Layouts
    from wearcast.service.served import Served

__all__ = ["JobLimits", "Jobs"]

log = get_logger("wearcast.service.jobs")


@dataclass(frozen=True)
class JobLimits:
    """How many jobs, how large, and how long they are kept.

    Attributes:
        at_once: jobs that one process works on at the same time.
        waiting: jobs of all clients that are not ended.
        of_a_client: of one client.
        body_bytes: of what is sent.
        budget_bytes: of the disk, for all jobs together.
        keep_s: how long a result is kept.
        silent_s: after which a process that was not heard is taken for dead.
        poll_s: how often somebody looks for a job.
    """

    at_once: int = 1
    waiting: int = 100
    of_a_client: int = 20
    body_bytes: int = 256 * 2**20
    budget_bytes: int = 4 * 2**30
    keep_s: float = 24 * 3600.0
    silent_s: float = 30.0
    poll_s: float = 1.0


class _Given(Exception):  # noqa: N818 - no error: somebody else goes on with the job, or nobody
    pass


class Jobs:
    """The batch jobs of a service.

    Args:
        folder: of their files.
        engine: of the database.
        deployment: which models answer.
        layouts: of the models.
        limits: how many and how large.
        busy: requests that wait for the model now; jobs stand back for them.
    """

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        deployment: Deployment,
        layouts: Layouts,
        *,
        limits: JobLimits | None = None,
        busy: Callable[[], int] = lambda: 0,
    ) -> None:
        self.limits = limits or JobLimits()
        self._files = JobFiles(folder, self.limits.budget_bytes)
        self._table = JobTable(engine)
        self._deployment = deployment
        self._layouts = layouts
        self._busy = busy
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"  # a number may come again
        self._closed = threading.Event()
        self._new = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._counts: Mapping[str, int] = {}

    async def start(self) -> None:
        """Look for jobs from now on."""
        await asyncio.to_thread(self._prepare)
        for number in range(self.limits.at_once):
            thread = threading.Thread(target=self._work, name=f"wearcast-jobs-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    async def stop(self) -> None:
        """Finish the batch at hand and give the job back; another process, or this one later, goes on with it."""
        self._closed.set()
        for _ in self._threads:
            self._new.release()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 30)

    def counts(self) -> Mapping[str, int]:
        """How many jobs there are in each state, as of about a second ago; from memory."""
        return self._counts

    def _prepare(self) -> None:
        self._files.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._files.remove_strays(self._table.ids(), older_s=3_600, now=time())
        for job in self._table.running():
            if job.owner is not None and _is_dead(job.owner):
                self._table.give_back(job.id, job.owner)
        self._counts = cast("Mapping[str, int]", self._table.counts())

    # ------------------------------------------------------------------ what clients do

    async def submit(
        self,
        client: str,
        body: AsyncIterator[bytes],
        form: InputForm,
        *,
        model: str | None = None,
        every: int | None = None,
    ) -> Job:
        """Take what a client sends and queue it.

        Raises:
            Problem: `unknown-model`; `too-many-requests`, `overloaded`: too many jobs; `body-too-large`;
                `storage-full`.
        """
        self._deployment.named(model)
        await asyncio.to_thread(self._check_number, client)
        await asyncio.to_thread(self._files.check_room, 0)
        id = secrets.token_hex(16)
        try:
            await self._spool(id, body)
            job = await asyncio.to_thread(self._table.add, id, client, form, model, every)
        except BaseException:
            self._files.remove(id)
            raise
        self._new.release()
        return job

    def _check_number(self, client: str) -> None:
        ours, all_ = self._table.waiting(client)
        if ours >= self.limits.of_a_client:
            raise Problem("too-many-requests", f"{ours} of your jobs are not done yet", retry_after_s=30)
        if all_ >= self.limits.waiting:
            raise Problem("overloaded", f"{all_} jobs are not done yet", retry_after_s=60)

    async def _spool(self, id: str, body: AsyncIterator[bytes]) -> None:
        folder = self._files.of(id)
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True)
        size, room = 0, self.limits.budget_bytes - await asyncio.to_thread(self._files.used)
        with whole(folder / BODY) as path, path.open("wb") as file:
            async for chunk in body:
                size += len(chunk)
                if size > self.limits.body_bytes:
                    what = f"more than the {self.limits.body_bytes} bytes of one job"
                    raise Problem("body-too-large", what)
                if size > room:
                    raise Problem("storage-full", "there is no room for this job now", retry_after_s=600)
                if len(chunk) > 1 << 16:
                    await asyncio.to_thread(file.write, chunk)
                else:
                    file.write(chunk)

    async def get(self, id: str, client: str | None) -> Job:
        """A job of this client; of anybody for None.

        Raises:
            Problem: `unknown-job`, also for somebody else's.
        """
        job = await asyncio.to_thread(self._table.get, id[:64])
        if job is None or (client is not None and job.client != client):
            raise Problem("unknown-job", "there is no such job of yours")
        return job

    async def newest(self, client: str | None, *, before: str | None, limit: int) -> list[Job]:
        """The newest jobs of this client, of all for None; or those that follow the job `before`."""
        return await asyncio.to_thread(self._table.newest, client, before=before, limit=limit)

    async def cancel(self, id: str, client: str | None) -> Job | None:
        """Cancel a job that has not ended; one that has is forgotten, with its result.

        Returns:
            The cancelled job; None if it was forgotten.

        Raises:
            Problem: `unknown-job`.
        """
        await self.get(id, client)
        cancelled = await asyncio.to_thread(self._table.cancel, id)
        await asyncio.to_thread(self._files.remove, id)
        if cancelled:
            return await self.get(id, client)
        await asyncio.to_thread(self._table.forget, id)
        return None

    async def result(self, id: str, client: str | None, form: ResultForm) -> Path:
        """The file of a result.

        Raises:
            Problem: `unknown-job`; `conflict`: there is none (yet); `result-gone`; `storage-full`.
        """
        job = await self.get(id, client)
        if job.state != "done":
            retry = 1.0 if job.state in ("queued", "running") else None
            raise Problem("conflict", f"the job is {job.state}: there is no result", retry_after_s=retry)
        path = await asyncio.to_thread(self._files.result, id, form)
        if path is None:
            raise Problem("result-gone", f"results are kept for {self.limits.keep_s / 3600:g} hours")
        return path

    # ------------------------------------------------------------------ the threads

    def _work(self) -> None:
        step_back()
        swept = 0.0
        while not self._closed.is_set():
            job = None
            try:
                if monotonic() - swept > 60:
                    self._sweep()
                    swept = monotonic()
                job = self._table.claim(self._owner, silent_s=self.limits.silent_s) if self._deployment.ready else None
                if job is not None:
                    self._run(job)
                self._counts = cast("Mapping[str, int]", self._table.counts())
            except sa.exc.SQLAlchemyError as error:
                log.error("jobs wait: the database fails", error=type(error).__name__)
                self._closed.wait(self.limits.poll_s)
            if job is None:
                self._new.acquire(timeout=self.limits.poll_s)

    def _sweep(self) -> None:
        for id in self._table.expired():
            self._files.remove(id)
        self._table.sweep(older_s=7 * self.limits.keep_s)

    def _run(self, job: Job) -> None:
        log.info("job begins", job=job.id, attempt_from=job.portions_done)
        try:
            self._compute(job)
        except _Given:
            return
        except Problem as problem:
            self._fail(job, problem)
        except WearcastError as error:
            self._fail(job, from_error(error))
        except sa.exc.SQLAlchemyError:
            raise  # the job is taken up again when the database answers
        except Exception:
            log.exception("job failed", job=job.id)
            self._fail(job, Problem("internal", "the service failed; the log says why"))

    def _fail(self, job: Job, problem: Problem) -> None:
        log.warning("job failed", job=job.id, problem=problem.slug)
        self._table.end(job.id, self._owner, "failed", keep_s=self.limits.keep_s, error=problem.body())
        self._files.drop_parts(job.id)

    def _compute(self, job: Job) -> None:
        job, table = self._read(job)
        served, begin = self._pinned(job)
        accepted = self._layouts.accepted((served,))
        todo = list(portions(table))
        done = sum(portion.units for portion in todo[:begin])
        self._beat(job, units=count_units(table), units_done=done, portions_done=begin)
        for portion in todo[begin:]:
            made: list[Scored] = []
            for units in units_of(table, portion, accepted):
                self._stand_back(job)
                layout = self._layouts.of(served)
                layout.check(units, served.reference)
                made.append(forecast(served, units, layout, job.every))
                done += len(units)
                self._beat(job, units_done=done)
            self._files.check_room(0)
            self._files.write_part(job.id, portion.number, made)
            self._beat(job, portions_done=portion.number + 1)
        self._files.join(job.id, len(todo))
        if not self._table.end(job.id, self._owner, "done", keep_s=self.limits.keep_s):
            self._files.remove(job.id)
            raise _Given
        log.info("job done", job=job.id, units=done, model=served.reference)

    def _read(self, job: Job) -> tuple[Job, pl.DataFrame]:
        """What was sent, as a table, read now or in an earlier life."""
        table = self._files.read_input(job.id)
        if table is None:
            body = self._files.of(job.id) / BODY
            if not body.exists():
                raise Problem("internal", "what was sent is there no more")
            accepted = self._layouts.accepted(self._deployment.arms())
            table, model, every = read_input(body, cast("InputForm", job.form), accepted)
            self._beat(job, model=job.model or model, every=job.every or every)
            self._files.write_input(job.id, table)
            job = self._table.get(job.id) or job
        return job, table

    def _pinned(self, job: Job) -> tuple[Served, int]:
        """The model of the job, and how many portions it has written already."""
        served = self._deployment.named(job.model)
        name = f"{served.reference}#{served.key}"
        if job.served is not None:
            pinned = next((arm for arm in self._deployment.arms() if f"{arm.reference}#{arm.key}" == job.served), None)
            if pinned is not None:
                return pinned, min(job.portions_done, self._files.parts(job.id))
        self._files.drop_parts(job.id)  # another version: one version answers a whole job
        self._beat(job, served=name, portions_done=0, units_done=0)
        return served, 0

    def _beat(self, job: Job, **values: Any) -> None:
        """Note progress; stop where the job is cancelled or somebody else's."""
        if not self._table.update(job.id, self._owner, **values):
            if (found := self._table.get(job.id)) is None or found.state in ENDED:
                self._files.remove(job.id)
            raise _Given

    def _stand_back(self, job: Job) -> None:
        """Let requests go first, for a while; leave where the process ends."""
        until = monotonic() + 1.0
        while self._busy() and monotonic() < until and not self._closed.is_set():
            self._closed.wait(0.002)
        if self._closed.is_set():
            self._table.give_back(job.id, self._owner)
            raise _Given


def _is_dead(owner: str) -> bool:
    """Whether an owner was a process of this machine that is there no more; where that is not known, it lives."""
    host, number, _ = owner.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    if int(number) == os.getpid():
        return True  # an earlier life: in a container each has the number 1
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
