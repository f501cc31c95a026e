"""Spans: one a request under the caller's, one in it for the scorer, and nothing at all where it is not asked for."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.service_process import forecast_body

from wearcast.errors import MissingExtraError
from wearcast.service import assembly
from wearcast.service.app import create_app
from wearcast.service.loading import load_settings
from wearcast.service.settings import TracingSettings
from wearcast.service.tracing import Tracing, open_tracing

CALLER = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Where the spans of a test end."""
    kept = InMemorySpanExporter()
    yield kept
    kept.shutdown()


def traced_app(
    bundle: Path, folder: Path, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, sample: float = 1.0
) -> FastAPI:
    """The service with its spans kept here rather than sent."""
    tracing = Tracing(SimpleSpanProcessor(exporter), sample=sample)
    monkeypatch.setattr(assembly, "open_tracing", lambda _: tracing)
    url = f"sqlite:///{folder / 'state.sqlite'}"
    return create_app(load_settings("dev", None, {"models.bundle": bundle, "state_url": url}))


def ask(app: FastAPI, *paths: str, **headers: str) -> list[httpx.Response]:
    """Forecasts, or what else lies under the paths."""

    async def story() -> list[httpx.Response]:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers)
        async with app.router.lifespan_context(app), client:
            return [
                await (client.post(path, json=forecast_body()) if "forecast" in path else client.get(path))
                for path in paths
            ]

    return asyncio.run(story())


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_forecast_is_a_span_under_the_callers_and_the_scorers_lies_in_it(
    trained: TrainedByKind, tmp_path: Path, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = traced_app(trained("lightgbm").path, tmp_path, exporter, monkeypatch)
    (answer,) = ask(app, "/v1/forecast?token=hunter2", traceparent=CALLER)
    assert answer.status_code == 200
    score, request = exporter.get_finished_spans()
    assert request.name == "POST /v1/forecast"
    assert request.parent is not None
    assert f"{request.parent.trace_id:032x}" == "ab" * 16
    assert f"{request.parent.span_id:016x}" == "cd" * 8
    told = attributes(request)
    assert told["http.route"] == "/v1/forecast"
    assert told["http.response.status_code"] == 200
    assert told["wearcast.unit_count"] == 1
    assert told["wearcast.model.version"]
    assert told["wearcast.request.id"] == answer.headers["x-request-id"]
    assert "hunter2" not in str(told)
    assert score.name == "score"
    assert score.parent is not None
    assert score.parent.span_id == request.get_span_context().span_id
    assert attributes(score)["wearcast.model.name"] == "test-lightgbm"


def test_paths_are_named_by_their_route_and_those_of_nobody_not_at_all(
    trained: TrainedByKind, tmp_path: Path, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = traced_app(trained("lightgbm").path, tmp_path, exporter, monkeypatch)
    ask(app, "/v1/units/pump-7", "/wp-login.php")
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /v1/units/{unit}", "GET unknown"]


def test_of_requests_that_are_not_sampled_nothing_is_kept(
    trained: TrainedByKind, tmp_path: Path, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = traced_app(trained("lightgbm").path, tmp_path, exporter, monkeypatch, sample=0.0)
    assert ask(app, "/v1/forecast")[0].status_code == 200
    assert exporter.get_finished_spans() == ()


def test_without_an_endpoint_there_is_no_tracing() -> None:
    assert open_tracing(TracingSettings()) is None


def test_where_the_extra_is_missing_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wearcast\[tracing\]'"):
        open_tracing(TracingSettings(endpoint="http://127.0.0.1:4318/v1/traces"))


def test_a_collector_that_does_not_answer_does_not_hold_up_the_end() -> None:
    tracing = open_tracing(TracingSettings(endpoint="http://127.0.0.1:9/v1/traces"))
    assert tracing is not None
    tracing.close()
