"""Prints what the audit found, whether a direct computation agrees, and the trace of one run."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from holdfast.channel.run_records import TraceSpan
from holdfast.cli.display import print_trace

from .audit import Findings
from .driver import DemoOutcome

NEXT = (
    ("coordinator/holdfast_coordinator/demo/audit.py", "the code that just ran"),
    ("examples/order_fulfilment", "retries, a timer, a signal"),
    ("holdfast dev YOUR_MODULE", "the same for your workflows"),
    ("holdfast trace show RUN", "such a tree of any run of yours"),
    ("docs/ARCHITECTURE.md", "how it works"),
)
TO_JAEGER = (
    "docker run --rm -e JAEGER_LISTEN_HOST=0.0.0.0 -p 4317:4317 -p 16686:16686 jaegertracing/jaeger:2.20.0",
    "holdfast demo --otlp http://localhost:4317",
)
"""How to see the trace of the whole audit; the image is that of deploy/compose.yaml."""

SPANS_SHOWN = 40
ALWAYS_SHOWN = 2
"""Branches of the run: what it waited for first, and its first step."""


def differences(findings: Findings, direct: Counter[str]) -> list[str]:
    """Where the two computations disagree, for people; empty when they agree."""
    durable = {name: value for name, value in vars(findings).items() if isinstance(value, int)}
    return [
        f"{name}: {durable.get(name, 0):,} by the durable audit, {direct[name]:,} directly"
        for name in sorted({*durable, *direct})
        if durable.get(name, 0) != direct[name]
    ]


def print_report(console: Console, outcome: DemoOutcome, *, direct_seconds: float) -> None:
    """The totals, then the trace of one run, then what to do next."""
    console.print()
    console.print(_totals(outcome, direct_seconds))
    if outcome.findings.problems:
        console.print("The first problems:")
    for problem in outcome.findings.problems:
        console.print(f"  {problem}", style="dim", markup=False, highlight=False, soft_wrap=True)
    _print_trace(console, outcome)
    console.print("\nWhat to look at next", style="bold")
    console.print(_columns(*NEXT))


def _print_trace(console: Console, outcome: DemoOutcome) -> None:
    """The example as a tree of spans, and where to see more than that."""
    what = "a run that lost its worker" if outcome.tally.lost else "one run"
    console.print(f"\nThe trace of {what}: {outcome.example}", style="bold", highlight=False)
    shown = shortened(outcome.trace)
    print_trace(shown)
    if left_out := len(outcome.trace) - len(shown):
        console.print(f"{left_out:,} more spans of this run are left out", style="dim", highlight=False)
    if outcome.collector is None:
        console.print("\nSee the whole audit in Jaeger", style="bold")
        lines: Sequence[str] = TO_JAEGER
    else:
        trace_id = outcome.trace[0].trace_id.hex()
        console.print(f"\nThe whole audit is one trace, and is at {outcome.collector}", style="bold", highlight=False)
        lines = [f"trace {trace_id}", f"http://localhost:16686/trace/{trace_id}  where Jaeger is on this machine"]
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True)


def shortened(spans: Sequence[TraceSpan]) -> list[TraceSpan]:
    """At most SPANS_SHOWN of the spans, in whole branches below the run: its first ones, then those that lost most."""
    known = {span.span_id for span in spans}
    below: dict[bytes, list[TraceSpan]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_ns):
        below[span.parent_id if span.parent_id in known else b""].append(span)
    branches = [_branch(top, below) for root in below[b""] for top in below[root.span_id]]
    shown = list(below[b""])
    by_loss = sorted(branches[ALWAYS_SHOWN:], key=_losses, reverse=True)
    for branch in (*branches[:ALWAYS_SHOWN], *by_loss):
        if len(shown) + len(branch) <= SPANS_SHOWN:
            shown += branch
    return shown


def _branch(top: TraceSpan, below: Mapping[bytes, list[TraceSpan]]) -> list[TraceSpan]:
    return [top, *(span for child in below.get(top.span_id, ()) for span in _branch(child, below))]


def _losses(branch: list[TraceSpan]) -> int:
    return sum(span.attributes.get("holdfast.attempt.outcome") == "lost" for span in branch)


def print_differences(console: Console, found: list[str]) -> None:
    """Why the demo failed."""
    console.print("\nThe durable audit and the direct computation differ:", style="bold red")
    for line in found:
        console.print(f"  {line}", highlight=False)
    console.print(
        "If packages were installed or removed meanwhile, run it again; else this is a bug: please report it."
    )


def _totals(outcome: DemoOutcome, direct_seconds: float) -> Table:
    findings, tally = outcome.findings, outcome.tally
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right", style="bold")
    table.add_column(style="dim")
    table.add_row("distributions", f"{findings.distributions:,}", f"{findings.unrecorded:,} without a RECORD")
    table.add_row("files", f"{findings.files:,}", "named in RECORDs")
    table.add_row("  verified", f"{findings.verified:,}", f"{findings.bytes / 1e6:,.1f} MB read")
    table.add_row("  mismatched", f"{findings.mismatched:,}", "other hash or size than recorded")
    table.add_row("  missing", f"{findings.missing:,}", "")
    table.add_row("  unverifiable", f"{findings.unverifiable:,}", "without a hash: mostly compiled files")
    table.add_row("runs", f"{tally.runs:,}", f"with {tally.entries:,} entries in their journals")
    table.add_row("steps", f"{tally.steps:,}", f"{tally.steps / outcome.seconds:,.0f} per second")
    table.add_row("attempts lost", f"{tally.lost:,}", "under way when their worker was killed")
    table.add_row("attempts repeated", f"{tally.repeated:,}", "by another worker; all else was kept")
    table.add_row("direct computation", "equal", f"all totals, in {direct_seconds:.1f} s")
    return table


def _columns(*rows: tuple[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in rows[0]:
        table.add_column(no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
