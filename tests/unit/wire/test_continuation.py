"""What a retried run takes over of the journal of its origin."""

from datetime import UTC, datetime
from typing import Any

import pytest

from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast_coordinator.domain.continuations import Continuation, CopiedRows, RewrittenRow
from holdfast_coordinator.domain.rows import JournalRow
from holdfast_coordinator.wire.continuations import continuation

AT = datetime(2026, 5, 4, tzinfo=UTC)


def entry(**body: Any) -> journal_pb2.Entry:
    made = journal_pb2.Entry(**body)
    made.at.FromDatetime(AT)
    return made


def journal(*rows: list[journal_pb2.Entry]) -> list[JournalRow]:
    """These rows of a journal."""
    made, seq = [], 0
    for entries in rows:
        seq += len(entries)
        framed = journal_pb2.JournalRow(entries=entries).SerializeToString()
        made.append(JournalRow("run", seq, len(entries), 1, seq, (framed,)))
    return made


def scheduled(number: int) -> journal_pb2.Entry:
    return entry(step_scheduled={"number": number, "name": "charge"})


def completed(number: int) -> journal_pb2.Entry:
    return entry(step_completed={"number": number})


BEGUN = entry(run_started={"workflow": "order"})
CLOSED = entry(run_closed={"status": 9})


def test_rows_that_still_hold_are_copied_where_they_are_and_only_others_are_written_anew() -> None:
    """A journal of 50,000 entries was taken apart and written again, as one transaction that held up its cell."""
    made = continuation(
        journal(
            [BEGUN],
            [scheduled(1)],
            [completed(1), scheduled(2)],
            [scheduled(3), completed(2)],  # step 3 is not finished: it is called anew
            [scheduled(4), completed(4)],
            [scheduled(5), completed(5)],
            [CLOSED],
        ),
        "run_origin",
    )
    begun, first, written, second = made.parts
    assert isinstance(begun, RewrittenRow)
    (started,) = journal_pb2.JournalRow.FromString(begun.entries).entries
    assert started.run_started.origin_run_id == "run_origin"
    assert first == CopiedRows(first=2, last=4, shift=0, rows=2, count=3)
    assert isinstance(written, RewrittenRow)
    assert list(journal_pb2.JournalRow.FromString(written.entries).entries) == [completed(2)]
    assert second == CopiedRows(first=8, last=10, shift=1, rows=2, count=4)


def published(key: str, value: bytes) -> journal_pb2.Entry:
    return entry(published={"key": key, "value": {"data": value}})


def test_what_the_journal_has_published_last_by_key_is_taken_over_and_what_came_after_the_failure_is_not() -> None:
    rows = journal(
        [BEGUN, published("share", b"0"), published("name", b"1")],
        [published("share", b"2"), scheduled(1)],
        [entry(step_failed={"number": 1}), published("name", b"3")],
        [entry(run_closed={"status": 6, "failure": {"step": {"number": 1}}})],
    )
    made = continuation(rows, "run_origin")
    values = {key: value_pb2.Payload.FromString(value).data for key, value in made.published.items()}
    assert values == {"share": b"2", "name": b"1"}


def independent(number: int) -> journal_pb2.Entry:
    return entry(step_scheduled={"number": number, "name": "flow.t", "step_id": f"t{number}", "independent": True})


def entries_of(made: Continuation) -> list[journal_pb2.Entry]:
    rows = [part for part in made.parts if isinstance(part, RewrittenRow)]
    assert len(rows) == len(made.parts)
    return [one for row in rows for one in journal_pb2.JournalRow.FromString(row.entries).entries][1:]


@pytest.mark.feature("F36")
def test_what_was_called_after_the_failure_but_independently_of_it_is_kept_where_it_completed() -> None:
    failed = entry(step_failed={"number": 1})
    skipped = entry(step_skipped={"number": 2, "name": "flow.child", "step_id": "child"})
    closed = entry(run_closed={"status": 7, "failure": {"step": {"number": 1}}})
    result = entry(mail_consumed={"number": 1, "mail": {"number": 1, "step_result": {"number": 5, "result": {}}}})
    late = [
        independent(3), completed(3),
        scheduled(4), completed(4),  # called by position: what it is called with may have to do with the failure
        independent(5), result,
        independent(6), entry(step_failed={"number": 6}),
        independent(7), entry(attempt_started={"number": 7, "attempt": 1}),
    ]  # fmt: skip
    made = continuation(journal([BEGUN, independent(1), failed, skipped, *late, closed]), "run_origin")
    assert entries_of(made) == [independent(3), completed(3), independent(5), result]


def test_mail_that_was_not_delivered_comes_anew_and_is_not_in_the_journal() -> None:
    undelivered = entry(mail_undelivered={"number": 1, "mail": {"signal": {"name": "go"}}})
    made = continuation(journal([BEGUN], [undelivered, CLOSED]), "run_origin")
    assert [journal_pb2.Mail.FromString(body).signal.name for body in made.signals] == ["go"]
    assert (len(made.parts), made.mail_taken) == (1, 0)


def task(number: int, name: str) -> journal_pb2.Entry:
    return entry(step_scheduled={"number": number, "name": f"g.{name}", "step_id": name, "independent": True})


@pytest.mark.feature("F53")
def test_of_what_is_asked_to_run_again_nothing_is_kept_and_of_the_rest_everything() -> None:
    rows = journal(
        [BEGUN, task(1, "A")],
        [completed(1), task(2, "B"), task(3, "C")],
        [completed(2)],
        [completed(3), task(4, "D")],
        [completed(4), entry(run_closed={"status": "RUN_STATUS_COMPLETED"})],
    )
    begin = continuation(rows, "run_1", ["B", "D", "E"])
    left = [one for part in begin.parts if isinstance(part, RewrittenRow) for one in _entries(part)]
    assert [one.WhichOneof("body") for one in left] == [
        *("run_started", "step_scheduled", "step_completed", "step_scheduled", "step_completed")
    ]
    assert [one.step_scheduled.step_id for one in left if one.HasField("step_scheduled")] == ["A", "C"]
    assert (begin.runs_again, left[0].run_started.seed, left[0].run_started.origin_run_id) == (2, "", "run_1")
    assert continuation(rows, "run_1", ["E"]).runs_again == 0


def _entries(part: RewrittenRow) -> list[journal_pb2.Entry]:
    return list(journal_pb2.JournalRow.FromString(part.entries).entries)
