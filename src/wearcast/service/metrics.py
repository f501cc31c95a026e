"""What Prometheus reads: how fast, how many, how risky, and what is wrong.

Labels are bounded: route templates, never paths; names of models that are loaded; no unit ids. What changes with every
request is counted as it happens on children that were resolved once; what merely *is*, such as the age of a model, is
asked for when somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from wearcast.service.outside import BreakerState

__all__ = ["HIGH_RISK", "LOW_RISK", "LoadedModel", "Metrics", "Refusal", "Sources"]

Refusal = Literal["auth", "scope", "rate", "size", "host", "overload"]

# Bands of the failure probability at the nearest horizon that the model gives.
LOW_RISK = 0.1
HIGH_RISK = 0.5
BANDS = ("low", "medium", "high")

_LATENCY_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SCORING_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_STATES: tuple[BreakerState, ...] = ("closed", "half-open", "open")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is loaded, as metrics and health name it."""

    name: str
    version: str
    arm: str
    age_s: float


def _no_number() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Sources:
    """Who is asked at a scrape; each answers at once and from memory."""

    in_flight: Callable[[], int] = _no_number
    queue: Callable[[], int] = _no_number
    models: Callable[[], Iterable[LoadedModel]] = tuple
    jobs: Callable[[], Mapping[str, int]] = dict
    breakers: Callable[[], Mapping[str, BreakerState]] = dict
    lines_dropped: Callable[[], int] = _no_number
    swaps: Callable[[], int] = _no_number
    broken: Callable[[], int] = _no_number
    limits_local: Callable[[], bool] = bool
    records: Callable[[], Mapping[str, int]] = dict


class Metrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self, sources: Sources | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each child, which nobody reads
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self.sources = sources or Sources()
        self._seconds = Histogram(
            "wearcast_request_seconds",
            "Time from a request's head to the end of its answer",
            ("method", "route", "status"),
            buckets=_LATENCY_S,
            registry=registry,
        )
        self._by_route: dict[tuple[str, str, int], Histogram] = {}
        self._refused = _children(
            Counter("wearcast_requests_refused", "Requests refused, by reason", ("reason",), registry=registry),
            Refusal.__args__,  # type: ignore[attr-defined]
        )
        self._batch = Histogram("wearcast_batch_windows", "Windows scored together", buckets=_BATCH, registry=registry)
        self._scoring = Histogram(
            "wearcast_scoring_seconds",
            "Time of one batch in preprocessing and graph",
            buckets=_SCORING_S,
            registry=registry,
        )
        self._cache = _children(
            Counter("wearcast_cache_lookups", "Prediction cache, by result", ("result",), registry=registry),
            ("hit", "miss"),
        )
        self._forecasts = _children(
            Counter("wearcast_forecasts", "Forecasts given, by band of risk", ("risk",), registry=registry),
            (*BANDS, "none"),
        )
        registry.register(_AtScrape(self))
        ProcessCollector(namespace="wearcast", registry=registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request; `route` is a template of the service or `unknown`."""
        key = (method, route, status // 100)
        child = self._by_route.get(key)
        if child is None:
            child = self._by_route[key] = self._seconds.labels(method, route, f"{status // 100}xx")
        child.observe(seconds)

    def refused(self, reason: Refusal) -> None:
        """One request that was not let in."""
        self._refused[reason].inc()

    def batch(self, windows: int, seconds: float) -> None:
        """One batch that was scored."""
        self._batch.observe(windows)
        self._scoring.observe(seconds)

    def cache(self, hits: int, misses: int) -> None:
        """Look-ups in the prediction cache."""
        if hits:
            self._cache["hit"].inc(hits)
        if misses:
            self._cache["miss"].inc(misses)

    def forecasts(self, probabilities: NDArray[np.floating[Any]] | None, count: int = 0) -> None:
        """Forecasts that were given: their failure probabilities, or how many where the target has none."""
        if probabilities is None:
            self._forecasts["none"].inc(count)
            return
        if probabilities.size <= 4:  # the usual request; NumPy would take ten times as long
            for probability in probabilities.ravel().tolist():
                self._forecasts[_band(probability)].inc()
            return
        high = int(np.count_nonzero(probabilities >= HIGH_RISK))
        low = int(np.count_nonzero(probabilities < LOW_RISK))
        for band, number in (("low", low), ("medium", probabilities.size - low - high), ("high", high)):
            if number:
                self._forecasts[band].inc(number)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The text and its media type, OpenMetrics where the scraper asks for it."""
        from prometheus_client.exposition import choose_encoder

        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


def _band(probability: float) -> str:
    return "low" if probability < LOW_RISK else "high" if probability >= HIGH_RISK else "medium"


def _children(metric: Counter, values: Iterable[str]) -> dict[str, Counter]:
    return {value: metric.labels(value) for value in values}


class _AtScrape(Collector):
    """What is asked for only when somebody scrapes."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        sources = self._metrics.sources
        yield GaugeMetricFamily(
            "wearcast_requests_in_flight", "Requests that are being answered", value=sources.in_flight()
        )
        yield GaugeMetricFamily("wearcast_queue_length", "Requests that wait to be scored", value=sources.queue())
        yield CounterMetricFamily(
            "wearcast_log_lines_dropped", "Log lines lost because the writer fell behind", value=sources.lines_dropped()
        )
        yield from _of_models(sources.models())
        yield CounterMetricFamily(
            "wearcast_model_swaps", "How often the models that answer have changed", value=sources.swaps()
        )
        yield GaugeMetricFamily(
            "wearcast_models_broken", "Versions of the registry that could not be loaded", value=sources.broken()
        )
        yield GaugeMetricFamily(
            "wearcast_limits_local", "1 while Redis should count the limits and does not", value=sources.limits_local()
        )
        records = CounterMetricFamily(
            "wearcast_forecast_records", "Forecasts kept beside the requests, and the shadow's", labels=("result",)
        )
        for result, number in sources.records().items():
            records.add_metric((result,), number)
        yield records
        jobs = GaugeMetricFamily("wearcast_jobs", "Batch jobs, by state", labels=("state",))
        for state, number in sources.jobs().items():
            jobs.add_metric((state,), number)
        yield jobs
        breakers = GaugeMetricFamily(
            "wearcast_breaker_state", "1 for the state that the breaker of a service is in", labels=("service", "state")
        )
        for service, state in sources.breakers().items():
            for possible in _STATES:
                breakers.add_metric((service, possible), float(possible == state))
        yield breakers


def _of_models(models: Iterable[LoadedModel]) -> Iterable[Metric]:
    info = InfoMetricFamily("wearcast_model", "Models that are loaded")
    age = GaugeMetricFamily("wearcast_model_age_seconds", "Time since a model was made", labels=("name", "arm"))
    for model in models:
        info.add_metric((), {"name": model.name, "version": model.version, "arm": model.arm})
        age.add_metric((model.name, model.arm), model.age_s)
    yield info
    yield age
