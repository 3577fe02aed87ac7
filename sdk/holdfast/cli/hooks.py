"""`holdfast hooks`: deliver to places in runs, for whoever has their tokens."""

from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.arguments import parse_value
from holdfast.cli.command_group import CommandGroup
from holdfast.cli.options import AddressOption, CodecsOption, with_client

if TYPE_CHECKING:
    from holdfast.client import Client

app = typer.Typer(cls=CommandGroup, help="Deliver to the hooks of runs.", no_args_is_help=True)


@app.callback()
def _hooks() -> None:
    """Deliver to the hooks of runs."""


@app.command()
def deliver(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token of the hook.")],
    payload: Annotated[
        str | None, typer.Option("--payload", metavar="JSON", help="What is delivered.", show_default=False)
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="Repeats with one id are one delivery.", show_default=False),
    ] = None,
    codecs: CodecsOption = None,
    address: AddressOption = None,
) -> None:
    """Deliver one payload to the hook of this token, without knowing its run."""
    value = None if payload is None else parse_value(payload, hint="JSON")

    async def used(client: "Client") -> None:
        await client.deliver(token, value, request_id=request_id)

    with_client(address, "default", used, codecs=codecs)
    typer.echo("delivered")
