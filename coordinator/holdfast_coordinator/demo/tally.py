"""Counts what happened from the histories of runs. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from holdfast import journal
from holdfast.client import History
from holdfast.statuses import AttemptOutcome


@dataclass(frozen=True)
class Tally:
    """steps: completed ones. lost: attempts whose worker died. repeated: attempts after the first of a step."""

    runs: int
    entries: int
    steps: int
    lost: int
    repeated: int

    @classmethod
    def of(cls, histories: Sequence[History]) -> "Tally":
        """What is in all the histories together."""
        attempts = [attempt for history in histories for attempt in attempts_of(history)]
        return cls(
            runs=len(histories),
            entries=sum(map(len, histories)),
            steps=sum(attempt.outcome is AttemptOutcome.COMPLETED for attempt in attempts),
            lost=sum(attempt.outcome is AttemptOutcome.LOST for attempt in attempts),
            repeated=sum(attempt.attempt > 1 for attempt in attempts),
        )


def attempts_of(history: History) -> Iterator[journal.AttemptRecord]:
    """Every attempt that has ended: of steps that ran with the code of their run, and of those that were queued."""
    for one in history:
        match one.entry:
            case journal.AttemptEnded(attempt=attempt):
                yield attempt
            case journal.StepCompleted(attempt=attempt) | journal.StepFailed(attempt=attempt) if attempt is not None:
                yield attempt
            case journal.MailConsumed(mail=journal.Mail(body=journal.StepResult(attempts=attempts))):
                yield from attempts


def under_way(history: History) -> int:
    """How many attempts of steps that run with the code of their run have started and not ended."""
    started: set[int] = set()
    for one in history:
        match one.entry:
            case journal.StepScheduled(number=number, started=True) | journal.AttemptStarted(number=number):
                started.add(number)
            case (
                journal.AttemptEnded(number=number)
                | journal.StepCompleted(number=number)
                | journal.StepFailed(number=number)
            ):
                started.discard(number)
    return len(started)


def example_of(histories: Iterable[History]) -> History:
    """The history worth showing: the shortest that survived a loss; without any, the shortest with two steps."""

    def interest(history: History) -> tuple[bool, bool, int]:
        outcomes = [attempt.outcome for attempt in attempts_of(history)]
        return AttemptOutcome.LOST not in outcomes, len(outcomes) < 2, len(history)

    return min(histories, key=interest)
