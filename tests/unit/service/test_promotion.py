"""Promotion on behalf of a client: what the registry refuses, in words and statuses of HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from wearcast.errors import NoRegistryError, NotRegisteredError, RegistryError, RegistryUnavailableError, WearcastError
from wearcast.service import promotion
from wearcast.service.problems import as_problem
from wearcast.service.settings import Settings


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + b"x" * 5_000, b"no database"], ids=len)
def test_a_registry_that_is_half_written_is_one_that_does_not_answer(tmp_path: Path, content: bytes) -> None:
    """It is no fault of who asks: 503, and no word of where it lies."""
    (tmp_path / "registry.db").write_bytes(content)
    settings = Settings.model_validate({"registry_url": f"sqlite:///{tmp_path / 'registry.db'}"})
    for refused in (
        lambda: promotion.promoted(settings, "pumps/1", alias="champion", who="ops", override=None),
        lambda: promotion.rolled_back(settings, "pumps", alias="champion", who="ops", reason=None),
    ):
        with pytest.raises(NoRegistryError) as raised:
            refused()
        problem = as_problem(raised.value)
        assert (problem.slug, problem.status) == ("unavailable", 503)
        assert str(tmp_path) not in str(problem.body())
    assert (tmp_path / "registry.db").read_bytes() == content


def test_an_error_about_one_version_stays_what_it_is(tmp_path: Path) -> None:
    problem = as_problem(RegistryError("the bundle is not whole", where=f"pumps/2: {tmp_path}/bundle/model.onnx"))
    (fault,) = problem.faults
    assert (problem.slug, fault.where) == ("conflict", "pumps/2")


@pytest.mark.parametrize(
    ("error", "slug", "status"),
    [
        (NotRegisteredError("pumps has no version 9", hint="there are 1, 2"), "unknown-version", 404),
        (RegistryError("the gate says no"), "conflict", 409),
        (NoRegistryError("not a database"), "unavailable", 503),
        (RegistryUnavailableError("the server does not answer"), "unavailable", 503),
    ],
)
def test_each_has_its_status(error: WearcastError, slug: str, status: int) -> None:
    problem = as_problem(error)
    assert (problem.slug, problem.status) == (slug, status)
