"""The table of access: each request has one rule or none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearcast.service.access import ACCESS, ANYBODY, SCOPES, Rule, Table

TABLE = Table()
PUBLIC = {
    ("POST", "/oauth/token"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
}


def test_only_these_routes_are_public() -> None:
    assert {(rule.method, rule.path) for rule in ACCESS if rule.scope is None} == PUBLIC


def test_what_is_not_limited_is_a_probe() -> None:
    assert {rule.path for rule in ACCESS if rule.limit is None} == {"/health/live", "/health/ready"}


def test_scopes_are_known_and_a_developer_has_all() -> None:
    assert {rule.scope for rule in ACCESS} - {None} == SCOPES == ANYBODY.scopes


def test_whatever_changes_something_needs_more_than_forecast() -> None:
    harmless = {"/v1/forecast", "/v1/batch", "/v1/batch/{id}", "/oauth/token"}
    for rule in ACCESS:
        if rule.method != "GET" and rule.path not in harmless:
            assert rule.scope in ("write", "admin"), rule


@pytest.mark.parametrize("rule", ACCESS, ids=lambda rule: f"{rule.method} {rule.path}")
def test_each_rule_is_found(rule: Rule) -> None:
    path = re.sub(r"\{\w+\}", "pump-7", rule.path)
    assert TABLE.find(rule.method, path) is rule
    if rule.method == "GET":
        assert TABLE.find("HEAD", path) is rule


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/v1/units/"), ("GET", "/v1/units//"), ("GET", "/v1/units/a/b"), ("GET", "/V1/units"),
     ("GET", "//v1/units"), ("GET", "/v1/units/a/readings"), ("TRACE", "/v1/units"), ("get", "/v1/units"),
     ("POST", "/v1/units/a/readings/"), ("GET", "/v1/forecast"), ("GET", "/metrics\n"), ("GET", "/v1/units/a\n/b")],
)  # fmt: skip
def test_what_has_no_rule_is_denied(method: str, path: str) -> None:
    assert TABLE.find(method, path) is None


def test_methods_that_a_path_takes() -> None:
    assert TABLE.allowed("/v1/units/pump-7") == ("DELETE", "GET", "HEAD")
    assert TABLE.allowed("/nowhere") == ()


def test_two_rules_for_one_route_are_refused() -> None:
    twice = (Rule("GET", "/a/{x}", None, None), Rule("GET", "/a/{y}", "admin", None))
    with pytest.raises(ValueError, match=r"more than one rule for GET /a/\{\}"):
        Table(twice)


@given(st.text(max_size=40))
def test_any_path_is_answered(path: str) -> None:
    for method in ("GET", "POST"):
        rule = TABLE.find(method, path)
        assert rule is None or rule.method == method
