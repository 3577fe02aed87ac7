"""`holdfast runs`: list, look at and steer runs."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from holdfast.cli.arguments import parse_value
from holdfast.cli.command_group import CommandGroup
from holdfast.cli.options import (
    AddressOption,
    CodecsOption,
    NamespaceOption,
    Output,
    OutputOption,
    RunArgument,
    TimePassed,
    duration,
    moment,
    note,
    pairs,
    with_client,
)
from holdfast.errors import HoldfastError
from holdfast.statuses import RunStatus

if TYPE_CHECKING:
    from holdfast.client import Client, RunHandle, RunPage

T = TypeVar("T")

app = typer.Typer(cls=CommandGroup, help="List, look at and steer runs.", no_args_is_help=True)

ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why, for people.", show_default=False)]


@app.command("list")
def list_runs(
    workflow: Annotated[
        str | None, typer.Option("--workflow", "-w", help="Only this workflow.", show_default=False)
    ] = None,
    status: Annotated[
        list[RunStatus] | None,
        typer.Option(
            "--status",
            "-s",
            metavar="STATUS",
            show_default=False,
            help=f"Only in this state; repeatable: {', '.join(RunStatus)}.",
        ),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", metavar="KEY=VALUE", help="Only with this fact.", show_default=False),
    ] = None,
    started_after: Annotated[
        str | None,
        typer.Option("--started-after", metavar="TIME", help='ISO time, or "2h" ago.', show_default=False),
    ] = None,
    started_before: Annotated[
        str | None,
        typer.Option("--started-before", metavar="TIME", help='ISO time, or "2h" ago.', show_default=False),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="In the id, run id or workflow.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=1000, help="How many at most.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="The next page.", show_default=False)] = None,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """List runs, newest first."""
    from holdfast.cli import display, plain_values

    facts = pairs(metadata or (), option="--metadata")
    after = moment(started_after, option="--started-after")
    before = moment(started_before, option="--started-before")

    async def page_of(client: "Client") -> "RunPage":
        return await client.list(
            workflow=workflow,
            status=status or None,
            metadata=facts,
            started_after=after,
            started_before=before,
            text=text,
            limit=limit,
            cursor=cursor,
        )

    page = with_client(address, namespace, page_of)
    if output is Output.JSON:
        _print_json([plain_values.listed_run(run) for run in page])
    else:
        display.print_runs(page)
    if page.next_cursor is not None:
        note(f"there are more: --cursor {page.next_cursor}")


@app.command()
def chain(
    run: RunArgument,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """List the runs of a chain, of which each continued as the next, oldest first; RUN is any of them."""
    from holdfast.cli import display, plain_values

    found = with_client(address, namespace, lambda client: client.chain(run))
    if output is Output.JSON:
        _print_json([plain_values.listed_run(one) for one in found])
    else:
        display.print_runs(found)


@app.command()
def show(
    run: RunArgument,
    codecs: CodecsOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what is known of a run: status, current step, arguments, result or error."""
    from holdfast.cli import display, plain_values

    described = _with_run(address, namespace, run, lambda handle: handle.describe(), codecs)
    if output is Output.JSON:
        _print_json(plain_values.shown_run(described))
    else:
        display.print_run(described)


@app.command()
def history(
    run: RunArgument,
    codecs: CodecsOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the journal of a run: its steps with their attempts, timers, signals and children."""
    from holdfast.cli import display
    from holdfast.client import story
    from holdfast.replay.files import history_values
    from holdfast.replay.stored import stored_with_epochs

    if output is Output.JSON:
        stored, epochs = _with_run(
            address, namespace, run, lambda handle: stored_with_epochs(handle, namespace=namespace), codecs
        )
        _print_json(history_values(stored, epochs))
    else:
        journal = _with_run(address, namespace, run, lambda handle: handle.history(), codecs)
        display.print_story(journal.run_id, story.story_of(journal))


@app.command()
def report(
    run: RunArgument,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show how each task of a run stands: its status, last attempt, times, and error or result."""
    from holdfast.cli import display, plain_values

    found = _with_run(address, namespace, run, lambda handle: handle.report())
    if output is Output.JSON:
        _print_json(plain_values.run_report(found))
    else:
        display.print_report(found)


@app.command()
def cancel(
    run: RunArgument,
    reason: ReasonOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is closed.")] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="DURATION", help="How long to wait at most.", show_default=False)
    ] = None,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
) -> None:
    """Ask a run to end; its code may clean up first. Fails when it is closed already."""
    seconds = duration(timeout, option="--timeout")
    try:
        accepted = _with_run(address, namespace, run, lambda handle: handle.cancel(reason, wait=wait, timeout=seconds))
    except TimeoutError as error:
        raise TimePassed(error) from None
    _answer(accepted, f"{run} is cancelled" if wait else f"{run} was asked to end", refused=_closed(run))


@app.command()
def terminate(
    run: RunArgument,
    reason: ReasonOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
) -> None:
    """End a run at once, without asking its code. Fails when it is closed already."""
    accepted = _with_run(address, namespace, run, lambda handle: handle.terminate(reason))
    _answer(accepted, f"{run} is terminated", refused=_closed(run))


@app.command()
def retry(
    run: RunArgument,
    from_tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="TASK",
            help="Of a graph: this task and what depends on it run again; repeatable.",
            show_default=False,
        ),
    ] = None,
    graph: Annotated[
        str | None,
        typer.Option(
            "--graph", metavar="GRAPH", help='With --from: the graph, "shop.flows:onboarding".', show_default=False
        ),
    ] = None,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """Continue a failed run at its failed step, as a new run; prints its run id."""
    from holdfast.cli.graphs import load_one_graph

    if bool(from_tasks) != bool(graph):
        raise typer.BadParameter("are given together", param_hint="--from, --graph")
    found = None if graph is None else load_one_graph(graph)
    handle = _with_run(address, namespace, run, lambda handle: handle.retry(from_tasks=from_tasks or None, graph=found))
    if output is Output.JSON:
        _print_json({"run_id": handle.run_id, "id": handle.id})
    else:
        typer.echo(handle.run_id)


@app.command()
def resume(run: RunArgument, address: AddressOption = None, namespace: NamespaceOption = "default") -> None:
    """Offer a stalled run to workers again."""
    _with_run(address, namespace, run, lambda handle: handle.resume())
    typer.echo(f"{run} is offered to workers again")


@app.command()
def get(
    run: RunArgument,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key.")],
    codecs: CodecsOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
) -> None:
    """Print what a run has published last under a key, as JSON."""
    _print_json(_with_run(address, namespace, run, lambda handle: handle.get(key), codecs))


@app.command()
def signal(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the signal.")],
    payload: Annotated[
        str | None, typer.Argument(metavar="[JSON]", help="What it carries.", show_default=False)
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Fail unless it is the first of its name.")] = False,
    codecs: CodecsOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
) -> None:
    """Send a signal to an open run."""
    value = None if payload is None else parse_value(payload, hint="JSON")
    accepted = _with_run(address, namespace, run, lambda handle: handle.signal(name, value, once=once), codecs)
    _answer(accepted is not False, f"signal {name} was sent", refused=f"{run} has a signal {name} already")


def _with_run(
    address: str | None,
    namespace: str,
    run: str,
    use: "Callable[[RunHandle[Any]], Awaitable[T]]",
    codecs: str | None = None,
) -> T:
    async def used(client: "Client") -> T:
        return await use(client.get(run))

    return with_client(address, namespace, used, codecs=codecs)


def _answer(accepted: bool, done: str, *, refused: str) -> None:
    if not accepted:
        raise HoldfastError(refused)
    typer.echo(done)


def _closed(run: str) -> str:
    return f"{run} is closed already"


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
