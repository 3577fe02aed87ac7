"""Asks Jaeger what it shows: spans as its query API gives them (version 3, which is OTLP), and as its web pages do."""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast_coordinator.telemetry.spans import SpanKind, SpanStatus

ANSWER_SECONDS = 10.0
WARNINGS = "@jaeger@warnings"
"""The attribute in which Jaeger says what it found wrong with a span."""

Value = str | int | bool | float


@dataclass(slots=True, frozen=True)
class ShownSpan:
    """A span as Jaeger shows it; ids in hex, times in nanoseconds. links: (trace id, span id, attributes)."""

    service: str
    namespace: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: SpanKind
    status: SpanStatus
    start_ns: int
    end_ns: int
    tracestate: str
    attributes: dict[str, Value]
    links: tuple[tuple[str, str, tuple[tuple[str, Value], ...]], ...]
    warnings: tuple[str, ...]


class Query:
    """The query API of the Jaeger at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def services(self) -> set[str]:
        """The services that have sent spans."""
        return set(self._get("/api/v3/services", {})["services"])

    def find(self, service: str, *, since: datetime | None = None, **attributes: str) -> set[str]:
        """The ids of traces with a span of the service that has these attributes; "__" stands for a dot.

        since: what began earlier is not searched; the last two days unless given.
        """
        now = datetime.now(UTC)
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}
        found = self._get(
            "/api/traces",
            {
                "service": service,
                "tags": json.dumps(wanted),
                "start": _microseconds(since or now - timedelta(days=2)),
                "end": _microseconds(now + timedelta(hours=1)),
                "limit": 1_000,
            },
        )
        return {trace["traceID"] for trace in found["data"]}

    def find_stored(self, service: str, *, since: datetime, **attributes: str) -> set[str]:
        """The same as `find`, but nothing is shown to anybody: looks through all that the service has sent."""
        found = self._get(
            "/api/v3/traces",
            {
                "query.service_name": service,
                "query.start_time_min": since.isoformat(),
                "query.start_time_max": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
                "query.num_traces": 1_000,
                "query.raw_traces": "true",
            },
        )
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}.items()
        spans = _spans(found["result"]["resourceSpans"])
        return {span.trace_id for span in spans if wanted <= span.attributes.items()}

    def trace(self, trace_id: str, *, raw: bool = False) -> list[ShownSpan]:
        """The spans of a trace; duplicates are removed as for everybody, unless `raw`.

        A store in memory forgets what it removed: ask for the raw ones first.
        """
        found = self._get(f"/api/v3/traces/{trace_id}", {"raw_traces": "true"} if raw else {})
        return list(_spans(found["result"]["resourceSpans"]))

    def web_page(self, trace_id: str) -> list[tuple[str, list[str]]]:
        """What the page of a trace is made of: the id of each span, with its warnings."""
        (trace,) = self._get(f"/api/traces/{trace_id}", {})["data"]
        return [(span["spanID"], span["warnings"] or []) for span in trace["spans"]]

    def _get(self, path: str, parameters: dict[str, Any]) -> Any:
        address = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=ANSWER_SECONDS) as answer:
            return json.load(answer)


def _spans(resource_spans: list[dict[str, Any]]) -> Iterator[ShownSpan]:
    for group in resource_spans:
        resource = _attributes(group["resource"])
        for scope in group.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                attributes = _attributes(span)
                yield ShownSpan(
                    service=str(resource["service.name"]),
                    namespace=str(resource.get("service.namespace", "")),
                    trace_id=span["traceId"],
                    span_id=span["spanId"],
                    parent_id=span.get("parentSpanId", ""),
                    name=span["name"],
                    kind=SpanKind(span["kind"]),
                    status=SpanStatus(span.get("status", {}).get("code", 0)),
                    start_ns=int(span["startTimeUnixNano"]),
                    end_ns=int(span["endTimeUnixNano"]),
                    tracestate=span.get("traceState", ""),
                    attributes={key: value for key, value in attributes.items() if key != WARNINGS},
                    links=tuple(
                        (link["traceId"], link["spanId"], tuple(_attributes(link).items()))
                        for link in span.get("links", ())
                    ),
                    warnings=tuple(attributes.get(WARNINGS, ())),
                )


def _attributes(owner: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: _value(pair["value"]) for pair in owner.get("attributes", ())}


def _value(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    match kind:
        case "intValue":
            return int(content)
        case "arrayValue":
            return [_value(item) for item in content.get("values", ())]
        case _:
            return content


def _microseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)
