"""`holdfast trace`: a run as a tree of spans, here or in the collector's backend."""

import json
from typing import TYPE_CHECKING

import typer

from holdfast.cli.command_group import CommandGroup
from holdfast.cli.options import AddressOption, NamespaceOption, Output, OutputOption, RunArgument, with_client
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.channel.run_records import ExportedTrace, TraceSpan
    from holdfast.client import Client

app = typer.Typer(cls=CommandGroup, help="Show runs as traces, and export them.", no_args_is_help=True)


@app.command()
def show(
    run: RunArgument,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a run as a tree of spans: steps, attempts, waits. Of an open run, what has ended so far.

    Needs no tracing backend, and shows every run, whether it was sampled or not.
    """
    from holdfast.cli import display, plain_values

    spans = with_client(address, namespace, lambda client: _get_trace(client, run))
    if not spans:
        raise HoldfastError(f"nothing of run {run} has ended yet, so there is no span to show; ask again later")
    if output is Output.JSON:
        typer.echo(json.dumps([plain_values.trace_span(span) for span in spans], ensure_ascii=False, indent=2))
    else:
        display.print_trace(spans)


@app.command()
def export(run: RunArgument, address: AddressOption = None, namespace: NamespaceOption = "default") -> None:
    """Send all spans of a run to the coordinator's collector, whether it was sampled or not.

    A backend that has some of them already gets the same again. Fails when the coordinator exports no traces.
    """
    exported = with_client(address, namespace, lambda client: _export_trace(client, run))
    typer.echo(f"{exported.spans} {'span was' if exported.spans == 1 else 'spans were'} sent to {exported.collector}")


async def _get_trace(client: "Client", run: str) -> "list[TraceSpan]":
    from holdfast.channel.run_calls import RunCalls

    return await RunCalls(client.connection, client.namespace).get_trace(run)


async def _export_trace(client: "Client", run: str) -> "ExportedTrace":
    from holdfast.channel.run_calls import RunCalls

    return await RunCalls(client.connection, client.namespace).export_trace(run)
