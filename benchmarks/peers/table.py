"""How a comparison is shown: a table for people, JSON for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..report import WIDTH_MIN
from .ratios import COMPARED, OURS, Comparison

_WIDTH = WIDTH_MIN + 50


@dataclass(slots=True, frozen=True)
class Results:
    """titles: of engines, with their versions. ways: in which each peer was measured, by peer and case.

    left_out: peers, and why.
    """

    titles: Mapping[str, str]
    comparisons: Sequence[Comparison]
    ways: Mapping[str, Mapping[str, str]]
    left_out: Mapping[str, str]


def as_json(results: Results) -> dict[str, Any]:
    """By peer: figures of both, ratio, due and goal (null where nothing is); how it ran; and who was left out, why."""
    peers: dict[str, dict[str, Any]] = {
        peer: {"title": results.titles[peer], "ways": dict(ways), "figures": {}} for peer, ways in results.ways.items()
    }
    for one in results.comparisons:
        due = one.due
        peers[one.peer]["figures"][one.name] = {
            OURS: asdict(one.ours), one.peer: asdict(one.theirs), "ratio": asdict(one.ratio),
            "due": due and due.due, "goal": due and due.goal,
        }  # fmt: skip
    return {OURS: results.titles[OURS], "peers": peers, "left_out": dict(results.left_out)}


def show(results: Results, console: Console) -> None:
    """One table per peer, how the peer ran, and one line for each peer that was left out."""
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    for peer, ways in results.ways.items():
        console.print(_table(results, peer))
        for case, way in ways.items():
            console.print(f"{results.titles[peer]}, {case}: {way}", highlight=False)
        console.print()
    for peer, why in results.left_out.items():
        console.print(left_out(results.titles[peer], why), highlight=False)


def left_out(title: str, why: str) -> str:
    """The line that says so."""
    return f"[yellow]{title} is left out[/]: {escape(why)}"


def _table(results: Results, peer: str) -> Table:
    ours, theirs = results.titles[OURS], results.titles[peer]
    table = Table(title=f"{ours} beside {theirs}", title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("what")
    table.add_column("unit", no_wrap=True)
    for column in (OURS, "range", theirs, "range", "ratio", "range", "due", "goal"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("better", no_wrap=True)
    for one in results.comparisons:
        if one.peer == peer:
            table.add_row(*_row(one, theirs))
    return table


def _row(one: Comparison, theirs: str) -> list[str]:
    due, compared = one.due, COMPARED[one.name]
    colour = "" if due is None else "[green]" if due.is_reached(one.ratio.median) else "[red]"
    cells = [one.name, compared.what, compared.unit]
    for figure in (one.ours, one.theirs):
        cells += [_number(figure.median), f"{_number(figure.min)} .. {_number(figure.max)}"]
    cells += [f"{colour}{_number(one.ratio.median)}x", f"{_number(one.ratio.min)} .. {_number(one.ratio.max)}"]
    cells += ["", ""] if due is None else [f"{due.due:g}x", f"{due.goal:g}x"]
    return [*cells, OURS if one.is_ours_better else f"[bold]{theirs}[/]"]


def _number(value: float) -> str:
    """Three significant digits, or whole numbers."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
