"""The audit: nothing in it can be changed or taken out without being noticed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from wearcast.service import database
from wearcast.service.audit import Audit


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    opened = database.open(f"sqlite:///{tmp_path / 'service.sqlite'}")
    yield opened
    opened.dispose()


def fill(audit: Audit, count: int = 4) -> None:
    for i in range(count):
        audit.record("ops", "model.promote", f"pumps/{i}", origin="203.0.113.5", result="done", reason="better")


def by_hand(engine: sa.Engine, *statements: str) -> None:
    """What somebody with the database's password could do."""
    with database.writing(engine) as connection:
        for statement in ("DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete", *statements):
            connection.execute(sa.text(statement))


def test_an_act_is_written_down_in_full(engine: sa.Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "wearcast.service.audit")
    entry = Audit(engine).record("ops", "model.rollback", "pumps", origin="::1", result="failed", reason="no version")
    assert Audit(engine).entries() == [entry]
    assert (entry.number, entry.who, entry.act, entry.subject) == (1, "ops", "model.rollback", "pumps")
    assert (entry.origin, entry.result, entry.reason) == ("::1", "failed", "no version")
    assert entry.time.endswith("+00:00")
    assert caplog.messages == [f"audit 1: ops model.rollback pumps from ::1: failed, no version ({entry.hash})"]


def test_a_whole_record_is_whole(engine: sa.Engine) -> None:
    audit = Audit(engine)
    assert audit.verify() == []
    fill(audit)
    assert audit.verify() == []
    last = audit.entries()[-1]
    assert audit.verify(number=4, hash=last.hash) == []
    assert [entry.number for entry in audit.entries(after=1, limit=2)] == [2, 3]


@pytest.mark.parametrize("statement", ["UPDATE audit SET who = 'x'", "DELETE FROM audit WHERE number = 1"])
def test_the_database_takes_nothing_back(engine: sa.Engine, statement: str) -> None:
    fill(Audit(engine))
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.writing(engine) as connection:
        connection.execute(sa.text(statement))
    assert Audit(engine).verify() == []


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE audit SET who = 'nobody' WHERE number = 2", "entry 2 was changed, or what lies before it"),
        ("UPDATE audit SET result = 'refused' WHERE number = 4", "entry 4 was changed, or what lies before it"),
        ("DELETE FROM audit WHERE number = 2", "entries 2 to 2 are missing"),
        ("DELETE FROM audit WHERE number < 3", "entries 1 to 2 are missing"),
    ],
)
def test_what_was_done_to_it_all_the_same_is_noticed(engine: sa.Engine, statement: str, told: str) -> None:
    audit = Audit(engine)
    fill(audit)
    by_hand(engine, statement)
    assert audit.verify()[0] == told


def test_closing_a_gap_does_not_help(engine: sa.Engine) -> None:
    audit = Audit(engine)
    fill(audit)
    by_hand(engine, "DELETE FROM audit WHERE number = 2", "UPDATE audit SET number = number - 1 WHERE number > 2")
    assert audit.verify()


def test_what_is_missing_at_the_end_is_known_from_the_log(engine: sa.Engine) -> None:
    audit = Audit(engine)
    fill(audit)
    last = audit.entries()[-1]
    by_hand(engine, "DELETE FROM audit WHERE number = 4")
    assert audit.verify() == []  # the chain alone cannot know
    assert audit.verify(number=4, hash=last.hash) == ["entries 4 to 4 are missing at the end"]
    audit.record("ops", "model.promote", "other", origin="::1", result="done")
    assert audit.verify(number=4, hash=last.hash) == ["entry 4 is another one than the log told"]


def test_many_at_once_stand_in_one_chain(engine: sa.Engine) -> None:
    audit = Audit(engine)
    threads = [threading.Thread(target=fill, args=(audit, 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.number for entry in audit.entries()] == list(range(1, 41))
    assert audit.verify() == []


def test_text_of_others_cannot_forge_a_line(engine: sa.Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "wearcast.service.audit")
    audit = Audit(engine)
    entry = audit.record("ops\naudit 9: x", "a" * 100, "p\x1b[2J" * 400, origin="o" * 90, result="done")
    assert "\n" not in entry.who
    assert (len(entry.act), len(entry.subject), len(entry.origin)) == (64, 512, 64)
    audit.record("ops", "model.promote", "pumps", origin="::1", result="done", reason="line\nbreak \ud800")
    assert audit.verify() == []
    assert all("\n" not in message for message in caplog.messages)
