"""`holdfast health`: one gRPC health check, for probes of containers. Exit code 0 means healthy, 1 not."""

from typing import Annotated

import typer

from holdfast.cli.options import duration
from holdfast.errors import HoldfastError


def health(
    address: Annotated[
        str | None,
        typer.Argument(
            help="A coordinator, or the health port of a worker, host:port; else HOLDFAST_ADDRESS.",
            show_default=False,
        ),
    ] = None,
    alive: Annotated[
        bool, typer.Option("--alive", help="Any answer is good, also that it does not serve at the moment.")
    ] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="How long to wait for the answer.")] = "3s",
) -> None:
    """Ask a coordinator or a worker whether it serves. With --alive: whether it answers at all."""
    from holdfast.channel.connection import address_or_default
    from holdfast.channel.health import Health, ask_health
    from holdfast.client.loops import run

    target = address_or_default(address)
    seconds = duration(timeout, option="--timeout")
    assert seconds is not None
    answer = run(ask_health(target, timeout=seconds))
    if answer is not Health.SERVING and not alive:
        raise HoldfastError(f"{target} does not serve: it answers {answer.name}")
    typer.echo(answer.name)
