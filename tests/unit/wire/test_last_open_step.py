"""The step that a run works on is found from the end of its journal, without what is before it."""

from holdfast.api.v1 import journal_pb2
from holdfast_coordinator.domain.rows import JournalRow
from holdfast_coordinator.wire.journals import StepsSeen


def row(*entries: journal_pb2.Entry) -> JournalRow:
    return JournalRow("r", 9, len(entries), 1, 1, [journal_pb2.JournalRow(entries=entries).SerializeToString()])


def scheduled(number: int) -> journal_pb2.Entry:
    return journal_pb2.Entry(step_scheduled=journal_pb2.StepScheduled(number=number, name=f"step-{number}"))


def completed(number: int) -> journal_pb2.Entry:
    return journal_pb2.Entry(step_completed=journal_pb2.StepCompleted(number=number))


def result_of_queued(number: int) -> journal_pb2.Entry:
    mail = journal_pb2.Mail(step_result=journal_pb2.StepResult(number=number))
    return journal_pb2.Entry(mail_consumed=journal_pb2.MailConsumed(mail=mail))


def seen(*rows: JournalRow) -> tuple[str, int | None]:
    """The open step and the progress, when rows are looked at one by one from the last one backward."""
    steps = StepsSeen()
    for one in reversed(rows):
        if steps.look([one]):
            break
    return steps.open_step, steps.progress


def test_of_several_open_steps_it_is_the_one_that_was_scheduled_last() -> None:
    assert seen(row(scheduled(1), scheduled(2), scheduled(3), completed(3))) == ("step-2", 1)


def test_steps_that_have_ended_in_later_rows_are_passed_over() -> None:
    ends = row(completed(3), result_of_queued(4))
    assert seen(row(scheduled(4)), ends) == ("", 4)
    assert seen(row(scheduled(2), scheduled(3)), row(scheduled(4)), ends) == ("step-2", 1)


def test_progress_is_the_index_of_the_open_step_or_how_many_are_behind() -> None:
    started = journal_pb2.Entry(run_started=journal_pb2.RunStarted())
    timer = journal_pb2.Entry(timer_set=journal_pb2.TimerSet(number=1))
    cancelled = journal_pb2.Entry(step_cancelled=journal_pb2.StepCancelled(number=2))
    assert seen(row(timer)) == ("", None)
    assert seen(row(started)) == ("", 0)
    assert seen(row(started), row(scheduled(1))) == ("step-1", 0)
    assert seen(row(started), row(scheduled(1), completed(1))) == ("", 1)
    assert seen(row(started), row(scheduled(1), completed(1), scheduled(2))) == ("step-2", 1)
    assert seen(row(started), row(scheduled(1), result_of_queued(1)), row(timer)) == ("", 1)
    assert seen(row(started), row(scheduled(1), scheduled(2), completed(2), completed(1))) == ("", 2)
    assert seen(row(started), row(scheduled(1), completed(1), scheduled(2), cancelled)) == ("", 1)
