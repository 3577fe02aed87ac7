"""What a fleet asks of its database, simulated: `python -m benchmarks.capacity.simulate`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .fleet import Fleet, Traffic
from .simulation import simulate


def main(
    coordinators: Annotated[int, typer.Option(min=1)] = 100,
    workers: Annotated[int, typer.Option(min=0)] = 10_000,
    cells: Annotated[int, typer.Option(min=1, max=99)] = 1,
    queues: Annotated[int, typer.Option(min=1, help="How many queues the workers and runs are spread over.")] = 1,
    starts: Annotated[float, typer.Option(min=0, help="Runs that are started per second.")] = 1_000.0,
    steps: Annotated[int, typer.Option(min=1, help="Steps of a run, inline, one after the other.")] = 10,
    held: Annotated[int, typer.Option(min=0, help="Leased runs of each worker that do nothing.")] = 0,
    alarms: Annotated[float, typer.Option(min=0, help="Timers that come due per second.")] = 0.0,
    metrics: Annotated[bool, typer.Option("--metrics", help="Coordinators serve metrics.")] = False,
    doorbell: Annotated[bool, typer.Option(help="Coordinators notify each other.")] = True,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of the fleet's time, after it has settled.")] = 10.0,
    seed: Annotated[int, typer.Option()] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Simulate a fleet and count what it does per second.

    The same seed gives the same figures on any machine. A hundred coordinators and 10,000 workers take some minutes.
    """
    fleet = Fleet(
        coordinators, workers, cells, queues, starts_per_second=starts, steps_per_run=steps, held_runs=held,
        alarms_per_second=alarms, has_metrics=metrics, has_doorbell=doorbell,
    )  # fmt: skip
    found = simulate(fleet, seconds=seconds, seed=seed)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
    else:
        Console().print(table_of(fleet, found))


def table_of(fleet: Fleet, found: Traffic) -> Table:
    """What asks the database, and below it what else there is per second."""
    title = f"{fleet.coordinators} coordinators, {fleet.workers:,} workers, {fleet.cells} cells, {fleet.queues} queues"
    table = Table(title=f"{title}: per second", title_justify="left")
    for column in ("", "transactions", "statements", "rows"):
        table.add_column(column, justify="left" if not column else "right")
    for name in found.transactions:
        counted = (found.transactions[name], found.statements[name], found.rows[name])
        table.add_row(name, *(f"{one:,.0f}" for one in counted))
    table.add_section()
    all_statements = sum(found.statements.values())
    table.add_row("all", *(f"{one:,.0f}" for one in (found.all_transactions, all_statements, found.all_rows)))
    table.add_section()
    for name, count in found.messages.items():
        table.add_row(f"{name} calls, each coordinator", f"{count / fleet.coordinators:,.1f}")
    table.add_row("notices said", f"{found.notices:,.0f}")
    table.add_row("notices taken in, each coordinator", f"{found.notices_taken / fleet.coordinators:,.0f}")
    table.add_row("bytes of them, each coordinator", f"{found.notice_bytes_taken / fleet.coordinators:,.0f}")
    table.add_row("commands in a commit", f"{found.commands_per_commit:,.2f}")
    table.add_row("runs handed off at once, share", f"{found.handed_off_share:.2f}")
    table.add_row("claims for each claimed run", f"{found.claims_per_claimed_run:,.1f}")
    table.add_row("start to lease p99, seconds", f"{found.lease_wait_p99_seconds:.3f}")
    return table


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
