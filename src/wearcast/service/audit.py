"""Who did what to the service: an append-only table and a log line for each act of an administrator.

Each row holds the hash of the row before it, so that a row that was changed or taken out is noticed by `verify`, and
the database refuses both of its own. Whoever owns the database could write the whole chain anew; against that, the log
line carries number and hash of each row to where the logs are kept.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import Column, Engine, Integer, String, Table, Text

from wearcast.service.database import metadata, reading, writing

__all__ = ["Audit", "Entry", "Result"]

Result = Literal["done", "refused", "failed"]

_LOG = logging.getLogger("wearcast.service.audit")
_FIRST = "0" * 64
_PAGE = 1_000

_audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("time", String(32), nullable=False),
    Column("who", String(256), nullable=False),
    Column("act", String(64), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("origin", String(64), nullable=False),
    Column("result", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("hash", String(64), nullable=False),
)

for _act in ("UPDATE", "DELETE"):
    sa.event.listen(
        _audit,
        "after_create",
        sa.DDL(  # type: ignore[no-untyped-call]
            f"CREATE TRIGGER audit_no_{_act.lower()} BEFORE {_act} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        ).execute_if(dialect="sqlite"),
    )
sa.event.listen(
    _audit,
    "after_create",
    sa.DDL(  # type: ignore[no-untyped-call]
        "CREATE FUNCTION wearcast_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$; "
        "CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION wearcast_audit_is_append_only()"
    ).execute_if(dialect="postgresql"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One act.

    Attributes:
        number: from 1, without gaps.
        time: UTC, ISO 8601.
        who: the client, or the user of the machine for acts by command line.
        act: such as `model.promote`, `client.create`.
        subject: what it was done to.
        origin: the address it came from, or `command line`.
        reason: what whoever did it gave as the reason, or why it failed.
        hash: over this row and the hash of the one before.
    """

    number: int
    time: str
    who: str
    act: str
    subject: str
    origin: str
    result: Result
    reason: str
    hash: str


class Audit:
    """The record of them. Synchronous: call it from a thread on a route."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, who: str, act: str, subject: str, *, origin: str, result: Result, reason: str = "") -> Entry:
        """Write down one act; several processes wait for one another."""
        with writing(self._engine, alone=True) as connection:
            last = connection.execute(
                sa.select(_audit.c.number, _audit.c.hash).order_by(_audit.c.number.desc()).limit(1)
            ).first()
            number, before = (1, _FIRST) if last is None else (last.number + 1, last.hash)
            time = datetime.now(UTC).isoformat(timespec="milliseconds")
            told = (
                time,
                _cut(who, 256),
                _cut(act, 64),
                _cut(subject, 512),
                _cut(origin, 64),
                result,
                _cut(reason, 4_096),
            )
            entry = Entry(number, *told, _hash(before, number, *told))
            connection.execute(_audit.insert().values(**asdict(entry)))
        _LOG.info(
            "audit %d: %s %s %s from %s: %s%s (%s)",
            *(number, entry.who, entry.act, entry.subject, entry.origin, result, f", {entry.reason}" if reason else ""),
            entry.hash,
        )
        return entry

    def entries(self, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """Acts in the order in which they were done."""
        query = sa.select(_audit).where(_audit.c.number > after).order_by(_audit.c.number).limit(limit)
        with reading(self._engine) as connection:
            return [Entry(**row._mapping) for row in connection.execute(query)]

    def verify(self, *, number: int = 0, hash: str | None = None) -> list[str]:
        """What is wrong with the record; nothing if it is whole.

        Args:
            number: of an entry that a log line told; with `hash`, what lies at the end is checked as well.
            hash: of that entry.
        """
        found: list[str] = []
        before, expected = _FIRST, 1
        while page := self.entries(after=expected - 1, limit=_PAGE):
            for entry in page:
                found += _complaints(entry, expected, before)
                if entry.number == number and hash is not None and entry.hash != hash:
                    found.append(f"entry {number} is another one than the log told")
                before, expected = entry.hash, entry.number + 1
        if number >= expected:
            found.append(f"entries {expected} to {number} are missing at the end")
        return found


def _complaints(entry: Entry, expected: int, before: str) -> Sequence[str]:
    if entry.number != expected:
        return [f"entries {expected} to {entry.number - 1} are missing"]
    told = (entry.time, entry.who, entry.act, entry.subject, entry.origin, entry.result, entry.reason)
    if entry.hash != _hash(before, entry.number, *told):
        return [f"entry {entry.number} was changed, or what lies before it"]
    return []


def _hash(before: str, number: int, *told: str) -> str:
    return sha256(json.dumps([before, number, *told], ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def _cut(text: str, longest: int) -> str:
    """Text that fits its column and one log line."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:longest])
