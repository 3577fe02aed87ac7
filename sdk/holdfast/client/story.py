"""The journal of a run folded into what a person looks for: its steps with their attempts, and what else happened.

Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from holdfast import journal
from holdfast.client.history import HistoryEntry
from holdfast.durations import format_duration
from holdfast.statuses import AttemptOutcome, StepStatus


@dataclass(slots=True)
class AttemptStory:
    """One attempt of a step; `outcome` is None while it runs."""

    number: int
    outcome: AttemptOutcome | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure: journal.Failure | None = None


@dataclass(slots=True)
class StepStory:
    """One step and its attempts, by number. failure: why it failed or was skipped. result: as it is recorded."""

    number: int
    name: str
    status: StepStatus
    scheduled_at: datetime
    closed_at: datetime | None = None
    attempts: dict[int, AttemptStory] = field(default_factory=dict)
    step_id: str = ""
    failure: journal.Failure | None = None
    result: journal.Payload | None = None

    def attempt(self, number: int) -> AttemptStory:
        """The attempt with this number, made when it is new."""
        return self.attempts.setdefault(number, AttemptStory(number))


@dataclass(slots=True)
class Event:
    """Anything that is no step: `text` is for people."""

    at: datetime
    text: str


Story = list[StepStory | Event]


def story_of(entries: Iterable[HistoryEntry]) -> Story:
    """Steps and events in the order in which they began."""
    teller = _Teller()
    for entry in entries:
        teller.add(entry.entry)
    return teller.story


class _Teller:
    def __init__(self) -> None:
        self.story: Story = []
        self._steps: dict[int, StepStory] = {}

    def add(self, entry: journal.Entry) -> None:
        match entry:
            case journal.StepScheduled():
                status = StepStatus.RUNNING if entry.started else StepStatus.SCHEDULED
                step = StepStory(entry.number, entry.name, status, entry.at, step_id=entry.step_id)
                self._steps[entry.number] = step
                self.story.append(step)
                if entry.started:
                    step.attempt(1).started_at = entry.at
            case journal.AttemptStarted():
                step = self._step(entry.number, entry.at)
                step.attempt(entry.attempt).started_at = entry.at
                step.status = StepStatus.RUNNING
            case journal.AttemptEnded():
                step = self._step(entry.number, entry.at)
                _end(step, entry.attempt)
                step.status = StepStatus.WAITING_RETRY
            case journal.StepCompleted():
                self._close(entry.number, StepStatus.COMPLETED, entry.at, entry.attempt).result = entry.result
            case journal.StepFailed():
                self._close(entry.number, StepStatus.FAILED, entry.at, entry.attempt).failure = entry.failure
            case journal.StepSkipped(at, number, name, step_id, failure):
                step = StepStory(number, name, StepStatus.SKIPPED, at, at, step_id=step_id, failure=failure)
                self._steps[number] = step
                self.story.append(step)
            case journal.StepCancelled():
                self._close(entry.number, StepStatus.CANCELLED, entry.at, entry.attempt)
            case journal.MailConsumed(at, number, mail):
                self._mail(at, number, mail, "")
            case journal.MailUndelivered(at, number, mail):
                self._mail(at, number, mail, " (not delivered)")
            case journal.RunClosed():
                for step in self._steps.values():
                    if step.closed_at is None:
                        # With its run all that is open in it is over.
                        self._close(step.number, StepStatus.CANCELLED, entry.at, None)
                self.story.append(Event(entry.at, _event(entry)))
            case _:
                self.story.append(Event(entry.at, _event(entry)))

    def _mail(self, at: datetime, number: int, mail: journal.Mail | None, suffix: str) -> None:
        body = mail.body if mail is not None else None
        if isinstance(body, journal.StepResult):
            step = self._step(body.number, at)
            for record in body.attempts:
                _end(step, record)
            step.status = StepStatus.COMPLETED if body.failure is None else StepStatus.FAILED
            step.closed_at = at
            step.result, step.failure = body.result, body.failure
        elif not isinstance(body, journal.RetryDue):
            self.story.append(Event(at, f"{_mail_text(number, body)}{suffix}"))

    def _close(self, number: int, status: StepStatus, at: datetime, attempt: journal.AttemptRecord | None) -> StepStory:
        step = self._step(number, at)
        step.status = status
        step.closed_at = at
        if attempt is not None:
            _end(step, attempt)
        return step

    def _step(self, number: int, at: datetime) -> StepStory:
        step = self._steps.get(number)
        if step is None:
            # A page that begins in the middle of a run names steps that were scheduled before it.
            step = self._steps[number] = StepStory(number, "?", StepStatus.SCHEDULED, at)
            self.story.append(step)
        return step


def _end(step: StepStory, record: journal.AttemptRecord) -> None:
    attempt = step.attempt(record.attempt)
    attempt.outcome = record.outcome
    attempt.started_at, attempt.ended_at = record.started_at, record.ended_at
    attempt.failure = record.failure


def _event(entry: journal.Entry) -> str:
    match entry:
        case journal.RunStarted(_, workflow, origin):
            return f"started {workflow}{f', continuing {origin}' if origin else ''}"
        case journal.TimerSet():
            due = format_duration(entry.delay) if entry.delay is not None else f"until {entry.until}"
            return f"timer {entry.number}{f' ({entry.name})' if entry.name else ''} set: {due}"
        case journal.TimerCancelled():
            return f"timer {entry.number} cancelled"
        case journal.ChildStarted():
            return f"child {entry.number}: {entry.workflow} {entry.run_id}"
        case journal.ChildCancelled():
            return f"child {entry.number} cancelled"
        case journal.MailSent(_, child, _, _, signal):
            return f"sent child {child} {f'signal {signal}' if signal else 'a request to end'}"
        case journal.MetadataSet(_, key, value):
            return f"metadata {key}={value}"
        case journal.RunStalled():
            return f"stalled: {entry.reason}"
        case journal.RunResumed():
            return f"resumed{f': {entry.reason}' if entry.reason else ''}"
        case journal.UserSpanBegan():
            return f"span {entry.name} began"
        case journal.UserSpan():
            took = format_duration(entry.at - entry.began_at)
            return f"span {entry.name}: {took}{f', left by {entry.error_type}' if entry.error_type else ''}"
        case journal.SignalSetAside():
            return f"signal {entry.name} set aside, it does not fit: {entry.problem}"
        case journal.Patched():
            return f"goes the new way of {entry.change_id}"
        case journal.Noted(_, text, level, facts):
            shown = f" {facts.data.decode(errors='replace')}" if facts is not None else ""
            return f"{level}: {text}{shown}"
        case journal.Published(_, key, value):
            return f"published {key}: {value.data.decode(errors='replace')}"
        case journal.RunClosed(_, status, _, failure):
            why = f": {failure.error_type}: {failure.message}" if failure is not None else ""
            return f"{status}{why}"
    return type(entry).__name__


def _mail_text(number: int, body: journal.MailBody | None) -> str:
    match body:
        case journal.Signal(name):
            return f"signal {name}"
        case journal.TimerFired(timer):
            return f"timer {timer} fired"
        case journal.ChildClosed():
            return f"child {body.number} {body.status}"
        case journal.CancelRequested(reason):
            return f"cancel requested{f': {reason}' if reason else ''}"
    return f"mail {number}"
