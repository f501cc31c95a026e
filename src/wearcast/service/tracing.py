"""Spans for OpenTelemetry: one a request, and one in it for the time in the scorer's queue and graph. An extra.

Without an endpoint in the settings nothing of this is imported, and no layer is added to a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wearcast import __version__
from wearcast.errors import require
from wearcast.service.scoring import Observer, Scorer
from wearcast.service.watch import UNKNOWN_ROUTE

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, Tracer
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from wearcast.service.answers import Scored
    from wearcast.service.layout import UnitReadings
    from wearcast.service.served import Served
    from wearcast.service.settings import TracingSettings

__all__ = ["Trace", "TracedScorer", "Tracing", "open_tracing"]

_EXPORT_S = 2  # a collector that does not answer costs spans, not the end of the process


class Tracing:
    """Where spans go."""

    def __init__(self, processor: SpanProcessor, *, sample: float = 1.0) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        resource = Resource.create({"service.name": "wearcast", "service.version": __version__})
        self._provider = TracerProvider(
            resource=resource, sampler=ParentBased(TraceIdRatioBased(sample)), shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self.tracer: Tracer = self._provider.get_tracer("wearcast.service", __version__)

    def scorer(
        self, *, queue: int, batch_max: int, batch_wait_ms: float, moment_s: float, observer: Observer | None = None
    ) -> TracedScorer:
        """A scorer whose waits are spans."""
        made = TracedScorer(
            queue=queue, batch_max=batch_max, batch_wait_ms=batch_wait_ms, moment_s=moment_s, observer=observer
        )
        made.tracer = self.tracer
        return made

    def close(self) -> None:
        """Send what is here, as far as the collector takes it in time, and end."""
        self._provider.force_flush(_EXPORT_S * 1_000)
        self._provider.shutdown()


def open_tracing(settings: TracingSettings) -> Tracing | None:
    """Tracing to the endpoint of the settings; None where there is none.

    Raises:
        MissingExtraError: there is an endpoint, and the packages are not installed.
    """
    if settings.endpoint is None:
        return None
    for module in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"):
        require(module, extra="tracing")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=_EXPORT_S)
    return Tracing(BatchSpanProcessor(exporter), sample=settings.sample)


class Trace:
    """ASGI middleware: a span around each request, under the caller's where its `traceparent` names one."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.app = app
        self._tracer = tracing.tracer
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode, format_span_id, format_trace_id

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
        parent = self._propagator.extract(carrier)
        with self._tracer.start_as_current_span("request", parent, SpanKind.SERVER, record_exception=False) as span:
            own, state = span.get_span_context(), scope["state"]
            state["trace_id"], state["span_id"] = format_trace_id(own.trace_id), format_span_id(own.span_id)

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            try:
                await self.app(scope, receive, sending)
            finally:
                _describe(span, scope)


_READ = frozenset({b"traceparent", b"tracestate"})


def _describe(span: Span, scope: Scope) -> None:
    """What is known only at the end: which route it was, and which model answered."""
    state = scope["state"]
    rule = state.get("rule")
    route = UNKNOWN_ROUTE if rule is None else rule.path
    span.update_name(f"{scope['method']} {route}")
    told: dict[str, Any] = {
        "http.request.method": scope["method"],
        "http.route": route,
        "url.scheme": scope.get("scheme", "http"),
        "wearcast.request.id": state.get("request_id"),
        "wearcast.unit_count": state.get("unit_count"),
        "wearcast.model.version": state.get("model_version"),
        "wearcast.arm": state.get("arm"),
    }
    span.set_attributes({name: value for name, value in told.items() if value is not None})


class TracedScorer(Scorer):
    """A scorer that tells how long each request waited for its forecasts."""

    tracer: Tracer

    async def score(
        self, served: Served, units: Sequence[UnitReadings], *, deadline_s: float, every: int | None = None
    ) -> Scored:
        """Forecast units with one model, in a span."""
        with self.tracer.start_as_current_span("score") as span:
            span.set_attributes(
                {
                    "wearcast.model.name": served.name,
                    "wearcast.model.version": served.version,
                    "wearcast.arm": served.arm,
                    "wearcast.unit_count": len(units),
                }
            )
            return await super().score(served, units, deadline_s=deadline_s, every=every)
