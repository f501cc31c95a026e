"""Log lines of the service: one JSON object a line, with the field names of the Elastic Common Schema.

structlog and the standard library's loggers, so also uvicorn's, end in the same writer. Levels are those of the
standard library, so they hold for a module and what lies below it and can be changed while the service runs.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson
import structlog

from wearcast import __version__
from wearcast.errors import UsageError
from wearcast.service.logwriter import LogWriter

if TYPE_CHECKING:
    from wearcast.service.settings import LogLevel

__all__ = ["LEVELS", "Logs", "configure", "get_logger"]

Event = MutableMapping[str, Any]

LEVELS: tuple[LogLevel, ...] = ("debug", "info", "warning", "error")
_NUMBER = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "exception": 40, "critical": 50}
_NAME = re.compile(r"(wearcast|uvicorn)(\.[a-z_]+)*")
_ALWAYS = {"ecs.version": "8.11", "service.name": "wearcast", "service.version": __version__}

# What a message of others may hold by accident: tokens, the password of a URL, what is called a secret.
_SECRET = re.compile(
    rb"eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"
    rb"|(?<=://)[^/\s:@\"]*:[^/\s@\"]+(?=@)"
    rb"|(?i:(?<=bearer )[\w.~+/-]+=*)"
    rb"|(?i:(?<=secret=)[^\s&\"\\]+|(?<=password=)[^\s&\"\\]+|(?<=token=)[^\s&\"\\]+)"
)


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of a module of the service."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(name))


@dataclass(frozen=True)
class Logs:
    """The logs of the running process."""

    writer: LogWriter
    format: Literal["json", "console"] = "json"
    before: Mapping[str, int] = field(default_factory=dict)  # levels to go back to
    aside: tuple[logging.Handler, ...] = ()  # those of the command line: each line would be told twice

    def levels(self) -> dict[str, LogLevel]:
        """The loggers that have a level of their own; all others have that of the one above."""
        names = ["wearcast", "uvicorn", *sorted(logging.root.manager.loggerDict)]
        named = {name: logging.getLogger(name).level for name in names if _NAME.fullmatch(name)}
        return {name: _spoken(number) for name, number in named.items() if number}

    def change(self, levels: Mapping[str, LogLevel | None]) -> None:
        """Give loggers a level; None takes it away again.

        Raises:
            UsageError: no logger of the service has such a name.
        """
        for name in levels:
            _check_name(name)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(_NUMBER[level] if level is not None else _default(name))

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is here and end; the loggers are as they were before."""
        global _current  # noqa: PLW0603 - logging is a matter of the process
        self.writer.close(timeout_s)
        with _lock:
            if _current is not self:
                return
            _current = None
            root = logging.getLogger()
            for handler in [one for one in root.handlers if isinstance(one, _Handler)]:
                root.removeHandler(handler)
            for name in self.levels():
                logging.getLogger(name).setLevel(self.before.get(name, logging.NOTSET))
            for theirs in self.aside:
                logging.getLogger("wearcast").addHandler(theirs)
            root.setLevel(self.before.get("", logging.WARNING))
            structlog.reset_defaults()

    def emit(self, event: Event) -> None:
        """Write one event."""
        self.writer.write(_as_json(event) if self.format == "json" else _as_text(event))


def configure(
    level: LogLevel = "info",
    levels: Mapping[str, LogLevel] | None = None,
    *,
    form: Literal["json", "console"] = "json",
    descriptor: int | None = None,
) -> Logs:
    """Send all log lines of this process, structlog's and the standard library's, to stdout or a descriptor.

    Once a process; another call replaces the former logs, which are closed.
    """
    global _current  # noqa: PLW0603 - logging is a matter of the process
    if _current is not None:
        _current.close()
    root = logging.getLogger()
    before = {name: logging.getLogger(name).level for name in ("", "wearcast", "uvicorn")}
    ours = logging.getLogger("wearcast")
    aside = tuple(one for one in ours.handlers if not isinstance(one, logging.NullHandler))
    for handler in aside:
        ours.removeHandler(handler)
    with _lock:
        writer = LogWriter(sys.stdout.fileno() if descriptor is None else descriptor)
        _current = logs = Logs(writer, form, before, aside)
    root.addHandler(_Handler(logs))
    root.setLevel(logging.WARNING)
    for name in ("wearcast", "uvicorn"):
        logging.getLogger(name).setLevel(_NUMBER[level])
    logs.change(dict(levels or {}))
    structlog.configure(
        processors=[_wanted, structlog.contextvars.merge_contextvars, _finish],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=_Named,
        cache_logger_on_first_use=False,  # the lines of a request keep their own; others need not be that fast
    )
    return logs


_current: Logs | None = None
_lock = threading.Lock()


class _Named:
    """What structlog ends in: a name, whose level is asked, and the writer."""

    __slots__ = ("debug", "error", "info", "name", "stdlib", "warning")

    def __init__(self, name: str = "wearcast.service", *_: Any) -> None:
        self.name = name
        self.stdlib = logging.getLogger(name)
        for method in ("debug", "info", "warning", "error"):
            setattr(self, method, self.msg)

    critical = exception = fatal = log = property(lambda self: self.msg)

    def msg(self, event: Event) -> None:
        """Write a finished event."""
        logs = _current
        if logs is not None:
            logs.emit(event)


def _wanted(logger: _Named, method: str, event: Event) -> Event:
    if not logger.stdlib.isEnabledFor(_NUMBER[method]):
        raise structlog.DropEvent
    return event


def _finish(logger: _Named, method: str, event: Event) -> tuple[tuple[Event], dict[str, Any]]:
    """The event as ECS names it."""
    told: Event = {
        "@timestamp": datetime.now(UTC),
        "log.level": "error" if method in ("exception", "critical") else method,
        "message": event.pop("event", ""),
        "log.logger": logger.name,
    }
    problem = event.pop("exc_info", None)
    told.update(event)
    if problem:
        told.update(_error(problem))
    return (told,), {}


def _error(problem: Any) -> Event:
    error = sys.exc_info()[1] if problem is True else problem[1] if isinstance(problem, tuple) else problem
    if not isinstance(error, BaseException):
        return {}
    return {
        "error.type": type(error).__qualname__,
        "error.message": str(error),
        "error.stack_trace": "".join(traceback.format_exception(error)),
    }


class _Handler(logging.Handler):
    """Takes what the standard library's loggers say to the same place."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; what it was given beside the message stays out, nobody has looked at it."""
        event: Event = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC),
            "log.level": _spoken(record.levelno),
            "message": record.getMessage(),
            "log.logger": record.name,
        }
        if record.exc_info:
            event.update(_error(record.exc_info))
        self._logs.emit(event)


def _as_json(event: Event) -> bytes:
    event.setdefault("event.dataset", "wearcast.service")
    line = orjson.dumps(
        {**event, **_ALWAYS}, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
    )
    # A request's line is made of fields that are known; others may quote somebody.
    return line if event["event.dataset"] == "wearcast.access" else _SECRET.sub(b"[hidden]", line)


def _as_text(event: Event) -> bytes:
    at = cast("datetime", event["@timestamp"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    rest = " ".join(
        f"{name}={value}"
        for name, value in event.items()
        if name not in ("@timestamp", "log.level", "message", "log.logger", "event.dataset", "error.stack_trace")
    )
    trace = f"\n{event['error.stack_trace'].rstrip()}" if "error.stack_trace" in event else ""
    logger = str(event["log.logger"]).removeprefix("wearcast.")
    text = f"{at} {event['log.level']:<7} {logger:<18} {event['message']}  {rest}".rstrip() + trace + "\n"
    return _SECRET.sub(b"[hidden]", text.encode(errors="backslashreplace"))


def _spoken(number: int) -> LogLevel:
    return "error" if number >= 40 else "warning" if number >= 30 else "info" if number >= 20 else "debug"


def _default(name: str) -> int:
    """What a logger has when its own level is taken away: the roots of the service are never without one."""
    return logging.INFO if name in ("wearcast", "uvicorn") else logging.NOTSET


def _check_name(name: str) -> None:
    known = {"wearcast", "uvicorn"} | {one for one in logging.root.manager.loggerDict if _NAME.fullmatch(one)}
    known |= {module for module in sys.modules if _NAME.fullmatch(module)}
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known, n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else "such as 'wearcast', 'wearcast.service.deployment' or 'uvicorn'"
        )
        raise UsageError("no logger of this name", where=name[:80], hint=hint)
