"""Spans as a tree for the terminal: what the same trace looks like without a backend. Pure.

Names and texts of users are shown as text: they never become markup, and control characters are left out.
"""

from collections import defaultdict
from collections.abc import Iterable

from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from holdfast.channel.run_records import SpanStatus, TraceSpan

_COLOURS: dict[SpanStatus, str] = {"ok": "green", "error": "red", "unset": ""}

_SHOWN = (
    "holdfast.run.status",
    "holdfast.attempt.outcome",
    "holdfast.wait.outcome",
    "holdfast.timer.name",
    "holdfast.worker.id",
    "holdfast.child.run.id",
    "holdfast.stall.reason",
    "holdfast.spans.omitted",
)
"""Attributes whose values are shown behind the name; those of errors come last."""

_WORKER_ID_SHOWN = len("ses_") + 6
"""Characters of a worker's id that distinguish it from the others of a run; `--output json` has it whole."""

_UNITS = (("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000))


def trace_tree(spans: Iterable[TraceSpan]) -> Group:
    """One tree per trace, in the order in which the traces began; spans below their parents, in order of time.

    Spans whose parent is not among them (an open run has no run span yet) are the roots of trees of their own.
    """
    ordered = sorted(spans, key=_order)
    known = {(span.trace_id, span.span_id) for span in ordered}
    below: dict[tuple[bytes, bytes], list[TraceSpan]] = defaultdict(list)
    roots: list[TraceSpan] = []
    for span in ordered:
        parent = (span.trace_id, span.parent_id)
        if parent in known:
            below[parent].append(span)
        else:
            roots.append(span)
    trees: list[Text | Tree] = []
    trace_id = b""
    # Of an open run too times count from its beginning: `run accepted` is there first.
    zeros_ns: dict[bytes, int] = {}
    for root in roots:
        if root.trace_id != trace_id:
            trace_id = root.trace_id
            trees.append(Text(f"trace {trace_id.hex()}", style="bold"))
        trees.append(_tree(root, zeros_ns.setdefault(root.trace_id, root.start_ns), below))
    return Group(*trees)


def _order(span: TraceSpan) -> tuple[int, int, str, bytes]:
    # A parent that begins with its child comes first, since it does not end before it.
    return span.start_ns, -span.end_ns, span.name, span.span_id


def _tree(root: TraceSpan, zero_ns: int, below: dict[tuple[bytes, bytes], list[TraceSpan]]) -> Tree:
    top = Tree(_label(root, zero_ns))
    open_branches = [(top, root)]
    while open_branches:
        branch, above = open_branches.pop()
        for link in above.links:
            branch.add(Text(_plain(f"{link.relation}: trace {link.trace_id.hex()}"), style="dim"))
        children = below[above.trace_id, above.span_id]
        open_branches.extend((branch.add(_label(span, zero_ns)), span) for span in children)
    return top


def _label(span: TraceSpan, zero_ns: int) -> Text:
    facts = span.attributes
    colour = _COLOURS[span.status]
    label = Text.assemble(
        (_plain(span.name), colour or "default"),
        f"  #{facts['holdfast.attempt']}" if "holdfast.attempt.outcome" in facts else "",
        (f"  +{_duration(span.start_ns - zero_ns)}", "dim"),
        f"  {_duration(span.end_ns - span.start_ns)}",
    )
    shown = [_plain(_fact(name, facts[name])) for name in _SHOWN if name in facts]
    if "error.type" in facts and facts["error.type"] not in shown:
        message = facts.get("holdfast.error.message", "")
        shown.append(_plain(f"{facts['error.type']}: {message}" if message else str(facts["error.type"])))
    if shown:
        label.append(f"  {', '.join(shown)}", colour or "dim")
    return label


def _fact(name: str, value: str | int) -> str:
    match name:
        case "holdfast.worker.id":
            return str(value)[:_WORKER_ID_SHOWN]
        case "holdfast.spans.omitted":
            return f"{value} spans omitted"
        case _:
            return str(value)


def _duration(span_ns: int) -> str:
    """A span of time to three digits or so: "0", "4.2ms", "1.25s", "3m 20s", "2d 4h"."""
    for place, (unit, unit_ns) in enumerate(_UNITS):
        if span_ns >= unit_ns:
            smaller, smaller_ns = (*_UNITS, ("s", 1_000_000_000))[place + 1]
            rest = span_ns % unit_ns // smaller_ns
            return f"{span_ns // unit_ns}{unit} {rest}{smaller}" if rest else f"{span_ns // unit_ns}{unit}"
    if span_ns >= 1_000_000_000:
        return f"{span_ns / 1_000_000_000:.3g}s"
    # Digits below the microseconds of journals only keep spans apart.
    return f"{span_ns / 1_000_000:.3g}ms" if span_ns >= 1_000 else "0"


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
