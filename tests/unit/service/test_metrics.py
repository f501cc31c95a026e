"""Metrics: what is counted, with labels that nobody outside can multiply."""

from __future__ import annotations

import numpy as np
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from wearcast.service.metrics import LoadedModel, Metrics, Sources

OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def values(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text, _ = metrics.render()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, of: str, /, **labels: str) -> float:
    return values(metrics)[of, tuple(sorted(labels.items()))]


def test_requests_are_counted_by_route_and_class_of_status() -> None:
    metrics = Metrics()
    for status, seconds in ((200, 0.003), (201, 0.004), (429, 0.0001), (200, 0.3)):
        metrics.request("POST", "/v1/forecast", status, seconds)
    labels = {"method": "POST", "route": "/v1/forecast"}
    assert value(metrics, "wearcast_request_seconds_count", **labels, status="2xx") == 3
    assert value(metrics, "wearcast_request_seconds_count", **labels, status="4xx") == 1
    assert value(metrics, "wearcast_request_seconds_bucket", **labels, status="2xx", le="0.005") == 2
    assert value(metrics, "wearcast_request_seconds_sum", **labels, status="2xx") == 0.307


def test_forecasts_are_counted_by_band_of_risk_however_many_come_at_once() -> None:
    few, many = Metrics(), Metrics()
    probabilities = np.array([0.0, 0.0999, 0.1, 0.4999, 0.5, 1.0])
    for probability in probabilities:
        few.forecasts(np.array([probability]))
    many.forecasts(np.tile(probabilities, (50, 1)))
    many.forecasts(None, 7)
    for band in ("low", "medium", "high"):
        assert value(few, "wearcast_forecasts_total", risk=band) == 2
        assert value(many, "wearcast_forecasts_total", risk=band) == 100
    assert value(many, "wearcast_forecasts_total", risk="none") == 7


def test_refusals_batches_and_the_cache() -> None:
    metrics = Metrics()
    metrics.refused("rate")
    metrics.batch(12, 0.004)
    metrics.cache(3, 1)
    assert value(metrics, "wearcast_requests_refused_total", reason="rate") == 1
    assert value(metrics, "wearcast_requests_refused_total", reason="auth") == 0, "known from the start, for rate()"
    assert value(metrics, "wearcast_batch_windows_sum") == 12
    assert value(metrics, "wearcast_scoring_seconds_count") == 1
    assert value(metrics, "wearcast_cache_lookups_total", result="hit") == 3
    assert value(metrics, "wearcast_cache_lookups_total", result="miss") == 1


def test_what_is_now_is_asked_for_at_the_scrape() -> None:
    queue = [3]
    metrics = Metrics(
        Sources(
            in_flight=lambda: 2,
            queue=lambda: queue[0],
            models=lambda: [LoadedModel("pumps", "3", "champion", 12.5), LoadedModel("pumps", "4", "challenger", 1)],
            jobs=lambda: {"queued": 1, "running": 0},
            breakers=lambda: {"redis": "open"},
            lines_dropped=lambda: 9,
        )
    )
    assert value(metrics, "wearcast_queue_length") == 3
    queue[0] = 4
    assert value(metrics, "wearcast_queue_length") == 4
    assert value(metrics, "wearcast_requests_in_flight") == 2
    assert value(metrics, "wearcast_model_info", name="pumps", version="3", arm="champion") == 1
    assert value(metrics, "wearcast_model_age_seconds", name="pumps", arm="challenger") == 1
    assert value(metrics, "wearcast_jobs", state="queued") == 1
    assert value(metrics, "wearcast_breaker_state", service="redis", state="open") == 1
    assert value(metrics, "wearcast_breaker_state", service="redis", state="closed") == 0
    assert value(metrics, "wearcast_log_lines_dropped_total") == 9


def test_both_formats_can_be_read_and_hold_no_noise() -> None:
    metrics = Metrics()
    metrics.request("GET", "/v1/units", 200, 0.01)
    text, media_type = metrics.render(OPEN)
    assert media_type.startswith("application/openmetrics-text")
    names = {family.name for family in parse_open(text.decode())}
    assert {"wearcast_request_seconds", "wearcast_queue_length", "wearcast_process_resident_memory_bytes"} <= names
    assert all(name.startswith("wearcast_") for name in names)
    plain, media_type = metrics.render("text/html, */*")
    assert media_type.startswith("text/plain")
    assert b"_created" not in plain
    assert b"# EOF" not in plain
