"""What the service refuses, as RFC 9457 problem details: one table of kinds, one exception, one handler.

A problem says *what* is wrong (`detail`), and for each fault *where* in the request it is and *how to mend it*
(`errors`). It never holds a path of this machine, a traceback or a value that could be a secret.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from wearcast.errors import (
    BundleError,
    ConfigError,
    DataError,
    FormatError,
    MissingExtraError,
    NoRegistryError,
    NotRegisteredError,
    RegistryError,
    RegistryUnavailableError,
    UsageError,
    WearcastError,
)

__all__ = ["KINDS", "MEDIA_TYPE", "Fault", "Kind", "Problem", "answer", "from_error", "install", "respond"]

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger("wearcast.service.problems")


@dataclass(frozen=True)
class Kind:
    """A kind of problem: its status, and its title, which is the same each time."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = {
    # the request cannot be read
    "bad-json": Kind(400, "The body is not JSON"),
    "bad-arrow": Kind(400, "The body is not an Arrow stream that is read here"),
    "bad-request": Kind(400, "The request cannot be understood"),
    "not-acceptable": Kind(406, "None of the accepted formats can be given"),
    "body-too-large": Kind(413, "The body is larger than allowed"),
    "headers-too-large": Kind(431, "The headers are larger than allowed"),
    "too-much": Kind(413, "More units, rows or forecasts than one request may have"),
    "unsupported-media-type": Kind(415, "This format of the body is not read here"),
    # it can be read and is wrong
    "bad-input": Kind(422, "The request holds a wrong value"),
    "wrong-columns": Kind(422, "The columns are not those of the model"),
    "readings-from-the-future": Kind(422, "A reading is from the future"),
    "unusable": Kind(422, "The model cannot forecast from these readings"),
    # it is right and does not fit the state
    "not-found": Kind(404, "There is nothing here"),
    "unknown-model": Kind(404, "There is no such model here"),
    "unknown-version": Kind(404, "There is no such version in the registry"),
    "unknown-unit": Kind(404, "There is no such unit here"),
    "unknown-job": Kind(404, "There is no such job here"),
    "result-gone": Kind(410, "The result is kept no longer"),
    "method-not-allowed": Kind(405, "This method is not for this path"),
    "conflict": Kind(409, "The request contradicts what is stored"),
    "readings-changed": Kind(409, "A reading differs from the one that is stored for its time"),
    "readings-out-of-order": Kind(409, "A reading is older than the last one that is stored"),
    "history-differs": Kind(409, "The stored history does not fit the model or the request"),
    "history-full": Kind(409, "No more readings of this unit can be kept"),
    # who asks
    "unauthorized": Kind(401, "A valid access token is needed"),
    "forbidden": Kind(403, "The access token does not allow this"),
    "too-many-requests": Kind(429, "More requests than this client may make"),
    # the service cannot answer now
    "overloaded": Kind(503, "The service has more to do than it can queue"),
    "unavailable": Kind(503, "The service cannot answer now"),
    "no-model": Kind(503, "No model is loaded"),
    "storage-full": Kind(507, "There is no room for this now"),
    "timed-out": Kind(504, "The forecast was not ready in time"),
    "internal": Kind(500, "The service failed"),
    "not-installed": Kind(501, "A part of the service is not installed"),
}
"""Every kind of problem by its slug; the type of a problem is `/problems/<slug>`."""

_BY_STATUS = {400: "bad-request", 401: "unauthorized", 403: "forbidden", 404: "not-found", 405: "method-not-allowed",
              406: "not-acceptable", 413: "body-too-large", 415: "unsupported-media-type", 422: "bad-input",
              429: "too-many-requests", 503: "unavailable", 504: "timed-out"}  # fmt: skip

MOST_FAULTS = 20
"""Faults that are told at once."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        where: a place in the request, such as `units[3].columns.flow[17]`.
        what: what is wrong there.
        hint: how to mend it.
    """

    where: str
    what: str
    hint: str | None = None


@dataclass
class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """Something that a request is refused for.

    Attributes:
        slug: one of `KINDS`.
        detail: what is wrong this time.
        faults: places in the request.
        retry_after_s: when the same request may work.
        headers: further headers of the answer.
    """

    slug: str
    detail: str
    faults: Sequence[Fault] = ()
    retry_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.slug, self.detail)

    @classmethod
    def at(cls, slug: str, where: str, what: str, hint: str | None = None) -> Problem:
        """A problem with one fault."""
        return cls(slug, f"{where}: {what}", (Fault(where, what, hint),))

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.slug].status

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """The problem as RFC 9457 writes it."""
        kind = KINDS[self.slug]
        content: dict[str, Any] = {
            "type": f"/problems/{self.slug}",
            "title": kind.title,
            "status": kind.status,
            "detail": printable(self.detail),
        }
        if request_id is not None:
            content["instance"] = request_id
        if self.faults:
            content["errors"] = [_fault(fault) for fault in self.faults[:MOST_FAULTS]]
        return content


def printable(text: str, longest: int = 500) -> str:
    """Text of a request as it may be shown: no control characters, not endless."""
    clean = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]", "\N{REPLACEMENT CHARACTER}", text)
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"


def _fault(fault: Fault) -> dict[str, str]:
    told = {"where": printable(fault.where, 300), "what": printable(fault.what)}
    return told if fault.hint is None else {**told, "hint": printable(fault.hint)}


def respond(problem: Problem, request_id: str | None = None) -> Response:
    """The answer to a request that is refused."""
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(problem.retry_after_s)))
    return Response(orjson.dumps(problem.body(request_id)), problem.status, headers, MEDIA_TYPE)


# The first that fits; where no text is given the error's own is told, without paths.
_OF_ERROR: tuple[tuple[type[WearcastError], str, str | None, float | None], ...] = (
    (RegistryUnavailableError, "unavailable", "the model registry does not answer", 5),
    (NoRegistryError, "unavailable", "the model registry cannot be read", 30),
    (NotRegisteredError, "unknown-version", None, None),
    (RegistryError, "conflict", None, None),
    (BundleError, "unavailable", "the model cannot be used", 30),
    (MissingExtraError, "not-installed", None, None),
    (ConfigError, "internal", "the service failed; the log says why", None),
    (UsageError, "bad-input", None, None),
    (FormatError, "bad-request", None, None),
    (DataError, "unusable", None, None),
    (WearcastError, "internal", "the service failed; the log says why", None),
)


def from_error(error: WearcastError) -> Problem:
    """One of Wearcast's errors as a problem; what it says of files of this machine stays here."""
    if type(error).__name__ == "OutsideDownError":  # of a room above this one
        retry_after_s = getattr(error, "retry_after_s", 5.0)
        return Problem("unavailable", "a service that is needed for this does not answer", retry_after_s=retry_after_s)
    _, slug, text, retry_after_s = next(row for row in _OF_ERROR if isinstance(error, row[0]))
    if text is not None:
        return Problem(slug, text, retry_after_s=retry_after_s)
    return Problem(slug, _without_paths(error.what), _faults(error))


def _faults(error: WearcastError) -> tuple[Fault, ...]:
    hint = None if error.hint is None else _without_paths(error.hint)
    where = _without_paths(error.where or "request").removesuffix(": …")
    return (Fault(where, _without_paths(error.what), hint),)


_PATH = re.compile(r"(?:file:/*|[A-Za-z]:\\|/)(?:[\w.@~+-]+[/\\])+[\w.@~+-]*")


def _without_paths(text: str) -> str:
    return _PATH.sub("…", text)


def install(app: Any) -> None:
    """Let an application (FastAPI or Starlette) answer every exception as a problem."""
    from pydantic import ValidationError

    # A route's own reading of its body raises pydantic's error, not FastAPI's around it.
    for error in (Problem, WearcastError, HTTPException, ValidationError, Exception):
        app.add_exception_handler(error, answer)
    try:
        from fastapi.exceptions import RequestValidationError
    except ImportError:
        return
    app.add_exception_handler(RequestValidationError, answer)


async def answer(request: Request, error: Exception) -> Response:
    """The one handler: whatever was raised, as a problem."""
    return respond(as_problem(error), request.scope.get("state", {}).get("request_id"))


def as_problem(error: Exception) -> Problem:
    """Any exception as a problem; one that nobody foresaw is logged whole and told as `internal`."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, WearcastError):
        problem = from_error(error)
        if problem.status >= 500:
            _LOG.error("request failed: %s", error, exc_info=error)
        return problem
    if isinstance(error, HTTPException):
        slug = _BY_STATUS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
        detail = str(error.detail) if error.status_code < 500 else KINDS[slug].title
        return Problem(slug, detail, headers=error.headers or {})
    if (told := _told_by_pydantic(error)) is not None:
        return told
    _LOG.error("request failed", exc_info=error)
    return Problem("internal", "the service failed; the log says why")


def _told_by_pydantic(error: Exception) -> Problem | None:
    """A validation error of pydantic, or of FastAPI around it."""
    if type(error).__name__ not in ("RequestValidationError", "ValidationError"):
        return None
    listed: Iterable[Mapping[str, Any]] = error.errors()  # type: ignore[attr-defined]
    faults = tuple(_pydantic_fault(one) for one in listed)
    if any(fault[0] == "json_invalid" for fault in faults):
        return Problem("bad-json", faults[0][1].what, (faults[0][1],))
    first = faults[0][1]
    return Problem("bad-input", f"{first.where}: {first.what}", tuple(fault for _, fault in faults))


def _pydantic_fault(one: Mapping[str, Any]) -> tuple[str, Fault]:
    steps = [step for step in one.get("loc", ()) if step != "body"]
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".") or "body"
    return str(one.get("type")), Fault(where, str(one.get("msg", "wrong value")))
