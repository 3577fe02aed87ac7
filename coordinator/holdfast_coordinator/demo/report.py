"""Prints what the audit found, whether a direct computation agrees, and the history of one run."""

from collections import Counter
from itertools import groupby

from rich.console import Console
from rich.table import Table

from holdfast.cli.display import print_story
from holdfast.cli.story import Event, StepStory, Story, story_of

from .audit import Findings
from .driver import Outcome

NEXT = (
    ("coordinator/holdfast_coordinator/demo/audit.py", "the code that just ran"),
    ("examples/order_fulfilment", "retries, a timer, a signal"),
    ("holdfast dev YOUR_MODULE", "the same for your workflows"),
    ("docs/ARCHITECTURE.md", "how it works"),
)
STEPS_SHOWN = 8


def differences(findings: Findings, direct: Counter[str]) -> list[str]:
    """Where the two computations disagree, for people; empty when they agree."""
    durable = {name: value for name, value in vars(findings).items() if isinstance(value, int)}
    return [
        f"{name}: {durable.get(name, 0):,} by the durable audit, {direct[name]:,} directly"
        for name in sorted({*durable, *direct})
        if durable.get(name, 0) != direct[name]
    ]


def print_report(console: Console, outcome: Outcome, *, direct_seconds: float) -> None:
    """The totals, then the history of one run, then what to do next."""
    console.print()
    console.print(_totals(outcome, direct_seconds))
    if outcome.findings.problems:
        console.print("The first problems:")
    for problem in outcome.findings.problems:
        console.print(f"  {problem}", style="dim", markup=False, highlight=False, soft_wrap=True)
    name = outcome.example.args[0]["name"] if outcome.example.args else outcome.example.workflow
    what = "a run that lost its worker" if outcome.tally.lost else "one run"
    console.print(f"\nThe history of {what}: {name}", style="bold", highlight=False)
    print_story(outcome.example.run_id, shortened(story_of(outcome.history)))
    console.print("\nWhat to look at next", style="bold")
    console.print(_columns(*NEXT))


def shortened(story: Story) -> Story:
    """The story with few of its steps, the first one and those with several attempts above all others."""
    steps = [item for item in story if isinstance(item, StepStory)]
    by_interest = sorted(steps, key=lambda step: (step is not steps[0], len(step.attempts) < 2))
    left_out = {step.number for step in by_interest[STEPS_SHOWN:]}
    short: Story = []
    for is_left_out, group in groupby(story, lambda item: isinstance(item, StepStory) and item.number in left_out):
        items = list(group)
        if is_left_out:
            began = min(step.scheduled_at for step in items if isinstance(step, StepStory))
            items = [Event(began, f"{len(items)} more step(s)")]
        short += items
    return short


def print_differences(console: Console, found: list[str]) -> None:
    """Why the demo failed."""
    console.print("\nThe durable audit and the direct computation differ:", style="bold red")
    for line in found:
        console.print(f"  {line}", highlight=False)
    console.print(
        "If packages were installed or removed meanwhile, run it again; else this is a bug: please report it."
    )


def _totals(outcome: Outcome, direct_seconds: float) -> Table:
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
