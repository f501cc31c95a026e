"""Every route of the app has exactly one rule of access, and every rule a route."""

from __future__ import annotations

from pathlib import Path

from starlette.routing import Route

from wearcast.service.access import ACCESS
from wearcast.service.app import create_app
from wearcast.service.loading import load_settings


def test_routes_and_rules_are_the_same(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'service.sqlite'}"
    app = create_app(load_settings("dev", overrides={"models.bundle": tmp_path, "state_url": url, "docs": True}))
    routes = [
        (method, route.path)
        for route in app.router.routes
        if isinstance(route, Route)
        for method in (route.methods or ())
        if method != "HEAD"
    ]
    app.state.service.database.dispose()
    app.state.service.scorer.close()
    assert len(routes) == len(app.router.routes)
    assert sorted(routes) == sorted((rule.method, rule.path) for rule in ACCESS)
