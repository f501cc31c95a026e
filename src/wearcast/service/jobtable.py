"""Batch jobs as rows: who owns them, how far they are, and which process works on them.

Each change of state is one conditional update, so that two processes never work on one job and a cancelled one never
becomes done. A process says each second that it lives; a job whose process does not is taken up by another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Double, Engine, Integer, String, Table, Text

from wearcast.service.database import metadata, reading, writing

__all__ = ["ENDED", "STATES", "Job", "JobTable", "State"]

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = ("queued", "running", "done", "failed", "cancelled")
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")

_jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("client", String(256), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created", Double, nullable=False),
    Column("started", Double),
    Column("ended", Double),
    Column("expires", Double),
    Column("owner", String(128)),
    Column("beat", Double),
    Column("form", String(16), nullable=False),
    Column("model", String(512)),
    Column("every", Integer),
    Column("served", String(512)),
    Column("units", Integer),
    Column("units_done", Integer, nullable=False, default=0),
    Column("portions_done", Integer, nullable=False, default=0),
    Column("rows", BigInteger),
    Column("error", Text),
    sa.Index("jobs_by_state", "state", "created"),
    sa.Index("jobs_of_a_client", "client", "created"),
)


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        id: not to be guessed.
        client: who owns it.
        state: how far it is.
        created, started, ended, expires: seconds since 1970; the result is kept until `expires`.
        owner: the process that works on it.
        beat: when that process was last heard.
        form: of what was sent: json, arrow, parquet or csv.
        model: which model was asked for; None for the champion.
        every: step between forecasts.
        served: `NAME/VERSION#KEY` of the model that answers the whole job.
        units: how many there are; None before it was read.
        units_done: how many are forecast.
        portions_done: how many portions of the result are written.
        rows: of the result.
        error: why it failed, as a problem.
    """

    id: str
    client: str
    state: State
    created: float
    started: float | None
    ended: float | None
    expires: float | None
    owner: str | None
    beat: float | None
    form: str
    model: str | None
    every: int | None
    served: str | None
    units: int | None
    units_done: int
    portions_done: int
    rows: int | None
    error: str | None

    @property
    def problem(self) -> dict[str, Any] | None:
        """Why it failed."""
        return None if self.error is None else json.loads(self.error)


class JobTable:
    """The jobs of all processes of a service. May be used by several threads at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, id: str, client: str, form: str, model: str | None, every: int | None) -> Job:
        """A new job, queued."""
        row = {"id": id, "client": client, "state": "queued", "created": time(), "form": form, "model": model}
        with writing(self._engine) as connection:
            connection.execute(_jobs.insert().values(**row, every=every, units_done=0, portions_done=0))
        found = self.get(id)
        assert found is not None  # noqa: S101 - it was just written
        return found

    def get(self, id: str) -> Job | None:
        """A job by its id."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(_jobs).where(_jobs.c.id == id)).first()
        return None if row is None else Job(**row._mapping)

    def newest(self, client: str | None, *, before: str | None = None, limit: int = 100) -> list[Job]:
        """The newest jobs of a client, of all for None; or those that follow the job `before`."""
        query = sa.select(_jobs).order_by(_jobs.c.created.desc(), _jobs.c.id).limit(limit)
        if client is not None:
            query = query.where(_jobs.c.client == client)
        if before is not None:
            then = sa.select(_jobs.c.created).where(_jobs.c.id == before).scalar_subquery()
            later = sa.and_(_jobs.c.created == then, _jobs.c.id > before)
            query = query.where(sa.or_(_jobs.c.created < then, later))
        with reading(self._engine) as connection:
            return [Job(**row._mapping) for row in connection.execute(query)]

    def running(self) -> list[Job]:
        """Jobs that some process works on."""
        with reading(self._engine) as connection:
            return [
                Job(**row._mapping) for row in connection.execute(sa.select(_jobs).where(_jobs.c.state == "running"))
            ]

    def counts(self) -> dict[State, int]:
        """How many jobs there are in each state."""
        query = sa.select(_jobs.c.state, sa.func.count()).group_by(_jobs.c.state)
        with reading(self._engine) as connection:
            found = {state: int(count) for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in STATES}

    def waiting(self, client: str) -> tuple[int, int]:
        """How many jobs are not ended: of this client, and in all."""
        query = sa.select(_jobs.c.client, sa.func.count()).where(_jobs.c.state.in_(("queued", "running")))
        with reading(self._engine) as connection:
            by_client = {name: int(count) for name, count in connection.execute(query.group_by(_jobs.c.client))}
        return by_client.get(client, 0), sum(by_client.values())

    def claim(self, owner: str, *, silent_s: float) -> Job | None:
        """Take the oldest job that nobody works on; None if there is none.

        Args:
            owner: who takes it.
            silent_s: after which a process that was not heard is taken for dead.
        """
        now = time()
        dead = sa.and_(_jobs.c.state == "running", _jobs.c.beat < now - silent_s)
        free = sa.or_(_jobs.c.state == "queued", dead)
        with writing(self._engine, alone=True) as connection:
            id = connection.scalar(sa.select(_jobs.c.id).where(free).order_by(_jobs.c.created, _jobs.c.id).limit(1))
            if id is None:
                return None
            started = sa.func.coalesce(_jobs.c.started, now)
            connection.execute(
                _jobs.update().where(_jobs.c.id == id).values(state="running", owner=owner, beat=now, started=started)
            )
        return self.get(id)

    def update(self, id: str, owner: str, **values: Any) -> bool:
        """Note progress, and that the process lives; False if the job is not its any more, or cancelled."""
        return self._change(id, owner, {**values, "beat": time()})

    def end(self, id: str, owner: str, state: State, *, keep_s: float, error: Mapping[str, Any] | None = None) -> bool:
        """Let a job end; False if it is not this process's any more, or cancelled."""
        now = time()
        said = None if error is None else json.dumps(error)
        values = {"state": state, "ended": now, "expires": now + keep_s, "owner": None, "error": said}
        return self._change(id, owner, values)

    def give_back(self, id: str, owner: str) -> None:
        """Let somebody else go on with it."""
        self._change(id, owner, {"state": "queued", "owner": None})

    def _change(self, id: str, owner: str, values: Mapping[str, Any]) -> bool:
        ours = sa.and_(_jobs.c.id == id, _jobs.c.owner == owner, _jobs.c.state == "running")
        with writing(self._engine) as connection:
            return connection.execute(_jobs.update().where(ours).values(values)).rowcount == 1

    def cancel(self, id: str) -> bool:
        """Let a job that has not ended be cancelled; whether it was one."""
        now = time()
        open_ = sa.and_(_jobs.c.id == id, _jobs.c.state.in_(("queued", "running")))
        values = {"state": "cancelled", "ended": now, "expires": now, "owner": None}
        with writing(self._engine) as connection:
            return connection.execute(_jobs.update().where(open_).values(values)).rowcount == 1

    def forget(self, id: str) -> None:
        """Delete the row of a job."""
        with writing(self._engine) as connection:
            connection.execute(_jobs.delete().where(_jobs.c.id == id))

    def expired(self) -> list[str]:
        """Jobs whose result is kept no longer."""
        with reading(self._engine) as connection:
            return list(connection.scalars(sa.select(_jobs.c.id).where(_jobs.c.expires < time())))

    def sweep(self, *, older_s: float) -> None:
        """Delete the rows of jobs whose result went so long ago."""
        with writing(self._engine) as connection:
            connection.execute(_jobs.delete().where(_jobs.c.expires < time() - older_s))

    def ids(self) -> set[str]:
        """All of them."""
        with reading(self._engine) as connection:
            return set(connection.scalars(sa.select(_jobs.c.id)))
