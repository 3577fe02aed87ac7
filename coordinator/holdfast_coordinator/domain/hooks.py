"""Hooks: places in runs that take one signal from whoever has their token. Pure.

A hook is open while it has an alarm: the timer of its run that limits it, under the negative of the hook's own number,
since a token is made before the timer has one. Whatever closes it clears that alarm and leaves an answer for those who
come later, kept for as long as the run is open and a day.
"""

from dataclasses import dataclass
from datetime import datetime

from holdfast.errors import HoldfastError, HookAlreadyReceived, HookExpired, HookNotFound
from holdfast.journal import TimerFired

from .asks import SetTimerAsk
from .commands import DeliverHook
from .mail import MailKind, SignalMail
from .rows import AlarmKind, AlarmRow, OpenRun, Side
from .rules import Rule, Rules
from .snapshot import Reads
from .workspace import Workspace


@dataclass(slots=True, frozen=True)
class OpenHook:
    """The body of the alarm of an open hook. timer: the number of the timer. signal: the name of what it takes.

    is_answered: those who come later have an answer already, of the first payload, which the code has set aside.
    """

    timer: int
    is_answered: bool
    sha256: str
    signal: str

    def body(self) -> bytes:
        return f"{self.timer} {self.is_answered:d} {self.sha256} {self.signal}".encode()

    @classmethod
    def of(cls, body: bytes) -> "OpenHook":
        timer, answered, sha256, signal = body.decode().split(" ", 3)
        return cls(int(timer), answered == "1", sha256, signal)


def answer_key(sha256: str) -> str:
    """The request whose answer says what became of a hook: True when something was delivered, False when it expired."""
    return f"hook/{sha256}"


def open_hook(space: Workspace, run: OpenRun, asked: SetTimerAsk, due_at: datetime) -> None:
    """The code of a changed run has made a hook, or set aside what it got, so that it takes another payload."""
    is_answered = (run.run_id, answer_key(asked.hook_sha256)) in space.requests
    hook = OpenHook(asked.number, is_answered, asked.hook_sha256, asked.signal)
    space.add_alarm(AlarmRow(run.run_id, AlarmKind.TIMER, -asked.hook, due_at, hook.body()))
    run.side |= Side.ALARMS


def expire_hook(space: Workspace, run: OpenRun, alarm: AlarmRow) -> None:
    """The timer of a hook of a changed run is due: its alarm is cleared."""
    hook = OpenHook.of(alarm.body)
    if not hook.is_answered:
        space.remember(run, answer_key(hook.sha256), False, while_open=True)
    space.deliver(run, MailKind.TIMER, TimerFired(hook.timer))


def _reads(reads: Reads, asked: DeliverHook) -> None:
    reads.wants_run(asked.run_id, asked.request_id)
    reads.requests.add((asked.run_id, answer_key(asked.sha256)))
    reads.alarms.add((asked.run_id, AlarmKind.TIMER, -asked.number))


def deliver_hook(space: Workspace, asked: DeliverHook) -> bool | HoldfastError:
    """Puts what is delivered into the mail as the signal of the hook, when the hook is open."""
    if asked.request_id and (asked.run_id, asked.request_id) in space.requests:
        return True
    key = (asked.run_id, AlarmKind.TIMER, -asked.number)
    run, alarm = space.runs.get(asked.run_id), space.alarms.get(key)
    hook = None if alarm is None else OpenHook.of(alarm.body)
    if run is None or alarm is None or hook is None or hook.sha256 != asked.sha256:
        received = space.requests.get((asked.run_id, answer_key(asked.sha256)))
        return HookNotFound() if received is None else HookAlreadyReceived() if received else HookExpired()
    if alarm.due_at <= space.now:
        return HookExpired()  # also while its alarm is on its way
    problem = asked.check(run.workflow, hook.signal)
    if problem is not None:
        return problem
    run = space.change(run)
    space.clear_alarm(key)
    if not hook.is_answered:
        space.remember(run, answer_key(asked.sha256), True, while_open=True)
    space.remember(run, asked.request_id, True)
    space.deliver(run, MailKind.SIGNAL, SignalMail(hook.signal, asked.payload), trace=asked.trace)
    return True


RULES: Rules = {DeliverHook: Rule(_reads, deliver_hook, size=lambda asked: len(asked.payload))}
