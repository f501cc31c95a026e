"""Whatever goes wrong is one form of answer, says how to mend it, and nothing of this machine."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from wearcast.errors import (
    BundleCorruptError,
    ConfigError,
    FleetError,
    FormatError,
    MissingExtraError,
    RegistryError,
    RegistryUnavailableError,
    UsageError,
    WearcastError,
)
from wearcast.service.outside import OutsideDownError
from wearcast.service.problems import KINDS, MEDIA_TYPE, Fault, Problem, answer, as_problem, respond


def told(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of the answer to an exception."""
    request = Request({"type": "http", "headers": [], "state": {"request_id": "r1"}})
    response = asyncio.run(answer(request, error))
    assert response.media_type == MEDIA_TYPE
    return response.status_code, json.loads(bytes(response.body)), dict(response.headers)


def test_a_problem_says_where_and_how() -> None:
    problem = Problem("bad-input", "wrong", [Fault("units[0]", "it is wrong", "mend it"), Fault("b", "too")])
    status, body, _ = told(problem)
    assert status == 422
    assert body == {
        "type": "/problems/bad-input",
        "title": KINDS["bad-input"].title,
        "status": 422,
        "detail": "wrong",
        "instance": "r1",
        "errors": [{"where": "units[0]", "what": "it is wrong", "hint": "mend it"}, {"where": "b", "what": "too"}],
    }


def test_when_to_come_again() -> None:
    for seconds, header in ((0.2, "1"), (2.1, "3")):
        assert respond(Problem("overloaded", "full", retry_after_s=seconds)).headers["retry-after"] == header
    assert "retry-after" not in respond(Problem("bad-input", "no")).headers
    assert respond(Problem("unauthorized", "who", headers={"www-authenticate": "Bearer"})).headers["www-authenticate"]


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (FleetError("no"), 422, "unusable"),
        (FormatError("no"), 400, "bad-request"),
        (UsageError("no"), 422, "bad-input"),
        (ConfigError("no"), 500, "internal"),
        (MissingExtraError("no"), 501, "not-installed"),
        (RegistryError("no"), 409, "conflict"),
        (RegistryUnavailableError("no"), 503, "unavailable"),
        (BundleCorruptError("no"), 503, "unavailable"),
        (OutsideDownError("redis", "no", retry_after_s=7.0), 503, "unavailable"),
        (WearcastError("no"), 500, "internal"),
        (HTTPException(404, "no"), 404, "not-found"),
        (HTTPException(405), 405, "method-not-allowed"),
        (HTTPException(418), 400, "bad-request"),
        (HTTPException(500, "secret"), 500, "internal"),
        (ZeroDivisionError("secret"), 500, "internal"),
    ],
)
def test_every_error_has_its_status(error: Exception, status: int, slug: str) -> None:
    found, body, headers = told(error)
    assert (found, body["type"]) == (status, f"/problems/{slug}")
    assert "secret" not in json.dumps(body)
    assert (status == 503) == ("retry-after" in headers)


def test_nothing_of_this_machine_is_told(caplog: pytest.LogCaptureFixture) -> None:
    where = "/srv/wearcast/models/pumps/bundle.json"
    with caplog.at_level(logging.ERROR):
        for error in (
            FleetError(f"cannot read {where}", where=where, hint=f"look at {where}"),
            RegistryError("half-written", where=f"sqlite:///{where}"),
            BundleCorruptError("changed", where=where),
            OSError(2, "No such file", where),
        ):
            assert "srv" not in json.dumps(told(error)[1])
    assert where in caplog.text  # the log says it to those who may know


def test_text_of_a_request_is_shown_harmless() -> None:
    nasty = "a\x00\x1b[2J\u202e\ud800" + "x" * 1_000
    _, body, _ = told(Problem.at("bad-input", nasty, nasty, nasty))
    for text in (body["detail"], *body["errors"][0].values()):
        assert len(text) <= 500
        assert all(one.isprintable() for one in text)
    many = Problem("bad-input", "all", [Fault(str(i), "x") for i in range(1_000)])
    assert len(many.body()["errors"]) == 20


def test_validation_of_pydantic_is_told_with_its_places() -> None:
    class Inner(BaseModel):
        share: float

    class Outer(BaseModel):
        inner: list[Inner]

    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": [{"share": 1}, {"share": "x"}]})
    problem = as_problem(caught.value)
    assert (problem.slug, problem.faults[0].where) == ("bad-input", "inner[1].share")
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(b"{")
    assert as_problem(caught.value).slug == "bad-json"


def test_kinds_are_documented() -> None:
    """Statuses are those of errors, titles are sentences of their own."""
    assert all(400 <= kind.status < 600 for kind in KINDS.values())
    assert len({kind.title for kind in KINDS.values()}) == len(KINDS)
