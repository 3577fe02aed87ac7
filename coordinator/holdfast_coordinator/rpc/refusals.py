"""Turns refusals into gRPC: a status code, a stable reason, the facts. One table, one place.

The reasons and facts are the contract that proto/holdfast/api/v1 names with each rpc.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode as Code
from grpc.aio import ServicerContext

from holdfast import errors
from holdfast.api.v1 import run_service_pb2
from holdfast.session_refusals import ReattachRequired, ReplicaAway, SessionExpired
from holdfast_coordinator.store.port import DataRejected, StoreBusy, StoreError

from .deadlines import seconds_for_the_database

log = structlog.get_logger(__name__)

DOMAIN = "holdfast.dev"
DETAILS_KEY = "grpc-status-details-bin"
REASON_KEY = "holdfast-reason"
"""The reason once more, as text: gRPC for JavaScript, for one, brings nothing that reads the details."""

_TABLE: dict[type[errors.HoldfastError], tuple[Code, str, tuple[str, ...]]] = {
    errors.RunNotFound: (Code.NOT_FOUND, "RUN_NOT_FOUND", ("run", "namespace")),
    errors.KeyNotPublished: (Code.NOT_FOUND, "KEY_NOT_PUBLISHED", ("run", "key")),
    errors.WorkflowNotRegistered: (
        Code.NOT_FOUND,
        "WORKFLOW_NOT_REGISTERED",
        ("workflow", "namespace", "suggestion"),
    ),
    errors.NamespaceNotFound: (Code.NOT_FOUND, "NAMESPACE_NOT_FOUND", ("namespace",)),
    errors.RunAlreadyStarted: (Code.ALREADY_EXISTS, "RUN_ALREADY_STARTED", ("id", "run_id")),
    errors.RunConflict: (Code.ALREADY_EXISTS, "RUN_CONFLICT", ("key", "run_id", "difference")),
    errors.RunAlreadyClosed: (Code.FAILED_PRECONDITION, "RUN_ALREADY_CLOSED", ("run_id",)),
    errors.HookNotFound: (Code.NOT_FOUND, "HOOK_NOT_FOUND", ()),
    errors.HookAlreadyReceived: (Code.FAILED_PRECONDITION, "HOOK_ALREADY_RECEIVED", ()),
    errors.HookExpired: (Code.FAILED_PRECONDITION, "HOOK_EXPIRED", ()),
    errors.RunNotRetryable: (Code.FAILED_PRECONDITION, "RUN_NOT_RETRYABLE", ("run_id", "status")),
    errors.RunNotStalled: (Code.FAILED_PRECONDITION, "RUN_NOT_STALLED", ("run_id", "status")),
    errors.PayloadTooLarge: (
        Code.RESOURCE_EXHAUSTED,
        "PAYLOAD_TOO_LARGE",
        ("what", "size_bytes", "limit_bytes"),
    ),
    errors.ArgumentsRejected: (Code.INVALID_ARGUMENT, "ARGUMENTS_REJECTED", ("target", "parameter", "reason")),
    errors.InvalidRequest: (Code.INVALID_ARGUMENT, "INVALID_REQUEST", ("field", "problem")),
    errors.TracingOff: (Code.FAILED_PRECONDITION, "TRACING_OFF", ()),
    errors.CollectorRefused: (Code.FAILED_PRECONDITION, "COLLECTOR_REFUSED", ("collector", "detail")),
    errors.CollectorUnavailable: (Code.UNAVAILABLE, "COLLECTOR_UNAVAILABLE", ("collector", "detail")),
    errors.CoordinatorOverloaded: (Code.RESOURCE_EXHAUSTED, "OVERLOADED", ("retry_after_seconds", "detail")),
    errors.RunBusy: (Code.UNAVAILABLE, "RUN_BUSY", ("run_id",)),
    errors.CoordinatorUnavailable: (Code.UNAVAILABLE, "UNAVAILABLE", ("detail",)),
    ReplicaAway: (Code.UNAVAILABLE, "REPLICA_AWAY", ("detail",)),
    ReattachRequired: (Code.FAILED_PRECONDITION, "REATTACH", ("session_id",)),
    SessionExpired: (Code.FAILED_PRECONDITION, "SESSION_EXPIRED", ("session_id",)),
}
_RENAMED = {"reason": "problem"}
"""Facts whose attribute has another name than the protocol gives them."""


def describe(error: errors.HoldfastError) -> tuple[Code, str, dict[str, str]]:
    """The status code, the reason and the facts of a refusal."""
    code, reason, attributes = _TABLE.get(type(error), (Code.FAILED_PRECONDITION, "REFUSED", ()))
    return code, reason, {_RENAMED.get(name, name): str(getattr(error, name)) for name in attributes}


def refusal_message(error: errors.HoldfastError) -> run_service_pb2.Refusal:
    """A refusal as a message, for one of many."""
    code, reason, facts = describe(error)
    return run_service_pb2.Refusal(code=code.value[0], reason=reason, message=str(error), metadata=facts)


Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])


def translated(handler: Handler) -> Handler:
    """Wraps an rpc handler: refusals and store errors end the call with their status."""

    @wraps(handler)
    async def call(service: Any, request: Any, context: ServicerContext) -> Any:
        try:
            return await handler(service, request, context)
        except errors.HoldfastError as error:
            await refuse(context, error)
        except DataRejected as error:
            await refuse(context, errors.InvalidRequest("request", f"its data cannot be stored ({error})"))
        except StoreBusy as error:
            await refuse(context, errors.CoordinatorOverloaded(retry_after_seconds=1.0, detail=str(error)))
        except StoreError as error:
            await refuse(context, errors.CoordinatorUnavailable("", f"its database: {error}", is_reached=True))

    return call  # type: ignore[return-value]


def in_time(handler: Handler) -> Handler:
    """Wraps an rpc handler that waits for nothing but the database: a caller whose time is nearly over gets the reason.

    A database that hangs gives no error; without this the caller would only see that no answer came.
    """

    @wraps(handler)
    async def call(service: Any, request: Any, context: ServicerContext) -> Any:
        try:
            async with asyncio.timeout(seconds_for_the_database(context)) as limit:
                return await handler(service, request, context)
        except TimeoutError:
            if not limit.expired():
                raise
            raise errors.CoordinatorUnavailable("", "its database did not answer in time", is_reached=True) from None

    return call  # type: ignore[return-value]


async def refuse(context: ServicerContext, error: errors.HoldfastError) -> None:
    """Ends a call with the status, the reason and the facts of a refusal; raises what gRPC ends handlers with."""
    code, reason, facts = describe(error)
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=facts))
    status = status_pb2.Status(code=code.value[0], message=str(error), details=[detail])
    if isinstance(error, errors.CoordinatorOverloaded):
        delay = error_details_pb2.RetryInfo()
        delay.retry_delay.FromMilliseconds(int(error.retry_after_seconds * 1_000))
        status.details.add().Pack(delay)
    await context.abort(code, str(error), ((DETAILS_KEY, status.SerializeToString()), (REASON_KEY, reason)))
