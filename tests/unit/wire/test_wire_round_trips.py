"""Records survive the way through protobuf bytes unchanged, whatever is in them."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from holdfast import wire
from holdfast.api.v1 import journal_pb2, value_pb2, worker_service_pb2
from holdfast.statuses import AttemptOutcome, RunStatus
from holdfast.wire.values import outcome_of_number, status_of_number, write_retry
from tests.support.wire_messages import message_of, written
from tests.support.wire_strategies import arguments, attempts, entries, failures, mails, retries


def through_bytes(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


@given(entries)
def test_an_entry_survives_the_wire(entry: Any) -> None:
    assert wire.entry_from_message(through_bytes(message_of(entry))) == entry


@given(mails)
def test_mail_survives_the_wire(mail: Any) -> None:
    assert wire.mail_from_message(through_bytes(message_of(mail))) == mail


@given(arguments)
def test_arguments_survive_the_wire_with_names_in_one_order(given_arguments: Any) -> None:
    read = wire.arguments_from_message(
        through_bytes(written(wire.write_arguments, value_pb2.Arguments(), given_arguments))
    )
    assert read == given_arguments
    assert list(read.named) == sorted(given_arguments.named)


@given(failures)
def test_a_failure_survives_the_wire_with_its_causes(failure: Any) -> None:
    assert wire.failure_from_message(through_bytes(wire.failure_to_message(failure))) == failure


@given(attempts)
def test_an_attempt_survives_the_wire(attempt: Any) -> None:
    assert (
        wire.attempt_from_message(through_bytes(written(wire.write_attempt, journal_pb2.AttemptRecord(), attempt)))
        == attempt
    )


@given(retries)
def test_a_retry_policy_survives_the_wire(retry: Any) -> None:
    assert wire.retry_from_message(through_bytes(written(write_retry, journal_pb2.RetryPolicy(), retry))) == retry


@given(st.lists(entries, max_size=5))
def test_entries_of_a_transition_keep_their_order(several: list[Any]) -> None:
    transition = worker_service_pb2.Transition()
    wire.write_entries(transition.entries, several)
    assert [wire.entry_from_message(entry) for entry in through_bytes(transition).entries] == several


def test_times_keep_their_microseconds_whatever_their_zone() -> None:
    at = datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=2)))
    message = Timestamp()
    wire.set_time(message, at)
    assert message.ToDatetime(UTC) == at
    assert wire.time_from(message) == at
    assert wire.time_from(message).tzinfo is UTC


@given(st.timedeltas(timedelta(0), timedelta(days=3653)))
def test_spans_are_what_protobuf_makes_of_them(span: timedelta) -> None:
    message = Duration()
    wire.set_span(message, span)
    assert message.ToTimedelta() == span
    assert wire.span_from(message) == span


def test_an_entry_of_a_later_version_is_refused_with_a_reason() -> None:
    with pytest.raises(ValueError, match="upgrade"):
        wire.entry_from_message(journal_pb2.Entry())
    with pytest.raises(ValueError, match="upgrade"):
        wire.mail_from_message(journal_pb2.Mail(number=1))


def test_the_numbers_of_the_protocol_are_those_of_the_vocabulary() -> None:
    for status in RunStatus:
        assert status_of_number(status.number) is status
    for outcome in AttemptOutcome:
        assert outcome_of_number(outcome.value) is outcome
    for number in (0, 99, -1):
        with pytest.raises(ValueError, match="is not the number"):
            status_of_number(number)
        with pytest.raises(ValueError, match="is not the number"):
            outcome_of_number(number)
