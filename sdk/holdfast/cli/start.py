"""`holdfast start` and `holdfast run`: start a run from the command line, by the name of its workflow."""

import json
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from holdfast.cli.arguments import ARGUMENT_OPTION, INPUT_OPTION, parse_call
from holdfast.cli.options import (
    AddressOption,
    CodecsOption,
    NamespaceOption,
    Output,
    OutputOption,
    TimePassed,
    duration,
    note,
    pairs,
    with_client,
)
from holdfast.errors import HoldfastError, RunFailed
from holdfast.statuses import RunStatus

if TYPE_CHECKING:
    from holdfast.authoring.workflows import WorkflowStart
    from holdfast.channel.run_records import OnConflict, Reuse
    from holdfast.client import Client, RunHandle

PENDING_SECONDS = 3.0
"""How long a run may wait for its first worker before `holdfast run` says why."""

WorkflowArgument = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The name of the workflow.")]
InputOption = Annotated[
    str | None,
    typer.Option(
        INPUT_OPTION,
        "-i",
        metavar="JSON",
        help="An array (positional), an object (named) or one value; - for stdin, @path for a file.",
        show_default=False,
    ),
]
NamedOption = Annotated[
    list[str] | None,
    typer.Option(ARGUMENT_OPTION, "-a", metavar="NAME=VALUE", help="One named argument.", show_default=False),
]
IdOption = Annotated[
    str | None, typer.Option("--id", help="The business id; an open run with it is joined.", show_default=False)
]
KeyOption = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="Starts with one key make one run.", show_default=False),
]
QueueOption = Annotated[str | None, typer.Option("--queue", help="The queue.", show_default=False)]
PriorityOption = Annotated[
    int | None, typer.Option("--priority", help="Lower first.", min=-100, max=100, show_default=False)
]
DelayOption = Annotated[
    str | None, typer.Option("--delay", metavar="DURATION", help='Start later: "5m".', show_default=False)
]
MetadataOption = Annotated[
    list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="A fact.", show_default=False)
]
ConflictOption = Annotated[
    str, typer.Option("--on-conflict", help="When an open run has the id: attach, reject or terminate.")
]
ReuseOption = Annotated[str, typer.Option("--reuse", help="When a closed run has the id: attach, new or retry_failed.")]
SampledOption = Annotated[
    bool | None,
    typer.Option(
        "--sampled/--no-sampled", help="Trace it, or not, whatever the coordinator's ratio says.", show_default=False
    ),
]


def start(
    workflow: WorkflowArgument,
    input: InputOption = None,
    arg: NamedOption = None,
    id: IdOption = None,
    idempotency_key: KeyOption = None,
    queue: QueueOption = None,
    priority: PriorityOption = None,
    delay: DelayOption = None,
    metadata: MetadataOption = None,
    on_conflict: ConflictOption = "attach",
    reuse: ReuseOption = "attach",
    sampled: SampledOption = None,
    codecs: CodecsOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a run and print its run id, without waiting for it."""
    args, kwargs = parse_call(input, arg or ())
    what = _with_options(workflow, id, idempotency_key, queue, priority, delay, metadata, on_conflict, reuse, sampled)

    async def started(client: "Client") -> "RunHandle[Any]":
        return await client.start(what, *args, **kwargs)

    handle = with_client(address, namespace, started, codecs=codecs)
    if output is Output.JSON:
        facts = {"run_id": handle.run_id, "id": handle.id, "attached": handle.attached}
        typer.echo(json.dumps(facts, ensure_ascii=False))
    else:
        if handle.attached:
            note(_about(handle))
        typer.echo(handle.run_id)


def run(
    workflow: WorkflowArgument,
    input: InputOption = None,
    arg: NamedOption = None,
    id: IdOption = None,
    idempotency_key: KeyOption = None,
    queue: QueueOption = None,
    priority: PriorityOption = None,
    metadata: MetadataOption = None,
    on_conflict: ConflictOption = "attach",
    reuse: ReuseOption = "attach",
    sampled: SampledOption = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="DURATION", help="Stop waiting; the run goes on.", show_default=False),
    ] = None,
    codecs: CodecsOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
) -> None:
    """Start a run, wait for it, and print its result as JSON.

    Exit code 0 only when it completed, 1 when it did not, 124 when --timeout has passed and the run goes on.
    """
    import asyncio

    args, kwargs = parse_call(input, arg or ())
    seconds = duration(timeout, option="--timeout")
    what = _with_options(workflow, id, idempotency_key, queue, priority, None, metadata, on_conflict, reuse, sampled)

    async def result_of(client: "Client") -> Any:
        handle = await client.start(what, *args, **kwargs)
        note(_about(handle))
        waiting = asyncio.create_task(_note_why_it_waits(handle))
        try:
            return await handle.result(timeout=seconds)
        except RunFailed as failed:
            raise RunDidNotComplete(failed) from failed
        except TimeoutError as error:
            raise TimePassed(error) from None
        finally:
            waiting.cancel()

    result = with_client(address, namespace, result_of, codecs=codecs)
    typer.echo(json.dumps(result, ensure_ascii=False))


def _about(handle: "RunHandle[Any]") -> str:
    named = f" ({handle.id})" if handle.id else ""
    return f"run {handle.run_id}{named}{' was there already and is joined' if handle.attached else ''}"


class RunDidNotComplete(HoldfastError):
    """A run that the command has waited for ended without a result."""

    def __init__(self, failed: RunFailed) -> None:
        super().__init__(f"{failed}\n`holdfast runs history {failed.run_id}` shows its steps")


async def _note_why_it_waits(handle: "RunHandle[Any]") -> None:
    """After a moment without a worker, says why the run does not begin."""
    import asyncio

    await asyncio.sleep(PENDING_SECONDS)
    described = await handle.describe()
    if described.status in (RunStatus.PENDING, RunStatus.STALLED) and described.reason:
        note(f"{described.status}: {described.reason}")


def _with_options(
    workflow: str,
    id: str | None,
    idempotency_key: str | None,
    queue: str | None,
    priority: int | None,
    delay: str | None,
    metadata: list[str] | None,
    on_conflict: str,
    reuse: str,
    sampled: bool | None,
) -> "WorkflowStart[..., Any]":
    from holdfast.client import by_name

    seconds = duration(delay, option="--delay")
    facts = pairs(metadata or (), option="--metadata")
    try:
        return by_name(workflow).with_options(
            id=id,
            idempotency_key=idempotency_key,
            queue=queue,
            priority=priority,
            delay=seconds,
            metadata=facts,
            on_conflict=cast("OnConflict", on_conflict),
            reuse=cast("Reuse", reuse),
            sampled=sampled,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
