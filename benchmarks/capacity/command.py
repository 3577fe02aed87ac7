"""What a load needs: parses options, asks the model, prints."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .model import Plan, Wanted, plan

DEFAULT = Wanted(1.0)


def main(
    steps_per_second: Annotated[float, typer.Option(help="Inline steps that end per second.")],
    steps_per_run: Annotated[int, typer.Option(min=1)] = DEFAULT.steps_per_run,
    payload: Annotated[int, typer.Option(min=0, help="Bytes of each argument and result.")] = DEFAULT.payload_bytes,
    step_seconds: Annotated[float, typer.Option(min=0, help="How long a step takes.")] = DEFAULT.step_seconds,
    step_cpu: Annotated[float, typer.Option(min=0, help="Milliseconds of CPU of its own code.")] = DEFAULT.step_cpu_ms,
    open_runs: Annotated[int, typer.Option(min=0, help="Runs that wait for something.")] = DEFAULT.open_runs,
    workers: Annotated[int, typer.Option(min=0, help="The smallest number of worker processes.")] = DEFAULT.workers,
    cells: Annotated[int, typer.Option(min=1, help="Complete sets of tables.")] = DEFAULT.cells,
    retention_days: Annotated[float, typer.Option(min=0, help="How long closed runs stay.")] = DEFAULT.retention_days,
    commit_ms: Annotated[float, typer.Option(min=0.01, help="What a lone commit takes.")] = DEFAULT.commit_ms,
    busy_share: Annotated[float, typer.Option(min=0.05, max=0.95, help="How busy cores may be.")] = DEFAULT.busy_share,
    speed: Annotated[float, typer.Option(min=0.05, help="Of a core, over the measured one.")] = DEFAULT.speed,
) -> None:
    """Say what coordinators, workers and Postgres a load needs. docs/capacity.md says what that rests on."""
    wanted = Wanted(
        steps_per_second, steps_per_run, payload, step_seconds, step_cpu, open_runs, workers, cells, retention_days,
        commit_ms, busy_share, speed=speed,
    )  # fmt: skip
    try:
        found = plan(wanted)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    Console().print(table_of(wanted, found))
    for limit in found.limits:
        Console().print(f"But {limit}.", highlight=False)


def table_of(wanted: Wanted, found: Plan) -> Table:
    """What is needed, a line for each."""
    table = Table(title=f"For {wanted.steps_per_second:,.0f} steps/s", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("how much", justify="right")
    for what, much in (
        ("coordinators, one to spare", f"{found.coordinators}"),
        ("  each busy, of one core", f"{found.coordinator_busy_share:.0%}"),
        ("worker processes", f"{found.workers:,}"),
        ("cells", f"{found.cells}"),
        ("cores for coordinators", f"{found.coordinator_cores:.1f}"),
        ("cores for workers", f"{found.worker_cores:.1f}"),
        ("cores for Postgres", f"{found.postgres_cores:.1f}"),
        ("cores for clients", f"{found.client_cores:.1f}"),
        ("steps in a commit", f"{found.commands_per_commit:.1f}"),
        ("transactions per second", f"{found.transactions:,.0f}"),
        ("  a writer busy, of one core", f"{found.writer_busy_share:.0%}"),
        ("connections to Postgres", f"{found.connections:,}"),
        ("  while coordinators are replaced", f"{found.connections_while_replaced:,}"),
        ("heartbeats per second", f"{found.heartbeats:,.0f}"),
        ("WAL per second", _size(found.wal_bytes)),
        (f"disk, {wanted.retention_days:g} days of closed runs", _size(found.disk_bytes)),
    ):
        table.add_row(what, much)
    return table


def _size(amount: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1_000 or unit == "TB":
            break
        amount /= 1_000
    return f"{amount:,.3g} {unit}" if amount < 1_000 else f"{amount:,.0f} {unit}"
