"""`make bench-peers`: parses options, compares, prints."""

import json
from typing import Annotated

import typer
from rich.console import Console

from holdfast import HoldfastError
from holdfast.cli.root import RootGroup
from holdfast.client.loops import run

from .compare import measure
from .dbos import DBOS
from .restate import RESTATE
from .table import as_json, left_out, show

PEERS = {peer.name: peer for peer in (RESTATE, DBOS)}


def bench_peers(
    peer: Annotated[
        list[str] | None, typer.Option("--peer", help=f"Only this one, of {', '.join(PEERS)}; may be given many times.")
    ] = None,
    as_json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", hidden=True, help="Only see whether it works.")] = False,
) -> None:
    """Measure holdfast beside other engines on this machine, in turns.

    What they consist of is installed below .cache/peers. Each runs in the way that is its fastest here; all commits
    are durable. Each ratio is the median of three rounds.
    """
    if unknown := set(peer or ()) - set(PEERS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: the peers are {', '.join(PEERS)}", param_hint="--peer")
    wanted = [one for one in PEERS.values() if not peer or one.name in peer]
    err = Console(stderr=True)
    try:
        with err.status("") as status:
            results = run(measure(wanted, is_smoke=smoke, say=status.update))
    except HoldfastError as error:
        err.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(1) from error
    if as_json_:
        typer.echo(json.dumps(as_json(results)))
        for name, why in results.left_out.items():
            err.print(left_out(results.titles[name], why), highlight=False)
    else:
        show(results, Console())
    if not results.ways:
        raise typer.Exit(2)


if __name__ == "__main__":
    app = typer.Typer(cls=RootGroup, pretty_exceptions_enable=False)
    app.command()(bench_peers)
    app()
