"""Traces as text that a person can check: everything but times and ids, which are replaced by what they stand for."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from holdfast_coordinator.telemetry.catalogue import ATTRIBUTES
from tests.support.traces.seen import SeenSpan

_RUN_ID = re.compile(r"run_[0-9a-z]{26,}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")
_HIDDEN = {"holdfast.namespace", "holdfast.workflow.name", "holdfast.run.id", "holdfast.workflow.id"}
"""Said by every skeleton span; traces/rules.py checks them."""
_ORDER = {name: place for place, name in enumerate(ATTRIBUTES)}

Ids = dict[tuple[str, str], SeenSpan]


def drawn(spans: Iterable[SeenSpan], *, queue_waits: bool = False) -> str:
    """The spans of some traces, each below its parent.

    queue_waits: shows those of first attempts; the others are there or not by chance.
    """
    ordered = sorted(spans, key=_place_in_time)
    drawing = _Drawing([span for span in ordered if span.name != "queue wait" or (queue_waits and _is_first(span))])
    for number, trace_id in enumerate(drawing.traces, start=1):
        drawing.lines.append(f"trace {number}")
        for root in drawing.below[trace_id, ""]:
            drawing.draw(root, 1)
    return "\n".join(drawing.lines) + "\n"


class _Drawing:
    def __init__(self, spans: list[SeenSpan]) -> None:
        self.lines: list[str] = []
        self.traces = list(dict.fromkeys(span.trace_id for span in spans))
        self.below: dict[tuple[str, str], list[SeenSpan]] = defaultdict(list)
        self._by_id: Ids = {(span.trace_id, span.span_id): span for span in spans}
        self._runs: dict[str, str] = {}
        self._workers: dict[str, str] = {}
        self._builds: dict[str, str] = {}
        self._queues: dict[str, str] = {}
        for span in spans:
            parent = (span.trace_id, span.parent_id)
            self.below[parent if parent in self._by_id else (span.trace_id, "")].append(span)
        for span in spans:
            if span.run_id:
                self._runs.setdefault(span.run_id, f"run {len(self._runs) + 1}")

    def draw(self, span: SeenSpan, depth: int) -> None:
        """One span and all below it."""
        indent = "  " * depth
        hidden = _HIDDEN if span.is_skeleton else set()
        facts = " ".join(
            f"{name.removeprefix('holdfast.')}={self._value(name, value)}"
            for name, value in in_fixed_order(span.attributes).items()
            if name not in hidden
        )
        service = "" if span.is_skeleton else f" [{span.service}]"
        self.lines.append(f"{indent}{span.name}{service} | {span.kind} {span.status} | {facts}".rstrip(" |"))
        if depth == 1 and span.parent_id:
            self.lines.append(f"{indent}    below a span that is elsewhere")
        for link in span.links:
            self.lines.append(f"{indent}    {link.relation}: {self._place(link.trace_id, link.span_id)}")
        for child in self.below[span.trace_id, span.span_id]:
            self.draw(child, depth + 1)

    def _place(self, trace_id: str, span_id: str) -> str:
        span = self._by_id.get((trace_id, span_id))
        if span is None:
            return "elsewhere"
        return f"{span.name} in trace {self.traces.index(trace_id) + 1}"

    def _value(self, name: str, value: Any) -> str:
        match name:
            case "holdfast.worker.id":
                return self._workers.setdefault(value, f"worker-{len(self._workers) + 1}")
            case "holdfast.worker.build":
                return self._builds.setdefault(value, f"build-{len(self._builds) + 1}")
            case "holdfast.queue":
                return self._queues.setdefault(value, f"queue-{len(self._queues) + 1}")
            case "holdfast.input.bytes":
                return "some" if value else "0"  # arguments of these tests are paths, short ones and long ones
            case _ if isinstance(value, str):
                return repr(_INSTANT.sub("NOW", _RUN_ID.sub(self._run, value)))
            case _:
                return repr(value)

    def _run(self, match: re.Match[str]) -> str:
        return self._runs.setdefault(match[0], f"run {len(self._runs) + 1}")


def in_fixed_order(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes in the order in which coordinators write them; backends may show another one."""
    return {
        name: attributes[name] for name in sorted(attributes, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
    }


def _is_first(span: SeenSpan) -> bool:
    return span.attributes["holdfast.attempt"] == 1


def _place_in_time(span: SeenSpan) -> tuple[int, bool, int, str]:
    """What is first where several begin at once: the run is accepted, an attempt of no length, the wait after it."""
    return span.start_ns, span.name != "run accepted", span.end_ns, span.name
