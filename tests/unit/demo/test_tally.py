"""What happened is counted from histories: attempts in entries of the run's own and in results of queued steps."""

from datetime import UTC, datetime

from holdfast import journal
from holdfast.client import History, HistoryEntry
from holdfast.statuses import AttemptOutcome
from holdfast_coordinator.demo.tally import Tally, example_of, under_way

AT = datetime(2026, 1, 2, tzinfo=UTC)
NOTHING = journal.Payload(b"null")


def attempt(number: int, outcome: AttemptOutcome = AttemptOutcome.COMPLETED) -> journal.AttemptRecord:
    return journal.AttemptRecord(number, outcome, AT, AT, AT, AT)


def history(run_id: str, *entries: journal.Entry) -> History:
    numbered = tuple(HistoryEntry(number, 1, entry) for number, entry in enumerate(entries, start=1))
    return History(run_id, journal.Arguments(), numbered)


def queued(*attempts: journal.AttemptRecord) -> journal.MailConsumed:
    return journal.MailConsumed(AT, 1, journal.Mail(1, AT, journal.StepResult(2, attempts, result=NOTHING)))


QUIET = history("quiet", journal.StepCompleted(AT, 1, NOTHING, attempt(1)), queued(attempt(1)))
INLINE_LOSS = history(
    "inline",
    journal.AttemptEnded(AT, 1, attempt(1, AttemptOutcome.LOST)),
    journal.AttemptStarted(AT, 1, 2),
    journal.StepCompleted(AT, 1, NOTHING, attempt(2)),
)
QUEUED_LOSS = history("queued", queued(attempt(1, AttemptOutcome.LOST), attempt(2)))


def test_steps_losses_and_repetitions_are_counted_wherever_they_stand() -> None:
    tally = Tally.of([QUIET, INLINE_LOSS, QUEUED_LOSS])
    assert tally == Tally(runs=3, entries=6, steps=4, lost=2, repeated=2)


def test_the_example_is_the_shortest_history_that_survived_a_loss() -> None:
    assert example_of([QUIET, INLINE_LOSS, QUEUED_LOSS]) is QUEUED_LOSS
    assert example_of([QUIET, history("empty")]) is QUIET


def test_an_attempt_is_under_way_from_its_start_to_its_end() -> None:
    scheduled = [journal.StepScheduled(AT, number, "step", journal.Arguments(), started=True) for number in (1, 2, 3)]
    waiting = journal.StepScheduled(AT, 4, "step", journal.Arguments())
    entries = [*scheduled, waiting]
    assert under_way(history("all", *entries)) == 3
    entries += [journal.StepCompleted(AT, 1, NOTHING, attempt(1)), journal.AttemptEnded(AT, 2, attempt(1))]
    assert under_way(history("one", *entries)) == 1
    entries += [journal.AttemptStarted(AT, 2, 2), journal.AttemptStarted(AT, 4, 1)]
    assert under_way(history("again", *entries)) == 3
