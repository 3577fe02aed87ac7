"""The span that a client makes of each call that starts or steers a run, and the position it sends along.

A span lasts as long as the call, never as long as the run. Without an OpenTelemetry SDK there are no spans, but what
the caller made current still reaches the coordinator.
"""

import asyncio
import contextlib
from contextvars import Token
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach

from holdfast.journal import TraceContext
from holdfast.tracer import tracer

_baggage = W3CBaggagePropagator()

_ATTRIBUTES = {
    "namespace": "holdfast.namespace",
    "workflow": "holdfast.workflow.name",
    "run_id": "holdfast.run.id",
    "id": "holdfast.workflow.id",
}


class CallSpan:
    """A CLIENT span for as long as the block runs: `with CallSpan("signal", namespace, run_id=...) as span`.

    An error that leaves the block is its status; a cancelled call is none.
    """

    __slots__ = ("_facts", "_name", "_span", "_token")

    def __init__(self, name: str, namespace: str, *, workflow: str = "", run_id: str = "", id: str = "") -> None:
        self._name = name
        self._facts = (namespace, workflow, run_id, id)
        self._span: trace.Span | None = None
        self._token: Token[Context] | None = None

    @property
    def trace(self) -> TraceContext | None:
        """The position to send: of this span when it is recorded, else the caller's; None when there is no trace."""
        return current_trace()

    def started(self, run_id: str, id: str) -> None:
        """Says which run it was about, once that is known."""
        if self._span is not None:
            self._span.set_attributes(_attributes(run_id=run_id, id=id))

    def __enter__(self) -> Self:
        used = tracer()
        if used is None:
            return self
        namespace, workflow, run_id, id = self._facts
        facts = _attributes(namespace=namespace, workflow=workflow, run_id=run_id, id=id)
        span = used.start_span(self._name, kind=trace.SpanKind.CLIENT, attributes=facts)
        if span.is_recording():
            self._span = span
        elif trace.get_current_span().get_span_context().is_valid:
            # A span that is not recorded is never exported: the caller's is the one to link to.
            return self
        self._token = attach(trace.set_span_in_context(span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            detach(self._token)
        span = self._span
        if span is None:
            return
        if kind is not None and not issubclass(kind, asyncio.CancelledError):
            span.set_attribute("error.type", kind.__name__)
            span.set_status(trace.StatusCode.ERROR)
        span.end()


def current_trace() -> TraceContext | None:
    """Where the caller is, as W3C headers; None when it is in no trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    headers: dict[str, str] = {}
    # Values may be anything, also what has no text or none in UTF-8: baggage is then left out, and the call is made.
    with contextlib.suppress(Exception):
        _baggage.inject(headers)
    return TraceContext(
        f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}",
        context.trace_state.to_header() if context.trace_state else "",
        headers.get("baggage", ""),
    )


def _attributes(**values: str) -> dict[str, str]:
    return {_ATTRIBUTES[name]: value for name, value in values.items() if value}
