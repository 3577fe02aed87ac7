"""Deliveries to hooks: from the token that somebody has to the command for the run that it names."""

import hashlib
from functools import partial

from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.errors import HoldfastError, HookNotFound, InvalidRequest, PayloadTooLarge, RunNotFound
from holdfast.ids import hook_of
from holdfast.limits import Limits
from holdfast_coordinator.domain.commands import DeliverHook
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.signal_checks import PLAIN

from .fields import name, shown


async def deliver(
    engine: Engine, request: pb.DeliverHookRequest, trace: bytes, limits: Limits, *, seconds: float
) -> None:
    """Delivers to a hook. Raises HookNotFound, HookAlreadyReceived, HookExpired, and what a signal is refused with."""
    found = hook_of(request.token)
    if found is None:
        raise InvalidRequest("token", "is no token of a hook: they begin with hook_ and are given out by the run")
    run_id, number = found
    size = request.payload.ByteSize()
    if size > limits.payload_bytes:
        raise PayloadTooLarge("the payload", size_bytes=size, limit_bytes=limits.payload_bytes)
    request_id = name("request_id", request.request_id) if request.request_id else ""
    try:
        record = (await engine.records.of([run_id])).get(run_id)
        if record is None:
            raise HookNotFound
        checks, encoding, problem = engine.signal_checks, shown(request.payload.encoding), None
        if encoding in PLAIN:
            await checks.types.refresh()
        else:
            problem = await checks.unread(record, encoding)
        data = request.payload.data if request.HasField("payload") else b"null"
        command = DeliverHook(
            run_id, request_id, number, hashlib.sha256(request.token.encode()).hexdigest(),
            request.payload.SerializeToString() if request.HasField("payload") else b"", trace,
            (lambda *_: problem) if problem is not None or encoding not in PLAIN
            else partial(_problem, engine, record.namespace, run_id, data),
        )  # fmt: skip
        await engine.steer(run_id, command, seconds=seconds)
    except RunNotFound:
        raise HookNotFound from None


def _problem(
    engine: Engine, namespace: str, run_id: str, data: bytes, workflow: str, signal: str
) -> HoldfastError | None:
    """By the type under which the hook is registered, which has no number."""
    hook = signal.rpartition(" ")[0]
    types = engine.signal_checks.types
    return types.known_problem(namespace, workflow, run_id, hook, data, what=f"{hook!r}")
