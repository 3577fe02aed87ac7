"""Turns what the coordinator refuses into the typed errors of `holdfast.errors`. One table, one place.

It never repeats a call (that is `repeatable_calls`) and never makes up an error that the coordinator did not send.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2

from holdfast import errors
from holdfast.session_refusals import ReattachRequired, ReplicaAway, SessionExpired

DOMAIN = "holdfast.dev"
DETAILS_KEY = "grpc-status-details-bin"

Facts = Mapping[str, str]
Answer = TypeVar("Answer")


# What the coordinator sends, as google.rpc.ErrorInfo in the details of a gRPC status, or as `Refusal` for one
# of many. The facts are strings; numbers are written in decimal.
#
#   gRPC code            reason                   facts                             error here
#   NOT_FOUND            RUN_NOT_FOUND            run, namespace                    RunNotFound
#   NOT_FOUND            KEY_NOT_PUBLISHED        run, key                          KeyNotPublished
#   NOT_FOUND            WORKFLOW_NOT_REGISTERED  workflow, namespace, suggestion   WorkflowNotRegistered
#   NOT_FOUND            NAMESPACE_NOT_FOUND      namespace                         NamespaceNotFound
#   ALREADY_EXISTS       RUN_ALREADY_STARTED      id, run_id                        RunAlreadyStarted
#   ALREADY_EXISTS       RUN_CONFLICT             key, run_id, difference           RunConflict
#   FAILED_PRECONDITION  RUN_ALREADY_CLOSED       run_id                            RunAlreadyClosed
#   NOT_FOUND            HOOK_NOT_FOUND                                             HookNotFound
#   FAILED_PRECONDITION  HOOK_ALREADY_RECEIVED                                      HookAlreadyReceived
#   FAILED_PRECONDITION  HOOK_EXPIRED                                               HookExpired
#   FAILED_PRECONDITION  RUN_NOT_RETRYABLE        run_id, status                    RunNotRetryable
#   FAILED_PRECONDITION  RUN_NOT_STALLED          run_id, status                    RunNotStalled
#   FAILED_PRECONDITION  REATTACH                 session_id                        ReattachRequired
#   FAILED_PRECONDITION  SESSION_EXPIRED          session_id                        SessionExpired
#   RESOURCE_EXHAUSTED   PAYLOAD_TOO_LARGE        what, size_bytes, limit_bytes     PayloadTooLarge
#   INVALID_ARGUMENT     ARGUMENTS_REJECTED       target, parameter, problem        ArgumentsRejected
#   INVALID_ARGUMENT     INVALID_REQUEST          field, problem                    InvalidRequest
#   FAILED_PRECONDITION  TRACING_OFF                                                TracingOff
#   FAILED_PRECONDITION  COLLECTOR_REFUSED        collector, detail                 CollectorRefused
#   UNAVAILABLE          COLLECTOR_UNAVAILABLE    collector, detail                 CollectorUnavailable
#   UNAVAILABLE          REPLICA_AWAY             detail                            ReplicaAway
#   RESOURCE_EXHAUSTED   OVERLOADED               retry_after_seconds, detail       CoordinatorOverloaded
#   UNAVAILABLE          RUN_BUSY                 run_id                            RunBusy
#   UNAVAILABLE          UNAVAILABLE              detail                            CoordinatorUnavailable
#
# A reason that is not in the table becomes `Refused`, so that a newer coordinator is still understood.
_ERRORS: dict[str, Callable[[str, Facts], errors.HoldfastError]] = {
    "RUN_NOT_FOUND": lambda _, facts: errors.RunNotFound(
        facts.get("run", ""), namespace=facts.get("namespace", "default")
    ),
    "KEY_NOT_PUBLISHED": lambda _, facts: errors.KeyNotPublished(facts.get("run", ""), facts.get("key", "")),
    "WORKFLOW_NOT_REGISTERED": lambda _, facts: errors.WorkflowNotRegistered(
        facts.get("workflow", ""),
        namespace=facts.get("namespace", "default"),
        suggestion=facts.get("suggestion", ""),
    ),
    "NAMESPACE_NOT_FOUND": lambda _, facts: errors.NamespaceNotFound(facts.get("namespace", "")),
    "RUN_ALREADY_STARTED": lambda _, facts: errors.RunAlreadyStarted(facts.get("id", ""), facts.get("run_id", "")),
    "RUN_CONFLICT": lambda _, facts: errors.RunConflict(
        facts.get("key", ""), facts.get("run_id", ""), difference=facts.get("difference", "other arguments")
    ),
    "RUN_ALREADY_CLOSED": lambda _, facts: errors.RunAlreadyClosed(facts.get("run_id", "")),
    "HOOK_NOT_FOUND": lambda _, __: errors.HookNotFound(),
    "HOOK_ALREADY_RECEIVED": lambda _, __: errors.HookAlreadyReceived(),
    "HOOK_EXPIRED": lambda _, __: errors.HookExpired(),
    "RUN_NOT_RETRYABLE": lambda _, facts: errors.RunNotRetryable(facts.get("run_id", ""), facts.get("status", "")),
    "RUN_NOT_STALLED": lambda _, facts: errors.RunNotStalled(facts.get("run_id", ""), facts.get("status", "")),
    "REATTACH": lambda _, facts: ReattachRequired(facts.get("session_id", "")),
    "SESSION_EXPIRED": lambda _, facts: SessionExpired(facts.get("session_id", "")),
    "PAYLOAD_TOO_LARGE": lambda _, facts: errors.PayloadTooLarge(
        facts.get("what", "a value"),
        size_bytes=_integer(facts.get("size_bytes")),
        limit_bytes=_integer(facts.get("limit_bytes")),
    ),
    "ARGUMENTS_REJECTED": lambda _, facts: errors.ArgumentsRejected(
        facts.get("target", ""),
        parameter=facts.get("parameter", ""),
        reason=facts.get("problem", "does not fit"),
    ),
    "INVALID_REQUEST": lambda message, facts: errors.InvalidRequest(
        facts.get("field", "request"), facts.get("problem", message)
    ),
    "OVERLOADED": lambda _, facts: errors.CoordinatorOverloaded(
        retry_after_seconds=_seconds(facts.get("retry_after_seconds")),
        detail=facts.get("detail", ""),
    ),
    "RUN_BUSY": lambda _, facts: errors.RunBusy(facts.get("run_id", "")),
    "TRACING_OFF": lambda _, __: errors.TracingOff(),
    "COLLECTOR_REFUSED": lambda _, facts: errors.CollectorRefused(
        facts.get("collector", "an unknown address"), facts.get("detail", "")
    ),
    "COLLECTOR_UNAVAILABLE": lambda _, facts: errors.CollectorUnavailable(
        facts.get("collector", "an unknown address"), facts.get("detail", "")
    ),
}
REASONS = frozenset(_ERRORS)
REPLICA_AWAY = "REPLICA_AWAY"


def error_of(reason: str, message: str, facts: Facts) -> errors.HoldfastError:
    """The typed error of one refusal; `Refused` when the reason is not known here."""
    make = _ERRORS.get(reason)
    return make(message, facts) if make is not None else errors.Refused(reason, message, facts)


def error_of_call(failed: grpc.aio.AioRpcError, *, address: str) -> errors.HoldfastError:
    """The typed error of a failed call.

    A lost or late answer (UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED by the other side) becomes
    CoordinatorUnavailable.
    """
    code = failed.code()
    text = failed.details() or ""
    info = _error_info(failed)
    if info is not None and is_repeatable(code) and info.reason not in REASONS:
        # It answers, but not its database: a repeat settles it, as it does when nothing answers.
        detail = info.metadata.get("detail") or text
        if info.reason == REPLICA_AWAY:
            return ReplicaAway(detail, address=address)
        return errors.CoordinatorUnavailable(address, detail, is_reached=True)
    if info is not None:
        return error_of(info.reason, text, dict(info.metadata))
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        # The channel was up, or the call would have failed at once.
        return errors.CoordinatorUnavailable(address, "it did not answer in time", is_reached=True)
    if is_repeatable(code):
        return errors.CoordinatorUnavailable(address, text or code.name)
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        return errors.PermissionDenied(text or "the coordinator refused the call")
    return errors.Refused(code.name, text or f"the coordinator answered {code.name}", {})


def unreadable_answer() -> errors.Refused:
    """The error for an answer that is no message of the protocol. gRPC logs why."""
    return errors.Refused(grpc.StatusCode.INTERNAL.name, "the answer cannot be read; is this a coordinator?", {})


def readable(answer: Answer | None) -> Answer:
    """The answer to a call. Raises Refused where gRPC gave None for bytes that it could not read."""
    if answer is None:
        raise unreadable_answer()
    return answer


def is_repeatable(code: grpc.StatusCode) -> bool:
    """True when the outcome of the call is unknown and a repeat settles it."""
    return code in _REPEATABLE


# A replica that stops cancels the calls that outlive its grace; cancelling on this side is
# asyncio.CancelledError and never comes here.
_REPEATABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


def _error_info(failed: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    for key, value in failed.trailing_metadata() or ():
        if key != DETAILS_KEY:
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                return info
    return None


def _seconds(text: str | None) -> float:
    try:
        return float(text or 1.0)
    except ValueError:
        return 1.0


def _integer(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
