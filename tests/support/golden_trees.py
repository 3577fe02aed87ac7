"""Spans as text that a person can check: one line per span with everything in it, below its parent."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from holdfast_coordinator.telemetry.spans import Span, instant_ns
from tests.support.written_journals import T0

FOLDER = Path(__file__).parent / "golden"


def golden(name: str) -> str:
    return (FOLDER / f"{name}.txt").read_text()


def drawn(spans: Iterable[Span]) -> str:
    """The spans of one or more traces, times in seconds after T0, without the attributes that all of a run have."""
    ordered = sorted(spans, key=lambda span: (span.start_ns, -span.end_ns, span.name))
    known = {(span.trace_id, span.span_id) for span in ordered}
    below: dict[tuple[bytes, bytes], list[Span]] = defaultdict(list)
    for span in ordered:
        parent = (span.trace_id, span.parent_id)
        below[parent if parent in known else (span.trace_id, b"")].append(span)
    lines: list[str] = []
    for trace_id in dict.fromkeys(span.trace_id for span in ordered):
        lines.append(f"trace {trace_id.hex()}")
        for root in below[trace_id, b""]:
            _draw(root, 0, below, lines)
    return "\n".join(lines) + "\n"


def _draw(span: Span, depth: int, below: dict[tuple[bytes, bytes], list[Span]], lines: list[str]) -> None:
    indent = "  " * depth
    facts = " ".join(f"{name.removeprefix('holdfast.')}={value!r}" for name, value in span.own)
    times = f"{_seconds(span.start_ns)} to {_seconds(span.end_ns)}"
    lines.append(f"{indent}{span.name} | {span.kind.name} {span.status.name} | {times} | {facts}".rstrip(" |"))
    if depth == 0 and span.parent_id:
        lines.append(f"{indent}    below {span.parent_id.hex()}")
    for link in span.links:
        context = link.context
        lines.append(f"{indent}    {link.relation}: {context.trace_id.hex()} {context.span_id.hex()}")
    for child in below[span.trace_id, span.span_id]:
        _draw(child, depth + 1, below, lines)


def _seconds(at_ns: int) -> str:
    return f"{(at_ns - instant_ns(T0)) / 1_000_000_000:g}"
