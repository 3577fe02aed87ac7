"""Where a caller is in a trace: what its message says, else the W3C headers in the metadata of its call.

So that clients in any language are traced whose gRPC instrumentation sends the headers by itself. What is malformed or
too large is left out, never refused: no call fails because of how it is traced.
"""

from collections.abc import Iterable

from holdfast.api.v1 import value_pb2
from holdfast.limits import BAGGAGE_BYTES_MAX, BAGGAGE_ENTRIES_MAX
from holdfast.traces import parse_traceparent

_HEADERS = frozenset({"traceparent", "tracestate", "baggage"})

Metadata = Iterable[tuple[str, str | bytes]]


def trace_in_metadata(metadata: Metadata | None) -> value_pb2.TraceContext | None:
    """The position that the headers of a call name, or None."""
    found: dict[str, str] = {}
    for key, value in metadata or ():
        if key in _HEADERS and isinstance(value, str):
            # A header that comes several times is one list; two traceparents make one that is malformed.
            found[key] = f"{found[key]},{value}" if key in found else value
    return checked_trace(value_pb2.TraceContext(**found)) if "traceparent" in found else None


def checked_trace(given: value_pb2.TraceContext) -> value_pb2.TraceContext | None:
    """What is kept of a position that a client sent: None without a valid traceparent, no baggage that is too large."""
    position = parse_traceparent(given.traceparent, given.tracestate)
    if position is None:
        return None
    baggage = given.baggage
    if not _is_kept(baggage):
        baggage = ""
    if baggage == given.baggage and position.tracestate == given.tracestate:
        return given
    return value_pb2.TraceContext(traceparent=given.traceparent, tracestate=position.tracestate, baggage=baggage)


def _is_kept(baggage: str) -> bool:
    return (
        len(baggage) <= BAGGAGE_BYTES_MAX
        and baggage.count(",") < BAGGAGE_ENTRIES_MAX
        and baggage.isascii()
        and baggage.isprintable()
    )
