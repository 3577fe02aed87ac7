"""How results are shown: a table for people, JSON for programs. Writes nothing to anywhere but the given console."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from .figures import DUES, Due, Figure
from .limits import LIMITS

FACTOR = "factor"
NOT_AVAILABLE = "not available"
WIDTH_MIN = 120
"""Of what is written to a file or a pipe, in characters."""


@dataclass(slots=True, frozen=True)
class Results:
    """What was measured.

    limits: by name, and the machine's factor as `factor`. cases: by name, None for what is not available. problems: why
    a case that stands apart gave no figures. details: CPU by process, `<name of a figure>.<process>`; shown below that
    figure, in no JSON.
    """

    limits: Mapping[str, Figure]
    cases: Mapping[str, Figure | None]
    details: Mapping[str, Figure]
    problems: Mapping[str, str] = field(default_factory=dict)


def as_json(results: Results) -> dict[str, Any]:
    """{"limits": {name: figure}, "cases": {name: figure or null}}; a figure has median, min, max and unit."""
    return {
        "limits": {name: asdict(figure) for name, figure in results.limits.items()},
        "cases": {name: asdict(figure) if figure else None for name, figure in results.cases.items()},
    }


def show(results: Results, console: Console, *, left_out: Sequence[str] = ()) -> None:
    """One table: the limits of the machine, then every case beside what is due on such a machine.

    left_out: the cases that were not measured, which is said below.
    """
    if not console.is_terminal:
        console.width = max(console.width, WIDTH_MIN)
    factor = results.limits[FACTOR].median
    table = Table(title=f"holdfast; machine factor {factor:.2f}", title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("what")
    for column in ("median", "range", "unit", "due", "goal", ""):
        table.add_column(column, justify="left" if column == "unit" else "right", no_wrap=True)
    for name, what in LIMITS.items():
        figure = results.limits[name]
        table.add_row("limit", what, _number(figure.median), _range(figure), figure.unit)
    table.add_section()
    for name, found in results.cases.items():
        _add_case(table, name, DUES[name].scaled(factor), found)
        for detail, figure in results.details.items():
            whole, _, part = detail.rpartition(".")
            if whole == name:
                table.add_row("", f"[dim]CPU of {part}[/]", _number(figure.median), _range(figure), figure.unit)
    console.print(table)
    if left_out:
        console.print(f"Not measured, as they take minutes: {', '.join(left_out)}. --case measures one.")


def _add_case(table: Table, name: str, due: Due, found: Figure | None) -> None:
    expected = tuple("-" if wanted is None else _number(wanted) for wanted in (due.due, due.goal))
    if found is None:
        table.add_row(name, due.what, NOT_AVAILABLE, "", due.unit, *expected, "[yellow]-[/]")
        return
    if due.is_goal_reached(found.median):
        verdict = "[bold green]goal[/]"
    else:
        verdict = {True: "[green]pass[/]", False: "[red]fail[/]", None: ""}[due.is_reached(found.median)]
    table.add_row(name, due.what, _number(found.median), _range(found), due.unit, *expected, verdict)


def _range(figure: Figure) -> str:
    return f"{_number(figure.min)} .. {_number(figure.max)}"


def _number(value: float) -> str:
    """Three significant digits, or whole numbers."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
