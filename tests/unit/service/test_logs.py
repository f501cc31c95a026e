"""Log lines: ECS names, no secrets, levels that change while the service runs, and nobody is kept waiting."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wearcast.errors import UsageError
from wearcast.service import logs as module
from wearcast.service.logs import Logs, configure, get_logger
from wearcast.service.logwriter import LogWriter

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Lines]:
    """Configures the logs of this process into a file and gives what was written; puts everything back."""
    file = (tmp_path / "log").open("wb")
    logs = configure(descriptor=file.fileno())

    def written() -> list[dict[str, Any]]:
        assert logs.writer.flush()
        return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    yield written
    logs.close()
    file.close()


def current() -> Logs:
    assert module._current is not None
    return module._current


def test_when_the_logs_end_all_loggers_are_as_they_were(tmp_path: Path) -> None:
    root, ours = logging.getLogger(), logging.getLogger("wearcast")
    before = (list(root.handlers), root.level, ours.level)
    with (tmp_path / "log").open("wb") as file:
        logs = configure("debug", {"wearcast.service.logs": "error"}, descriptor=file.fileno())
        assert root.handlers != before[0]
        logs.close()
    assert (list(root.handlers), root.level, ours.level) == before
    assert logging.getLogger("wearcast.service.logs").level == logging.NOTSET


def test_a_line_is_told_once_where_the_command_line_has_a_handler_of_its_own(tmp_path: Path) -> None:
    """`wearcast serve` begins as any command: with warnings on stderr."""
    heard: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ours, handler = logging.getLogger("wearcast"), Handler()
    ours.addHandler(handler)
    try:
        with (tmp_path / "log").open("wb") as file:
            logs = configure(descriptor=file.fileno())
            logging.getLogger("wearcast.service.audit").warning("audit 1")
            logs.close()
        logging.getLogger("wearcast.service.audit").warning("after")
    finally:
        ours.removeHandler(handler)
    assert (tmp_path / "log").read_text().count("audit 1") == 1
    assert heard == ["after"]


def test_a_line_has_the_names_of_ecs(lines: Lines) -> None:
    get_logger("wearcast.service.deployment").info("models changed", **{"wearcast.model.version": "3"})
    (line,) = lines()
    assert line["@timestamp"].endswith("Z")
    assert line["log.level"] == "info"
    assert line["log.logger"] == "wearcast.service.deployment"
    assert line["message"] == "models changed"
    assert line["event.dataset"] == "wearcast.service"
    assert line["service.name"] == "wearcast"
    assert line["ecs.version"]
    assert line["wearcast.model.version"] == "3"


def test_the_standard_librarys_loggers_end_in_the_same_place(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    logging.getLogger("sqlalchemy.pool").warning("odd")
    assert [line["message"] for line in lines()] == ["Started server process [7]", "odd"]


def test_an_error_keeps_its_traceback(lines: Lines) -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        get_logger("wearcast.service.x").exception("it broke")
    (line,) = lines()
    assert line["log.level"] == "error"
    assert line["error.type"] == "ZeroDivisionError"
    assert "1 / 0" in line["error.stack_trace"]


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwbGFudCJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"refused {JWT}", JWT),
        (f"Authorization: Bearer {JWT}", "c2lnbmF0dXJl"),
        ("cannot open postgresql://me:hunter2@host/db", "hunter2"),
        ("GET /x?client_secret=hunter2&a=1", "hunter2"),
        ("Bearer abcdef0123456789", "abcdef0123456789"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(lines: Lines, text: str, secret: str) -> None:
    get_logger("wearcast.service.x").warning(text, detail=text)
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("wearcast.service.y").exception("failed")
    said = json.dumps(lines())
    assert secret not in said
    assert said.count("[hidden]") >= 3


def test_levels_hold_for_what_lies_below_and_change_while_it_runs(lines: Lines) -> None:
    logs, deployment = current(), get_logger("wearcast.service.deployment")
    bound = get_logger("wearcast.service.access").bind(a=1)
    deployment.debug("1")
    logs.change({"wearcast.service": "debug", "wearcast.service.access": "error"})
    deployment.debug("2")
    bound.info("3")
    assert logs.levels()["wearcast.service"] == "debug"
    logs.change({"wearcast.service": None, "wearcast.service.access": None})
    deployment.debug("4")
    bound.info("5")
    assert [line["message"] for line in lines()] == ["2", "5"]
    assert "wearcast.service" not in logs.levels()


@pytest.mark.parametrize("name", ["", "root", "sqlalchemy", "wearcast.service.deploiment", "wearcast.\nx", "a" * 1000])
def test_only_loggers_of_the_service_have_a_level(lines: Lines, name: str) -> None:
    get_logger("wearcast.service.deployment").info("so that it is known")
    with pytest.raises(UsageError, match="no logger of this name"):
        current().change({"wearcast": "debug", name: "debug"})
    assert current().levels()["wearcast"] == "info"


def test_a_slip_in_a_name_is_answered_with_the_nearest_one(lines: Lines) -> None:
    get_logger("wearcast.service.deployment").info("so that it is known")
    with pytest.raises(UsageError, match=r"did you mean 'wearcast\.service\.deployment'"):
        current().change({"wearcast.service.deploymnt": "debug"})


def test_console_lines_are_for_people(tmp_path: Path, lines: Lines) -> None:
    with (tmp_path / "console").open("wb") as file:
        logs = configure(form="console", descriptor=file.fileno())
        get_logger("wearcast.service.run").info("listening", **{"server.port": 8000})
        logs.close()
    (line,) = (tmp_path / "console").read_text().splitlines()
    assert line.endswith("info    service.run        listening  server.port=8000")


# ------------------------------------------------------------------ the writer


def test_when_nobody_reads_lines_are_dropped_and_counted_and_the_caller_goes_on() -> None:
    reader, descriptor = os.pipe()
    writer = LogWriter(descriptor, most=100)
    line = b"x" * 1000 + b"\n"
    began = time.monotonic()
    for _ in range(100):
        writer.write(line)
    while writer._lines:  # the pipe takes 64 KiB; the rest waits in the writer's hands
        time.sleep(0.005)
    for _ in range(150):
        writer.write(line)
    assert time.monotonic() - began < 2
    assert writer.dropped == 50
    received = bytearray()
    drain = threading.Thread(target=lambda: received.extend(_read(reader, 200 * len(line))))
    drain.start()
    assert writer.flush(10)
    drain.join(10)
    assert received == line * 200
    writer.close()
    os.close(descriptor)
    os.close(reader)


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(descriptor, size - len(data))
    return data


def test_a_reader_that_has_gone_costs_lines_and_not_the_service() -> None:
    reader, descriptor = os.pipe()
    os.close(reader)
    writer = LogWriter(descriptor)
    writer.write(b"nobody reads this\n")
    assert writer.flush()
    assert writer.dropped == 1
    writer.write(b"nor this\n")
    writer.close()
    assert writer.dropped == 2
    os.close(descriptor)


def test_lines_of_many_threads_come_whole_and_all(tmp_path: Path) -> None:
    file = (tmp_path / "log").open("wb")
    writer = LogWriter(file.fileno())

    def write(name: int) -> None:
        for i in range(500):
            writer.write(b"%d %d\n" % (name, i))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    file.close()
    found = (tmp_path / "log").read_text().splitlines()
    for name in range(6):
        assert [line for line in found if line.startswith(f"{name} ")] == [f"{name} {i}" for i in range(500)]
