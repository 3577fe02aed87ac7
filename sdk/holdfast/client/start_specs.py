"""From a workflow and its arguments to what goes on the wire. Pure but for ids and the time of a delayed start."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NoReturn

from holdfast.authoring.starter import StartOptions
from holdfast.authoring.workflows import Workflow, WorkflowStart
from holdfast.channel.run_records import StartSpec
from holdfast.client.handle import new_start_id
from holdfast.codec import Codec
from holdfast.definitions.business_ids import business_id
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.definitions.options import checked_name
from holdfast.definitions.signatures import CallSignature
from holdfast.errors import InvalidRequest, PayloadTooLarge
from holdfast.journal import TraceContext
from holdfast.limits import DEFAULT_LIMITS

_NO_OPTIONS = StartOptions()


@dataclass(slots=True, frozen=True)
class StartTarget:
    """What to start and with which options."""

    definition: WorkflowDefinition
    options: StartOptions


@lru_cache(maxsize=1024)
def by_name(name: str) -> Workflow[..., Any]:
    """A workflow that other code defines, known by its name only: takes any arguments, returns JSON's types.

    Its workers check the arguments. `client.start(by_name("order").with_options(id="o-1"), ...)`.
    """

    checked_name("workflow", "name", name)

    async def elsewhere(*args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"workflow {name!r} is known by name only; it can be started, but not called here")

    return Workflow(WorkflowDefinition(name=name, function=elsewhere, signature=_ANY_CALL))


def target_of(workflow: Workflow[..., Any] | WorkflowStart[..., Any] | str) -> StartTarget:
    """What a user names: a workflow, one with options, or a name. Raises TypeError for anything else."""
    if isinstance(workflow, str):
        return StartTarget(by_name(workflow).definition, _NO_OPTIONS)
    if isinstance(workflow, WorkflowStart):
        return StartTarget(workflow.definition, workflow.options)
    definition = getattr(workflow, "definition", None)
    if isinstance(definition, WorkflowDefinition):
        return StartTarget(definition, _NO_OPTIONS)
    raise TypeError(f"{workflow!r} is not a workflow; give a function decorated with @workflow, or its name")


def start_spec(
    target: StartTarget,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    codec: Codec,
    *,
    trace: TraceContext | None = None,
) -> StartSpec:
    """The start of one run, with a new start id. trace: where the caller is.

    Raises ArgumentsRejected, PayloadNotSerializable and PayloadTooLarge before anything is sent.
    """
    definition, options = target.definition, target.options
    what = f"workflow {definition.name}"
    if options.on_close is not None:
        text = (
            f"is {options.on_close!r}, but a run that a client starts has no parent; use it with holdfast.start_child"
        )
        raise InvalidRequest("on_close", text)
    arguments = codec.encode_arguments(definition.signature, args, kwargs, what=what, hashed=True)
    # Read as a worker will read them: what does not fit the annotations never becomes a run, and 1 and 1.0 make one id.
    args, kwargs = codec.decode_arguments(definition.signature, arguments, what=what)
    spec = StartSpec(
        start_id=new_start_id(),
        workflow=definition.name,
        arguments=arguments,
        id=options.id or business_id(definition, args, kwargs),
        idempotency_key=options.idempotency_key,
        queue=options.queue or definition.queue,
        priority=definition.priority if options.priority is None else options.priority,
        delay=_delay(options.delay),
        max_duration=definition.max_duration if options.max_duration is None else options.max_duration,
        metadata={**definition.metadata, **options.metadata},
        on_conflict=options.on_conflict,
        reuse=options.reuse,
        trace=trace,
        join_trace=options.trace == "join",
        sampled=options.sampled,
    )
    # Each argument is within its limit, but all of them together have to fit into one message.
    if spec.size_bytes > DEFAULT_LIMITS.message_bytes:
        limit = DEFAULT_LIMITS.message_bytes
        raise PayloadTooLarge(f"the argument list of {what}", size_bytes=spec.size_bytes, limit_bytes=limit)
    return spec


def call_of(given: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """One of many calls: a tuple holds positional arguments, a mapping named ones, anything else is the only one."""
    if isinstance(given, tuple):
        return given, {}
    if isinstance(given, Mapping):
        return (), given
    return (given,), {}


def _delay(delay: timedelta | datetime | None) -> timedelta | None:
    if isinstance(delay, datetime):
        return max(delay - datetime.now(UTC), timedelta(0))
    return delay


def _any_call(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError


_ANY_CALL = CallSignature.of(_any_call)
