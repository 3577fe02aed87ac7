"""The step that a run works on is found from the end of its journal, without what is before it."""

from holdfast.api.v1 import journal_pb2
from holdfast_coordinator.domain.rows import JournalRow
from holdfast_coordinator.wire.journals import last_open_step


def row(*entries: journal_pb2.Entry) -> JournalRow:
    return JournalRow("r", 9, len(entries), 1, 1, [journal_pb2.JournalRow(entries=entries).SerializeToString()])


def scheduled(number: int) -> journal_pb2.Entry:
    return journal_pb2.Entry(step_scheduled=journal_pb2.StepScheduled(number=number, name=f"step-{number}"))


def completed(number: int) -> journal_pb2.Entry:
    return journal_pb2.Entry(step_completed=journal_pb2.StepCompleted(number=number))


def result_of_queued(number: int) -> journal_pb2.Entry:
    mail = journal_pb2.Mail(step_result=journal_pb2.StepResult(number=number))
    return journal_pb2.Entry(mail_consumed=journal_pb2.MailConsumed(mail=mail))


def test_of_several_open_steps_it_is_the_one_that_was_scheduled_last() -> None:
    assert last_open_step([row(scheduled(1), scheduled(2), scheduled(3), completed(3))], set()) == "step-2"


def test_steps_that_have_ended_in_later_rows_are_passed_over() -> None:
    ended: set[int] = set()
    assert last_open_step([row(completed(3), result_of_queued(4)), row(scheduled(4))], ended) is None
    assert ended == {3, 4}
    assert last_open_step([row(scheduled(2), scheduled(3))], ended) == "step-2"
