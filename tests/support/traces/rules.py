"""What holds for the spans of any closed run, however it went. `check` raises AssertionError with all that does not."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from tests.support.traces.seen import SeenSpan

ATTRIBUTES_OF_ALL = ("holdfast.namespace", "holdfast.workflow.name", "holdfast.run.id")
LATE = "late result"
IN_TURN = ("attempt ", "retry wait", "queue wait")


def check(spans: Iterable[SeenSpan], *, outside: Iterable[str] = ()) -> None:
    """Checks all spans of some traces. outside: ids of parents that were never exported anywhere."""
    found = list(spans)
    broken = [*_ids(found), *_parents(found, set(outside)), *_steps(found), *_attributes(found)]
    assert not broken, "\n".join(broken)


def _ids(spans: list[SeenSpan]) -> Iterator[str]:
    known: set[tuple[str, str]] = set()
    for span in spans:
        if (span.trace_id, span.span_id) in known:
            yield f"two spans have the id of {span}"
        known.add((span.trace_id, span.span_id))


def _parents(spans: list[SeenSpan], outside: set[str]) -> Iterator[str]:
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    for span in spans:
        if span.start_ns > span.end_ns:
            yield f"it ends before it begins: {span}"
        if not span.parent_id or span.parent_id in outside:
            continue
        parent = by_id.get((span.trace_id, span.parent_id))
        if parent is None:
            yield f"it has no parent: {span}"
        elif _is_bound(span, parent) and not parent.start_ns <= span.start_ns <= span.end_ns <= parent.end_ns:
            yield f"it is not within its parent: {span} {parent}"


def _is_bound(span: SeenSpan, parent: SeenSpan) -> bool:
    """A user's span may outlast an attempt that was given up, and a caller does not wait for what it starts."""
    return span.is_skeleton and parent.is_skeleton and span.name != LATE


def _steps(spans: list[SeenSpan]) -> Iterator[str]:
    below: dict[tuple[str, str], list[SeenSpan]] = defaultdict(list)
    for span in spans:
        if span.is_skeleton and span.name.startswith(IN_TURN):
            below[span.trace_id, span.parent_id].append(span)
    for group in below.values():
        for before, after in pairwise(sorted(group, key=lambda span: (span.start_ns, span.end_ns))):
            if before.end_ns > after.start_ns:
                yield f"they overlap: {before} {after}"


def _attributes(spans: list[SeenSpan]) -> Iterator[str]:
    for span in spans:
        if not span.is_skeleton:
            continue
        missing = [name for name in ATTRIBUTES_OF_ALL if name not in span.attributes]
        if missing:
            yield f"it has no {missing}: {span}"
        elif span.namespace != span.attributes["holdfast.namespace"]:
            yield f"its namespace is not that of its resource: {span}"
