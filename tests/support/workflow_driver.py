"""Drives workflow code in tests: records its commands as entries and answers them, in an order drawn from a seed.

What it returns is a journal that a coordinator could have. Steps are computed by plain functions; nothing waits.
"""

import inspect
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from holdfast.backoff import DEFAULT_BACKOFF
from holdfast.codec import Codec
from holdfast.codec.failures import capture
from holdfast.definitions.definitions import StepDefinition, StepOptions, StepOverrides, WorkflowDefinition
from holdfast.definitions.signatures import CallSignature
from holdfast.journal import (
    Arguments,
    ChildCancelled,
    ChildClosed,
    ChildStarted,
    Entry,
    Mail,
    MailBody,
    MailConsumed,
    MailSent,
    MetadataSet,
    Noted,
    Patched,
    Published,
    RunClosed,
    RunStarted,
    SignalSetAside,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepOrigin,
    StepScheduled,
    StepSkipped,
    TimerCancelled,
    TimerFired,
    TimerSet,
    UserSpan,
    UserSpanBegan,
)
from holdfast.statuses import RunStatus
from holdfast.workflow import commands
from holdfast.workflow.commands import Command
from holdfast.workflow.current_run import RunInfo, WorkflowRuntime, current_runtime
from holdfast.workflow.instance import WorkflowInstance

CODEC = Codec()
START = datetime(2030, 1, 1, tzinfo=UTC)
RUN_ID = "run_00" + "0" * 26
NO_OVERRIDES = StepOverrides()


def runtime() -> WorkflowRuntime:
    """The runtime of the workflow code that calls this."""
    found = current_runtime.get()
    assert found is not None
    return found


class TestedStep:
    """A step whose attempts are computed by `function`. Not collected: pytest looks for Test* classes."""

    __test__ = False

    def __init__(self, function: Callable[..., Any], overrides: StepOverrides = NO_OVERRIDES) -> None:
        self.function = function
        self.overrides = overrides
        options = StepOptions(retries=3, backoff=DEFAULT_BACKOFF)
        self.definition = StepDefinition(function.__name__, function, False, CallSignature.of(function), options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return runtime().call_step(self.definition, args, kwargs, self.overrides)

    def with_id(self, step_id: str) -> "TestedStep":
        found = copy(self)
        found.overrides = StepOverrides(step_id=step_id)
        return found


def a_step(function: Callable[..., Any]) -> TestedStep:
    return TestedStep(function)


def definition_of(function: Callable[..., Any]) -> WorkflowDefinition:
    signature = CallSignature.of(function)
    return WorkflowDefinition(
        function.__name__, function, signature, is_blocking=not inspect.iscoroutinefunction(function)
    )


def instance_of(function: Callable[..., Any], *args: Any, run_id: str = RUN_ID) -> WorkflowInstance:
    encoded = Arguments(tuple(CODEC.encode(value, what="") for value in args))
    return WorkflowInstance(definition_of(function), RunInfo(run_id, function.__name__), encoded, codec=CODEC)


def entry_of(command: Command, at: datetime) -> Entry:
    """The entry that records a command."""
    match command:
        case commands.CallStep(number, definition, _, arguments, step_id):
            return StepScheduled(
                at, number, definition.name, arguments, step_id, span=command.span, independent=command.independent
            )
        case commands.CancelStep(number):
            return StepCancelled(at, number)
        case commands.SetTimer(number, name, delay, until, signal, span, hook, sha256):
            return TimerSet(at, number, name, delay, until, signal, span, hook, sha256)
        case commands.CancelTimer(number):
            return TimerCancelled(at, number)
        case commands.StartChild(number, workflow, run_id, arguments, id):
            return ChildStarted(at, number, workflow, run_id, arguments, id, span=command.span)
        case commands.CancelChild(number):
            return ChildCancelled(at, number)
        case commands.SendMail(number, message, after, signal, payload, reason):
            return MailSent(at, number, message, after, signal, payload, reason)
        case commands.SetMetadata(key, value):
            return MetadataSet(at, key, value)
        case commands.EnterSpan(number, name, began_at, parent):
            return UserSpanBegan(at, number, name, began_at, parent)
        case commands.LeaveSpan(number, name, began_at, parent, error_type):
            return UserSpan(at, number, name, began_at, parent, error_type)
        case commands.SkipStep(number, name, step_id, failure):
            return StepSkipped(at, number, name, step_id, failure)
        case commands.SetSignalAside(number, name, problem):
            return SignalSetAside(at, number, name, problem)
        case commands.PublishValue(key, value):
            return Published(at, key, value)
        case commands.MarkPatched(change_id):
            return Patched(at, change_id)
        case commands.WriteNote(text, level, facts, span):
            return Noted(at, text, level, facts, span)
        case commands.Close(status, result, failure, successor_run_id, arguments, signals):
            return RunClosed(at, status, result, failure, successor_run_id, arguments, signals)


@dataclass
class Driver:
    """One run. mail: what arrives from outside, in order, at moments that the seed chooses."""

    function: Callable[..., Any]
    args: Sequence[Any] = ()
    seed: int = 0
    mail: Sequence[MailBody] = ()
    children: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.at = START
        self.journal: list[Entry] = []
        self.commands: list[Command] = []
        self.due: dict[tuple[str, int], Command] = {}
        self.coming = list(self.mail)
        self.mail_last = 0
        self.is_resumed = False
        self.instance = instance_of(self.function, *self.args)

    def start(self) -> "Driver":
        self.observe(RunStarted(self.at, self.function.__name__))
        return self

    def resume(self, journal: Sequence[Entry]) -> "Driver":
        """Go on from a journal: replay it, then carry on with what it leaves open."""
        self.instance.foresee(journal)
        for entry in journal:
            self.instance.feed(entry)
            self.journal.append(entry)
            self.at = entry.at
            self._note_resumed(entry)
        self.instance.check_replayed()
        self.is_resumed = True
        self.record()
        return self

    def _note_resumed(self, entry: Entry) -> None:
        match entry:
            case TimerSet(_, number, name, delay, until):
                self.due["timer", number] = commands.SetTimer(number, name, delay, until)
            case TimerCancelled(_, number):
                self.due.pop(("timer", number), None)
            case ChildStarted(_, number, workflow, run_id, arguments, id):
                self.due["child", number] = commands.StartChild(number, workflow, run_id, arguments, id)
            case MailConsumed(_, number, mail):
                self.mail_last = number
                assert mail is not None
                if isinstance(mail.body, TimerFired):
                    self.due.pop(("timer", mail.body.number), None)
                elif isinstance(mail.body, ChildClosed):
                    self.due.pop(("child", mail.body.number), None)
                elif mail.body in self.coming:
                    self.coming.remove(mail.body)

    def observe(self, entry: Entry) -> None:
        self.journal.append(entry)
        self.instance.feed(entry)
        self.record()

    def record(self) -> None:
        for command in self.instance.take_commands():
            self.commands.append(command)
            self.journal.append(entry_of(command, self.at))
            match command:
                case commands.CallStep(number):
                    self.due["step", number] = command
                case commands.SetTimer(number):
                    self.due["timer", number] = command
                case commands.StartChild(number):
                    self.due["child", number] = command
                case commands.CancelStep(number):
                    self.due.pop(("step", number), None)
                case commands.CancelTimer(number):
                    self.due.pop(("timer", number), None)
                case commands.CancelChild(number):
                    self.due.pop(("child", number), None)
        for call in self.instance.open_steps() if self.is_resumed else ():
            # Steps of the replayed journal, also one with a step_id that the code has come to only now.
            self.due.setdefault(("step", call.number), call)

    def post(self, body: MailBody) -> None:
        self.mail_last += 1
        self.observe(MailConsumed(self.at, self.mail_last, Mail(self.mail_last, self.at, body)))

    def complete(self, number: int) -> None:
        """Run the step and record how it ended."""
        call = self.due.pop(("step", number))
        assert isinstance(call, commands.CallStep)
        definition = call.definition
        args, kwargs = CODEC.decode_arguments(definition.signature, call.arguments, what=definition.name)
        try:
            result = definition.function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001
            failure = capture(error, step=StepOrigin(definition.name, number, 1))
            self.observe(StepFailed(self.at, number, failure))
        else:
            self.observe(StepCompleted(self.at, number, CODEC.encode(result, what="")))

    def fire(self, number: int) -> None:
        del self.due["timer", number]
        self.post(TimerFired(number))

    def advance(self) -> bool:
        """Let one thing happen; False when nothing can."""
        ways = list(self.due)
        if self.instance.is_closed or not (ways or self.coming):
            return False
        self.at += timedelta(seconds=1)
        picked = self.random.randrange(len(ways) + bool(self.coming))
        if picked == len(ways):
            self.post(self.coming.pop(0))
            return True
        kind, number = ways[picked]
        match kind:
            case "step":
                self.complete(number)
            case "timer":
                self.fire(number)
            case "child":
                self._close_child(number)
        return True

    def _close_child(self, number: int) -> None:
        command = self.due.pop(("child", number))
        assert isinstance(command, commands.StartChild)
        function = self.children[command.workflow]
        args = [CODEC.decode(payload, Any, what="") for payload in command.arguments.positional]
        try:
            result = CODEC.encode(function(*args), what="")
            closed = ChildClosed(number, command.run_id, RunStatus.COMPLETED, result)
        except Exception as error:  # noqa: BLE001
            closed = ChildClosed(number, command.run_id, RunStatus.FAILED, failure=capture(error))
        self.post(closed)

    def run(self) -> "Driver":
        """To the end, or until nothing can happen."""
        if not self.journal:
            self.start()
        while self.advance():
            pass
        return self

    @property
    def closed(self) -> RunClosed:
        last = self.journal[-1]
        assert isinstance(last, RunClosed), self.journal
        return last

    @property
    def result(self) -> Any:
        assert self.closed.status is RunStatus.COMPLETED, self.closed
        assert self.closed.result is not None
        return CODEC.decode(self.closed.result, Any, what="")


def replayed(function: Callable[..., Any], args: Sequence[Any], journal: Sequence[Entry]) -> list[Command]:
    """What the code asks for after all of this journal."""
    instance = instance_of(function, *args)
    instance.foresee(journal)
    for entry in journal:
        instance.feed(entry)
    instance.check_replayed()
    taken = instance.take_commands()
    instance.close()
    return taken
