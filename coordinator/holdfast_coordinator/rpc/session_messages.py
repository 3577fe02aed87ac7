"""What a worker says of itself and of what it holds, checked. What is misshapen raises InvalidRequest."""

from collections.abc import Iterable, Mapping, Sequence
from string import Formatter
from typing import Any

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.errors import InvalidRequest
from holdfast.hints.schemas import PortableType
from holdfast.hints.type_texts import hint_of
from holdfast_coordinator.domain.hashed_calls import HASH_BYTES
from holdfast_coordinator.engine.attachments import Held
from holdfast_coordinator.engine.sessions import SessionOpening

from .fields import (
    BUILD_MAX,
    DEFAULT,
    choice,
    name,
    shown,
    storable,
    whole,
)

_KINDS = {1: "either", 2: "positional_only", 3: "named_only"}
REGISTERED_NAMES_MAX = 10_000
REGISTERED_TYPES_MAX = 2_000
"""Types of parameters that differ: reading one takes up to half a millisecond of the event loop."""
PARAMETERS_MAX = 1_000
"""Of one workflow: a start may compile the type of each."""
HOST_MAX = 200
REGISTERED_SIGNALS_MAX = 1_000
ENCODINGS_MAX = 1_000
"""What a worker can read: codecs, and each of their keys."""


def held_key(held: pb.Held) -> Held:
    """What a session holds, as a key."""
    return held.run_id, held.step, held.epoch


def mail_seen(messages: Iterable[pb.Held]) -> dict[Held, int]:
    """Up to which number a worker has all mail, of the leases that it names."""
    return {held_key(held): held.mail_seen for held in messages if held.mail_seen and not held.step}


def held_message(key: Held) -> pb.Held:
    """The message of a key."""
    run_id, step, epoch = key
    return pb.Held(run_id=run_id, step=step, epoch=epoch)


def introduction(request: pb.OpenSessionRequest) -> SessionOpening:
    """What a worker says of itself, checked. Raises InvalidRequest."""
    if len(request.workflows) + len(request.steps) > REGISTERED_NAMES_MAX:
        raise InvalidRequest("workflows", f"more than {REGISTERED_NAMES_MAX} names; split the worker")
    _check_types(request.workflows)
    workflows: dict[str, Mapping[str, Any]] = {}
    for one in request.workflows:
        workflow = name("workflows.name", one.name)
        if workflow in workflows:
            raise InvalidRequest("workflows.name", f"{workflow!r} is there twice; a worker has one workflow of a name")
        workflows[workflow] = _signature(one)
    return SessionOpening(
        namespace=request.namespace or DEFAULT,
        queue=name("queue", request.queue, default=DEFAULT),
        workflows=workflows,
        steps=tuple(dict.fromkeys(name("steps", step) for step in request.steps)),
        build=shown(request.build, BUILD_MAX),
        host=shown(request.host, HOST_MAX),
        pid=request.pid,
        slots=whole("slots", request.slots),
        session_id=storable("session_id", request.session_id) or None,
        held=frozenset(held_key(held) for held in request.held),
        mail_seen=mail_seen(request.held),
        encodings=_encodings(request.encodings),
    )


def signal_registrations(request: pb.RegisterSignalsRequest) -> list[tuple[str, str, str]]:
    """As what the code of a worker takes signals: workflow, name and type. Raises InvalidRequest."""
    if len(request.signals) > REGISTERED_SIGNALS_MAX:
        raise InvalidRequest("signals", f"more than {REGISTERED_SIGNALS_MAX:,}; register them in several calls")
    return [
        (name("signals.workflow", one.workflow), name("signals.name", one.name), _signal_type(one.type))
        for one in request.signals
    ]


def _signal_type(text: str) -> str:
    if text:
        try:
            PortableType(storable("signals.type", text))
        except ValueError as error:
            raise InvalidRequest("signals.type", str(error)) from error
    return text


def _encodings(names: Sequence[str]) -> tuple[str, ...]:
    if len(names) > ENCODINGS_MAX:
        raise InvalidRequest("encodings", f"more than {ENCODINGS_MAX:,}; name a codec alone to say that all is read")
    return tuple(dict.fromkeys(name("encodings", one) for one in names))


def _check_types(registrations: Iterable[pb.WorkflowRegistration]) -> None:
    types = {parameter.type for one in registrations for parameter in one.parameters if parameter.type}
    if len(types) > REGISTERED_TYPES_MAX:
        text = f"more than {REGISTERED_TYPES_MAX} different types; split the worker, or leave some types out"
        raise InvalidRequest("workflows.parameters.type", text)
    for text in types:
        try:
            hint_of(text)
        except ValueError as error:
            raise InvalidRequest("workflows.parameters.type", str(error)) from error


def _signature(registration: pb.WorkflowRegistration) -> dict[str, Any]:
    """The signature of a workflow as it is kept; see domain.hashed_calls.Signature."""
    if len(registration.parameters) > PARAMETERS_MAX:
        raise InvalidRequest("workflows.parameters", f"{registration.name} has more than {PARAMETERS_MAX} parameters")
    signature: dict[str, Any] = {
        "parameters": [_parameter(one) for one in registration.parameters],
        "extra_positional": registration.extra_positional,
        "extra_named": registration.extra_named,
    }
    if registration.id_template:
        signature["id_template"] = _id_template(registration)
    return signature


def _parameter(message: pb.Parameter) -> dict[str, Any]:
    parameter: dict[str, Any] = {
        "name": storable("workflows.parameters.name", message.name),
        "required": message.required,
        "kind": choice("workflows.parameters.kind", message.kind, _KINDS, default="either"),
    }
    if message.default_sha256:
        if len(message.default_sha256) != HASH_BYTES:
            raise InvalidRequest("workflows.parameters.default_sha256", f"has not the {HASH_BYTES} bytes of a SHA-256")
        parameter["default"] = message.default_sha256.hex()
    if message.type:
        parameter["type"] = message.type
    return parameter


def _id_template(registration: pb.WorkflowRegistration) -> str:
    """The template, when all that it fills in are whole parameters."""
    template = storable("workflows.id_template", registration.id_template)
    known = {one.name for one in registration.parameters}
    try:
        parts = [(field, form, conversion) for _, field, form, conversion in Formatter().parse(template)]
    except ValueError as error:
        raise InvalidRequest("workflows.id_template", f"{template[:100]!r}: {error}") from error
    for field, form, conversion in parts:
        if field is not None and (field not in known or form or conversion):
            raise InvalidRequest("workflows.id_template", f"{template[:100]!r} fills in more than whole parameters")
    return template
