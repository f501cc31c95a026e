"""Who may call what: one table with a row for each route, and deny by default for everything else.

A test holds that every route of the app has exactly one row, so that a new route cannot be forgotten here: without a
row it is not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["ACCESS", "ANYBODY", "SCOPES", "LimitClass", "Principal", "Rule", "Scope", "Table"]

Scope = Literal["forecast", "write", "admin", "monitor"]
SCOPES: frozenset[str] = frozenset({"forecast", "write", "admin", "monitor"})
LimitClass = Literal["forecast", "write", "admin", "monitor", "token", "public"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as a token said and the gate believed."""

    client: str
    scopes: frozenset[str]
    issuer: str


ANYBODY = Principal("anonymous", SCOPES, "none")
"""Who asks where authentication is off: on a developer's own machine."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one route asks for.

    Attributes:
        path: the template of the route, as the router has it.
        scope: what the token must hold; None is public.
        limit: the class of the rate limit; None is not limited, for probes only.
        body_bytes: the largest body; None is `limits.body_bytes`, "job" is `jobs.body_bytes`.
        timeout_s: how long an answer may take; None is `limits.request_timeout_s`.
        page: whether it answers with a page for a browser, which needs a looser content policy.
    """

    method: str
    path: str
    scope: Scope | None
    limit: LimitClass | None
    body_bytes: int | Literal["job"] | None = 0
    timeout_s: float | None = None
    page: bool = False


_SMALL = 64 * 1024

ACCESS: tuple[Rule, ...] = (
    Rule("POST", "/v1/forecast", "forecast", "forecast", body_bytes=None),
    Rule("GET", "/v1/units", "forecast", "forecast"),
    Rule("GET", "/v1/units/{unit}", "forecast", "forecast"),
    Rule("DELETE", "/v1/units/{unit}", "write", "write"),
    Rule("POST", "/v1/units/{unit}/readings", "write", "write", body_bytes=None),
    Rule("POST", "/v1/batch", "forecast", "forecast", body_bytes="job", timeout_s=300.0),
    Rule("GET", "/v1/batch", "forecast", "forecast"),
    Rule("GET", "/v1/batch/{id}", "forecast", "forecast"),
    Rule("DELETE", "/v1/batch/{id}", "forecast", "forecast"),
    Rule("GET", "/v1/batch/{id}/result", "forecast", "forecast", timeout_s=120.0),
    Rule("GET", "/v1/models", "forecast", "forecast"),
    Rule("GET", "/v1/models/{name}", "forecast", "forecast"),
    Rule("POST", "/v1/models/{name}/promote", "admin", "admin", body_bytes=_SMALL, timeout_s=120.0),
    Rule("POST", "/v1/models/{name}/rollback", "admin", "admin", body_bytes=_SMALL, timeout_s=120.0),
    Rule("POST", "/v1/deployment/refresh", "admin", "admin", body_bytes=_SMALL, timeout_s=60.0),
    Rule("PUT", "/v1/deployment/split", "admin", "admin", body_bytes=_SMALL),
    Rule("POST", "/v1/outcomes", "write", "write", body_bytes=None),
    Rule("GET", "/v1/outcomes/comparison", "forecast", "forecast"),
    Rule("POST", "/oauth/token", None, "token", body_bytes=8 * 1024),
    Rule("GET", "/.well-known/jwks.json", None, "public"),
    Rule("GET", "/health/live", None, None),
    Rule("GET", "/health/ready", None, None),
    Rule("GET", "/health/detail", "monitor", "monitor"),
    Rule("GET", "/metrics", "monitor", "monitor"),
    Rule("GET", "/v1/logs/levels", "admin", "admin"),
    Rule("PUT", "/v1/logs/levels", "admin", "admin", body_bytes=_SMALL),
    Rule("GET", "/openapi.json", None, "public"),
    Rule("GET", "/docs", None, "public", page=True),
)


class Table:
    """Finds the rule of a request: a dictionary for plain paths, one expression a method for those with a name in."""

    def __init__(self, rules: tuple[Rule, ...] = ACCESS) -> None:
        self.rules = rules
        keys = [(rule.method, re.sub(r"\{\w+\}", "{}", rule.path)) for rule in rules]
        doubled = sorted({f"{method} {path}" for method, path in keys if keys.count((method, path)) > 1})
        if doubled:
            raise ValueError(f"more than one rule for {', '.join(doubled)}")
        self._plain: dict[str, dict[str, Rule]] = {}
        named: dict[str, list[Rule]] = {}
        for rule in rules:
            # A HEAD is a GET whose body is not sent.
            for method in (rule.method, "HEAD") if rule.method == "GET" else (rule.method,):
                if "{" in rule.path:
                    named.setdefault(method, []).append(rule)
                else:
                    self._plain.setdefault(method, {})[rule.path] = rule
        self._named: Mapping[str, tuple[re.Pattern[str], tuple[Rule, ...]]] = {
            method: (re.compile("|".join(f"({_expression(rule.path)})" for rule in found)), tuple(found))
            for method, found in named.items()
        }

    def find(self, method: str, path: str) -> Rule | None:
        """The rule of this request; None denies."""
        plain = self._plain.get(method)
        if plain is not None and (rule := plain.get(path)) is not None:
            return rule
        if (named := self._named.get(method)) is not None and (found := named[0].fullmatch(path)) is not None:
            return named[1][(found.lastindex or 1) - 1]
        return None

    def allowed(self, path: str) -> tuple[str, ...]:
        """The methods under which this path has a rule."""
        return tuple(sorted(method for method in {*self._plain, *self._named} if self.find(method, path) is not None))


def _expression(template: str) -> str:
    """A template as an expression: `{name}` is one step of the path, of any characters but a slash."""
    return "".join(
        "[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", template) if part
    )
