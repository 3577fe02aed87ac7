"""Tables and trees for people. Texts of users are escaped: they never become markup."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from holdfast.channel.run_records import TraceSpan
from holdfast.cli.plain_values import shown_run
from holdfast.cli.trace_tree import trace_tree
from holdfast.client import RunDescription, RunReport
from holdfast.client.story import AttemptStory, Event, StepStory, Story
from holdfast.statuses import AttemptOutcome, StepStatus

_COLOURS = {
    "completed": "green",
    "failed": "red",
    "failed_final": "red",
    "failed_retryable": "yellow",
    "timed_out": "red",
    "terminated": "red",
    "cancelled": "magenta",
    "stalled": "yellow",
    "lost": "yellow",
    "running": "cyan",
}

RUN_HEADINGS = ("RUN", "ID", "WORKFLOW", "STATUS", "STEP", "CREATED")
COLUMN_GAP = 2


def print_runs(runs: Iterable[RunDescription]) -> None:
    """A table of runs; in a terminal that is too narrow for it, two lines for each run. Nothing is cut or broken."""
    console = _console()
    rows = [[run.run_id, run.id or "", run.workflow, run.status.value, run.current_step or "", _time(run.created_at)]
            for run in runs]  # fmt: skip
    widths = [max(map(cell_len, column)) for column in zip(RUN_HEADINGS, *rows, strict=True)]
    if sum(widths) + COLUMN_GAP * (len(widths) - 1) <= console.width:
        console.print(_table(rows))
    else:
        for row in rows:
            console.print(_stacked(*row))


def _table(rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, COLUMN_GAP, 0, 0))
    for heading in RUN_HEADINGS:
        table.add_column(heading, no_wrap=True)
    for run_id, id, workflow, status, *others in rows:
        table.add_row(Text(run_id), Text(id), Text(workflow), _coloured(status), *map(Text, others))
    return table


def _stacked(run_id: str, id: str, workflow: str, status: str, step: str, created_at: str) -> Text:
    facts = [Text(workflow), _coloured(status), *([Text(f"step {step}")] if step else []), Text(created_at, "dim")]
    return Text("\n  ").join([Text(f"{run_id}  {id}".rstrip()), Text("  ").join(facts)])


def print_run(run: RunDescription) -> None:
    """What is known of one run, one fact per line; what is empty is left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    facts = shown_run(run)
    traceback = run.failure.traceback if run.failure is not None else ""
    for name, value in facts.items():
        if name != "failure" and value not in (None, "", [], {}):
            shown = _coloured(value) if name == "status" else Text(_fact(value))
            table.add_row(name.replace("_", " "), shown)
    console = _console()
    console.print(table)
    if traceback:
        console.print(Text(traceback.rstrip(), style="dim"))


def print_story(run_id: str, story: Story) -> None:
    """A run as a tree: steps with their attempts below, and what else happened, in order."""
    tree = Tree(Text(run_id, style="bold"))
    for item in story:
        match item:
            case Event(at, text):
                tree.add(Text.assemble(text, (f"  {_time(at)}", "dim")))
            case StepStory():
                branch = tree.add(_step(item))
                for number in sorted(item.attempts):
                    branch.add(_attempt(item.attempts[number]))
    _console().print(tree)


def print_report(report: RunReport) -> None:
    """A table of the tasks of a run."""
    table = Table(box=None, pad_edge=False, padding=(0, COLUMN_GAP, 0, 0))
    for heading in ("TASK", "STATUS", "ATTEMPT", "STARTED", "TOOK", "ERROR"):
        table.add_column(heading, overflow="fold")
    for task in report.tasks:
        started, finished = task.started_at, task.finished_at
        took = _span(finished - started) if started is not None and finished is not None else ""
        cells = (str(task.attempt), _time(started) if started is not None else "", took, task.error or "")
        table.add_row(Text(task.name), _coloured(task.status.value), *map(Text, cells))
    console = _console()
    console.print(Text.assemble((report.run_id, "bold"), "  ", report.workflow, "  ", _coloured(report.status.value)))
    console.print(table)


def print_trace(spans: Iterable[TraceSpan]) -> None:
    """The spans of a run as trees, each below the id of its trace."""
    _console().print(trace_tree(spans))


def _step(step: StepStory) -> Text:
    text = Text(f"{step.number} {step.name}  ")
    text.append_text(_coloured(step.status.value))
    if step.status is StepStatus.SKIPPED and step.failure is not None:
        text.append(f"  {step.failure.error_type}: {step.failure.message}")
    elif step.closed_at is not None:
        text.append(f"  {_span(step.closed_at - step.scheduled_at)}", style="dim")
    return text


def _attempt(attempt: AttemptStory) -> Text:
    text = Text(f"attempt {attempt.number}  ")
    text.append_text(_coloured(_outcome(attempt.outcome)))
    if attempt.started_at is not None and attempt.ended_at is not None:
        text.append(f"  {_span(attempt.ended_at - attempt.started_at)}", style="dim")
    if attempt.failure is not None:
        text.append(f"  {attempt.failure.error_type}: {attempt.failure.message}")
    return text


def _outcome(outcome: AttemptOutcome | None) -> str:
    return "running" if outcome is None else outcome.name.lower()


def _coloured(status: str) -> Text:
    return Text(status, style=_COLOURS.get(status, ""))


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _time(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _span(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _console() -> Console:
    # Not soft_wrap: it cuts what stands in a tree or a table at the width of the terminal.
    console = Console()
    if not console.is_terminal:
        # A pipe has no width: nothing may be cut that a program searches for.
        console.width = 10_000
    return console
