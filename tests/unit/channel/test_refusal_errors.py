"""What the coordinator refuses reaches the user as the typed error that names the condition and its facts."""

from collections.abc import Mapping

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata

from holdfast import errors
from holdfast.channel import refusals
from holdfast.channel.refusals import error_of, error_of_call
from holdfast.session_refusals import ReattachRequired, ReplicaAway, SessionExpired
from holdfast_coordinator.rpc.refusals import _TABLE

CASES: list[tuple[str, dict[str, str], type[errors.HoldfastError], dict[str, object]]] = [
    (
        "RUN_NOT_FOUND",
        {"run": "o-1", "namespace": "shop"},
        errors.RunNotFound,
        {"run": "o-1", "namespace": "shop"},
    ),
    (
        "RUN_ALREADY_STARTED",
        {"id": "o-1", "run_id": "run_1"},
        errors.RunAlreadyStarted,
        {"id": "o-1", "run_id": "run_1"},
    ),
    ("KEY_NOT_PUBLISHED", {"run": "o-1", "key": "share"}, errors.KeyNotPublished, {"run": "o-1", "key": "share"}),
    ("HOOK_NOT_FOUND", {}, errors.HookNotFound, {}),
    ("HOOK_ALREADY_RECEIVED", {}, errors.HookAlreadyReceived, {}),
    ("HOOK_EXPIRED", {}, errors.HookExpired, {}),
    ("RUN_BUSY", {"run_id": "run_1"}, errors.RunBusy, {"run_id": "run_1"}),
    (
        "OVERLOADED",
        {"retry_after_seconds": "0.4", "detail": "10,000 commands"},
        errors.CoordinatorOverloaded,
        {"retry_after_seconds": 0.4, "detail": "10,000 commands"},
    ),
    ("RUN_ALREADY_CLOSED", {"run_id": "run_1"}, errors.RunAlreadyClosed, {"run_id": "run_1"}),
    (
        "RUN_CONFLICT",
        {"key": "id 'o-1'", "run_id": "run_1", "difference": "other arguments"},
        errors.RunConflict,
        {"key": "id 'o-1'", "run_id": "run_1", "difference": "other arguments"},
    ),
    (
        "RUN_NOT_RETRYABLE",
        {"run_id": "run_1", "status": "completed"},
        errors.RunNotRetryable,
        {"run_id": "run_1", "status": "completed"},
    ),
    (
        "RUN_NOT_STALLED",
        {"run_id": "run_1", "status": "running"},
        errors.RunNotStalled,
        {"run_id": "run_1", "status": "running"},
    ),
    (
        "PAYLOAD_TOO_LARGE",
        {"what": "argument 'pdf'", "size_bytes": "3000000", "limit_bytes": "2097152"},
        errors.PayloadTooLarge,
        {"what": "argument 'pdf'", "size_bytes": 3_000_000, "limit_bytes": 2_097_152},
    ),
    (
        "ARGUMENTS_REJECTED",
        {"target": "workflow order", "parameter": "amount", "problem": "is missing"},
        errors.ArgumentsRejected,
        {"target": "workflow order", "parameter": "amount", "reason": "is missing"},
    ),
    (
        "WORKFLOW_NOT_REGISTERED",
        {"workflow": "ordr", "namespace": "default", "suggestion": "order"},
        errors.WorkflowNotRegistered,
        {"workflow": "ordr", "namespace": "default", "suggestion": "order"},
    ),
    ("NAMESPACE_NOT_FOUND", {"namespace": "shop"}, errors.NamespaceNotFound, {"namespace": "shop"}),
    (
        "INVALID_REQUEST",
        {"field": "priority", "problem": "is above 100"},
        errors.InvalidRequest,
        {"field": "priority", "problem": "is above 100"},
    ),
    ("TRACING_OFF", {}, errors.TracingOff, {}),
    (
        "COLLECTOR_UNAVAILABLE",
        {"collector": "http://otel:4317", "detail": "connection refused"},
        errors.CollectorUnavailable,
        {"collector": "http://otel:4317", "detail": "connection refused"},
    ),
    (
        "COLLECTOR_REFUSED",
        {"collector": "http://otel:4317", "detail": "UNIMPLEMENTED: unknown service"},
        errors.CollectorRefused,
        {"collector": "http://otel:4317", "detail": "UNIMPLEMENTED: unknown service"},
    ),
    ("REATTACH", {"session_id": "ses_1"}, ReattachRequired, {"session_id": "ses_1"}),
    ("SESSION_EXPIRED", {"session_id": "ses_1"}, SessionExpired, {"session_id": "ses_1"}),
]


def failed_call(code: grpc.StatusCode, text: str = "", info: error_details_pb2.ErrorInfo | None = None) -> AioRpcError:
    trailing = Metadata()
    if info is not None:
        detail = AnyMessage()
        detail.Pack(info)
        status = status_pb2.Status(code=code.value[0], message=text, details=[detail])
        trailing.add(refusals.DETAILS_KEY, status.SerializeToString())
    return AioRpcError(code, Metadata(), trailing, details=text)


@pytest.mark.parametrize(("reason", "facts", "kind", "attributes"), CASES, ids=[case[0] for case in CASES])
def test_each_reason_is_its_typed_error_with_its_facts(
    reason: str,
    facts: Mapping[str, str],
    kind: type[errors.HoldfastError],
    attributes: Mapping[str, object],
) -> None:
    info = error_details_pb2.ErrorInfo(reason=reason, domain=refusals.DOMAIN, metadata=facts)
    from_call = error_of_call(failed_call(grpc.StatusCode.NOT_FOUND, "text", info), address="here:1")
    for error in (from_call, error_of(reason, "text", facts)):
        assert type(error) is kind
        assert {name: getattr(error, name) for name in attributes} == attributes


def test_the_table_and_its_cases_name_the_same_reasons() -> None:
    assert {case[0] for case in CASES} == refusals.REASONS


@pytest.mark.parametrize("kind", _TABLE, ids=lambda kind: kind.__name__)
def test_what_the_coordinator_raises_has_the_same_name_at_the_other_end(kind: type[errors.HoldfastError]) -> None:
    code, reason, facts = _TABLE[kind]
    info = error_details_pb2.ErrorInfo(reason=reason, domain=refusals.DOMAIN, metadata=dict.fromkeys(facts, "1"))
    assert type(error_of_call(failed_call(code, "text", info), address="here:1")) is kind


@pytest.mark.parametrize("reason", sorted(refusals.REASONS))
def test_facts_that_are_missing_do_not_hide_the_refusal(reason: str) -> None:
    assert isinstance(error_of(reason, "text", {}), errors.HoldfastError)


def test_a_reason_of_a_later_coordinator_keeps_its_text_and_facts() -> None:
    error = error_of("QUOTA_EXCEEDED", "too many runs; wait", {"limit": "10"})
    assert isinstance(error, errors.Refused)
    assert (error.reason, str(error), error.facts) == (
        "QUOTA_EXCEEDED",
        "too many runs; wait",
        {"limit": "10"},
    )


@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED"])
def test_a_lost_answer_is_an_unavailable_coordinator(code: str) -> None:
    error = error_of_call(failed_call(grpc.StatusCode[code], "connection refused"), address="here:1")
    assert isinstance(error, errors.CoordinatorUnavailable)
    assert "here:1" in str(error)
    assert "connection refused" in str(error)


def test_a_late_answer_is_not_said_to_come_from_nobody() -> None:
    error = error_of_call(failed_call(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), address="here:1")
    assert isinstance(error, errors.CoordinatorUnavailable)
    assert str(error).startswith("the coordinator at here:1 cannot do this now (it did not answer in time)")


def test_a_coordinator_without_its_database_is_unavailable_and_says_why() -> None:
    info = error_details_pb2.ErrorInfo(
        reason="UNAVAILABLE", domain=refusals.DOMAIN, metadata={"detail": "its database: connection refused"}
    )
    error = error_of_call(failed_call(grpc.StatusCode.UNAVAILABLE, "long text", info), address="here:1")
    assert isinstance(error, errors.CoordinatorUnavailable)
    assert error.detail == "its database: connection refused"
    assert str(error).startswith("the coordinator at here:1 cannot do this now (its database: connection refused)")


def test_a_collector_that_is_away_is_not_taken_for_the_coordinator() -> None:
    facts = {"collector": "http://otel:4317", "detail": "connection refused"}
    info = error_details_pb2.ErrorInfo(reason="COLLECTOR_UNAVAILABLE", domain=refusals.DOMAIN, metadata=facts)
    error = error_of_call(failed_call(grpc.StatusCode.UNAVAILABLE, "text", info), address="here:1")
    assert isinstance(error, errors.CollectorUnavailable)
    assert "http://otel:4317" in str(error)


def test_details_of_somebody_else_are_not_taken_for_ours() -> None:
    info = error_details_pb2.ErrorInfo(reason="RUN_NOT_FOUND", domain="proxy.example")
    error = error_of_call(failed_call(grpc.StatusCode.NOT_FOUND, "no route", info), address="here:1")
    assert isinstance(error, errors.Refused)
    assert str(error) == "no route"


def test_a_refused_caller_is_told_so() -> None:
    error = error_of_call(failed_call(grpc.StatusCode.UNAUTHENTICATED, "token expired"), address="here:1")
    assert isinstance(error, errors.PermissionDenied)


def test_a_replica_that_cannot_serve_workers_is_told_from_one_that_does_not_answer() -> None:
    info = error_details_pb2.ErrorInfo(
        reason="REPLICA_AWAY", domain=refusals.DOMAIN, metadata={"detail": "no database for 6 s"}
    )
    error = error_of_call(failed_call(grpc.StatusCode.UNAVAILABLE, "text", info), address="here:1")
    assert type(error) is ReplicaAway
    assert str(error) == "the replica at here:1 cannot serve workers now (no database for 6 s); connect to another one"
