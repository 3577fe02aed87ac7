"""What the coordinator writes into journals and mail, read back as messages."""

from datetime import UTC, datetime

import pytest

from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast.journal import (
    CancelRequested,
    Failure,
    RetryDue,
    RunClosed,
    RunResumed,
    RunStalled,
    RunStarted,
    TimerFired,
)
from holdfast.statuses import RunStatus
from holdfast.wire import set_time, time_from
from holdfast_coordinator.domain.mail import (
    ChildClosedMail,
    MailBody,
    MailKind,
    MailRow,
    SignalMail,
    StepResultMail,
)
from holdfast_coordinator.domain.rows import CoordinatorEntry, MailConsumedEntry, MailUndeliveredEntry
from holdfast_coordinator.wire.entries import (
    encode_mail,
    join_attempts,
    join_entries,
    mail_message,
    split_attempts,
)

AT = datetime(2026, 5, 4, 3, 2, 1, 123_456, UTC)
PAYLOAD = value_pb2.Payload(data=b"1").SerializeToString()
TRACE = value_pb2.TraceContext(traceparent="00-x").SerializeToString()
ATTEMPTS = tuple(journal_pb2.AttemptRecord(attempt=number).SerializeToString() for number in (1, 2))
MAIL = MailRow("r1", 7, MailKind.SIGNAL, AT, SignalMail("paid", PAYLOAD), TRACE)


def test_parts_become_one_row_with_their_entries_in_order() -> None:
    framed = journal_pb2.JournalRow(entries=[journal_pb2.Entry(timer_cancelled={"number": n}) for n in (1, 2)])
    joined = join_entries([framed.SerializeToString(), RunResumed(AT, "by hand"), framed.SerializeToString()])
    bodies = [entry.WhichOneof("body") for entry in journal_pb2.JournalRow.FromString(joined).entries]
    assert bodies == ["timer_cancelled"] * 2 + ["run_resumed"] + ["timer_cancelled"] * 2


@pytest.mark.parametrize(
    ("entry", "body"),
    [
        (MailConsumedEntry(AT, MAIL), "mail_consumed"),
        (MailUndeliveredEntry(AT, MAIL), "mail_undelivered"),
        (RunStarted(AT, "order", "r0"), "run_started"),
        (RunStalled(AT, "", ""), "run_stalled"),
        (RunResumed(AT, ""), "run_resumed"),
        (RunClosed(AT, RunStatus.TIMED_OUT, failure=Failure("RunTimedOut", "late")), "run_closed"),
    ],
)
def test_every_entry_of_the_coordinator_says_what_it_is_and_when(entry: CoordinatorEntry, body: str) -> None:
    (message,) = journal_pb2.JournalRow.FromString(join_entries([entry])).entries
    assert message.WhichOneof("body") == body
    assert time_from(message.at) == AT


def test_consumed_mail_says_since_when_it_was_awaited_where_that_is_known() -> None:
    since = datetime(2026, 5, 4, tzinfo=UTC)
    entries = [MailConsumedEntry(AT, MAIL, since), MailConsumedEntry(AT, MAIL)]
    known, unknown = journal_pb2.JournalRow.FromString(join_entries(entries)).entries
    assert time_from(known.mail_consumed.awaited_since) == since
    assert not unknown.mail_consumed.HasField("awaited_since")


def test_a_closed_run_carries_the_failure_that_the_coordinator_states() -> None:
    entry = RunClosed(AT, RunStatus.TERMINATED, failure=Failure("RunTerminated", "asked to"))
    closed = journal_pb2.JournalRow.FromString(join_entries([entry])).entries[0].run_closed
    assert (closed.status, closed.failure.error_type, closed.failure.message) == (9, "RunTerminated", "asked to")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (SignalMail("paid", PAYLOAD), "signal"),
        (SignalMail("paid", b""), "signal"),
        (TimerFired(3), "timer"),
        (RetryDue(3), "retry_due"),
        (StepResultMail(3, ATTEMPTS, b""), "step_result"),
        (ChildClosedMail(3, "r2", RunStatus.FAILED, failure=Failure("ValueError", "no")), "child_closed"),
        (CancelRequested(""), "cancel"),
    ],
)
def test_every_mail_reads_the_same_whether_new_or_stored(body: MailBody, kind: str) -> None:
    new = MailRow("r1", 7, MailKind.SIGNAL, AT, body, TRACE)
    stored = MailRow("r1", 7, MailKind.SIGNAL, AT, encode_mail(body, TRACE))
    message = mail_message(new)
    assert message == mail_message(stored)
    assert (message.WhichOneof("body"), message.number, message.trace.traceparent) == (kind, 7, "00-x")
    assert time_from(message.arrived_at) == AT


def test_a_result_without_bytes_is_a_result() -> None:
    mail = mail_message(MailRow("r1", 1, MailKind.STEP_RESULT, AT, StepResultMail(3, ATTEMPTS, b"")))
    assert mail.step_result.WhichOneof("outcome") == "result"
    assert [attempt.attempt for attempt in mail.step_result.attempts] == [1, 2]


def test_attempts_are_split_as_they_were_joined() -> None:
    assert split_attempts(join_attempts(ATTEMPTS)) == ATTEMPTS
    assert split_attempts(b"") == ()


def test_times_before_1970_keep_their_microseconds() -> None:
    message = journal_pb2.Entry()
    early = datetime(1969, 12, 31, 23, 59, 59, 5, UTC)
    set_time(message.at, early)
    assert (message.at.seconds, time_from(message.at)) == (-1, early)
