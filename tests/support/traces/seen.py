"""Spans as a backend has them, whichever it is: the sink of the ordinary tests, or a real Jaeger."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

from tests.support.otlp_sink import OtlpSink, ReceivedSpan
from tests.support.watching import until

SKELETON = "holdfast"
"""The service of the spans that coordinators write."""

ARRIVAL_SECONDS = 20.0


@dataclass(slots=True, frozen=True)
class SeenLink:
    """relation: what holdfast says of it; empty where users link."""

    relation: str
    trace_id: str
    span_id: str


@dataclass(slots=True, frozen=True)
class SeenSpan:
    """ids in hex, `parent_id` empty for a root; kind and status by their OpenTelemetry names."""

    service: str
    namespace: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    status: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    links: tuple[SeenLink, ...]

    @property
    def run_id(self) -> str:
        """The run that it tells of; empty for a span of a user."""
        return str(self.attributes.get("holdfast.run.id", "")) if self.is_skeleton else ""

    @property
    def is_skeleton(self) -> bool:
        """Whether a coordinator wrote it."""
        return self.service == SKELETON

    @property
    def ends_its_run(self) -> bool:
        """Whether it is the run span of the last segment."""
        return self.is_skeleton and self.attributes.get("holdfast.run.status", "running") != "running"

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end_ns - self.start_ns) / 1e9


class Backend(Protocol):
    """A collector that can be asked. url: what to give to `--otlp`."""

    url: str

    async def traces_of(self, run_id: str) -> set[str]:
        """The ids of the traces in which the run has a span."""

    async def trace(self, trace_id: str) -> list[SeenSpan]:
        """The spans of a trace, each once."""


class SinkBackend:
    """The sink. A span that came twice is one, and must then be the same to the byte."""

    def __init__(self, sink: OtlpSink) -> None:
        self.sink = sink
        self.url = sink.url

    async def traces_of(self, run_id: str) -> set[str]:
        return {span.trace_id for span in self.sink.of_run(run_id) if span.service == SKELETON}

    async def trace(self, trace_id: str) -> list[SeenSpan]:
        found: dict[str, ReceivedSpan] = {}
        for span in self.sink.spans:
            if span.trace_id == trace_id:
                before = found.setdefault(span.span_id, span)
                assert before.raw == span.raw, f"two spans with one id: {before} {span}"
        return [_seen(span) for span in found.values()]


async def told(backend: Backend, run_id: str, *also: str, seconds: float = ARRIVAL_SECONDS) -> list[SeenSpan]:
    """All spans in the traces of a run, once its run span has come, and for each name in `also` one span.

    A run span is the last of its run; spans of users come when it pleases their exporters.
    """

    async def look() -> list[SeenSpan]:
        return [span for trace_id in await backend.traces_of(run_id) for span in await backend.trace(trace_id)]

    def is_whole(spans: list[SeenSpan]) -> bool:
        ended = any(span.run_id == run_id and span.ends_its_run for span in spans)
        return ended and not Counter(also) - Counter(span.name for span in spans)

    return await until(look, is_whole, seconds=seconds)


def named(spans: list[SeenSpan], name: str) -> list[SeenSpan]:
    """The spans of this name, in the order in which they began."""
    return sorted((span for span in spans if span.name == name), key=lambda span: span.start_ns)


def _seen(span: ReceivedSpan) -> SeenSpan:
    return SeenSpan(
        service=span.service,
        namespace=str(span.resource.get("service.namespace", "")),
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        kind=span.kind,
        status=span.status,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        attributes=span.attributes,
        links=tuple(
            SeenLink(str(link.attributes.get("holdfast.link.relation", "")), link.trace_id, link.span_id)
            for link in span.links
        ),
    )
