"""Options that many commands share, and how a command gets its client."""

import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from holdfast.durations import parse_duration
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.client import Client

T = TypeVar("T")


class Output(StrEnum):
    """How a command prints."""

    TABLE = "table"
    JSON = "json"


class GuardsChoice(StrEnum):
    """Whether workflow code may call what a replay cannot repeat."""

    ON = "on"
    OFF = "off"


GUARDS_HELP = "off lets workflow code call what a replay cannot repeat: clocks, randomness, files, sockets, threads."

AddressOption = Annotated[
    str | None,
    typer.Option("--address", envvar="HOLDFAST_ADDRESS", help="The coordinator, host:port.", show_default=False),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", envvar="HOLDFAST_NAMESPACE", help="The namespace.")]
CodecsOption = Annotated[
    str | None,
    typer.Option(
        "--codecs",
        envvar="HOLDFAST_CODECS",
        metavar="MODULE:FACTORY",
        help="What makes the payload codecs: compression, encryption.",
        show_default=False,
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run id or a business id.")]


class TimePassed(HoldfastError):
    """The time that the user gave has passed; what was waited for goes on. Exit code as that of timeout(1)."""

    exit_code = 124

    def __init__(self, error: TimeoutError) -> None:
        super().__init__(str(error))


def with_client(
    address: str | None,
    namespace: str,
    use: "Callable[[Client], Awaitable[T]]",
    *,
    checked: bool = True,
    codecs: str | None = None,
    drive: Callable[[Coroutine[Any, Any, T]], T] | None = None,
) -> T:
    """Connects, lets `use` do its work, and disconnects. checked: fails at once when no coordinator answers.

    codecs: "module:factory", for all values. drive: runs all this on a loop; a new one by default.
    """
    from holdfast.channel.connection import CONNECT_SECONDS
    from holdfast.cli.codecs_option import load_codecs
    from holdfast.client import Client
    from holdfast.client.loops import run

    chain = load_codecs(codecs)
    timeout = CONNECT_SECONDS if checked else None

    async def connected() -> T:
        async with Client.connect(address, namespace, timeout=timeout, codecs=chain) as client:
            return await use(client)

    return (drive or run)(connected())


def pairs(given: Iterable[str], *, option: str) -> dict[str, str]:
    """ "k=v" texts as a mapping. A usage error names the option."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
        found[key] = value
    return found


def duration(text: str | None, *, option: str) -> float | None:
    """A duration in seconds. A usage error names the option."""
    if text is None:
        return None
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def moment(text: str | None, *, option: str) -> datetime | None:
    """An instant: an ISO time (UTC unless it says otherwise), or a duration, which counts back from now."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - parse_duration(text)
    except ValueError:
        problem = f'{text!r} is neither an ISO time nor a duration such as "2h"'
        raise typer.BadParameter(problem, param_hint=option) from None


def note(text: str) -> None:
    """Says something for people, beside the output."""
    typer.echo(text, file=sys.stderr)
