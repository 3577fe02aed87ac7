"""What workflow code holds after asking for something: the futures of steps, timers, children and signals.

Each also makes the command that it becomes. They decide nothing: the ledger numbers and matches them, the
instance resolves them.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any, ClassVar, Protocol

from holdfast.definitions.definitions import StepDefinition, StepOverrides, WorkflowDefinition
from holdfast.definitions.options import recorded_retry, resolve
from holdfast.hints.value_types import ValueType
from holdfast.journal import Arguments, Failure, Payload
from holdfast.record import record
from holdfast.statuses import ClosePolicy, RunStatus
from holdfast.workflow.commands import (
    CallStep,
    CancelChild,
    CancelStep,
    CancelTimer,
    Close,
    Command,
    SendMail,
    SetSignalAside,
    SetTimer,
    SkipStep,
    StartChild,
)
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.sameness import Values
from holdfast.workflow.tasks import Part, WorkflowFuture, number_of, timer_words


class Asked(Protocol):
    """Something that the code asked for and that becomes one command.

    number: 0 until an entry or a command gives it one. is_unrecorded: no entry stands for it yet, and no
    command was handed out for it.
    """

    @property
    def kind(self) -> str: ...

    number: int
    is_unrecorded: bool

    def command(self) -> Command: ...

    def describe(self) -> str:
        """What the code did, as a predicate: "called step charge"."""
        ...


class Withdrawable(Protocol):
    """Where calls say that they are no longer awaited."""

    def withdraw(self, call: "StepCall | TimerCall | ChildCall") -> None: ...


class Inbox(Protocol):
    """Where receivers wait."""

    def forget(self, call: "ReceiveCall") -> None: ...


class StepCall(WorkflowFuture[Any]):
    """The result to come of a step. values: what it is called with, kept in a replay until its entry was seen.

    part: the named part of the code that calls it; None outside of all. So in the calls below.
    """

    __slots__ = ("arguments", "definition", "host", "is_unrecorded", "number", "overrides", "part", "values")

    kind: ClassVar[str] = "step"

    def __init__(
        self,
        loop: WorkflowLoop,
        host: Withdrawable,
        definition: StepDefinition,
        overrides: StepOverrides,
        arguments: Arguments,
        values: Values | None = None,
    ) -> None:
        super().__init__(loop)
        self.host = host
        self.definition = definition
        self.overrides = overrides
        self.arguments = arguments
        self.values = values
        self.part: Part | None = None
        self.number = 0
        self.is_unrecorded = False

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        self.host.withdraw(self)
        return True

    def command(self) -> CallStep:
        definition, overrides = self.definition, self.overrides
        if overrides is _NOTHING_OVERRIDDEN or overrides == _NOTHING_OVERRIDDEN:
            return CallStep(self.number, definition, definition.options, self.arguments, span=number_of(self.part))
        return CallStep(
            self.number,
            definition,
            resolve(definition.options, overrides),
            self.arguments,
            step_id=overrides.step_id,
            retry=recorded_retry(overrides, definition.options),
            span=number_of(self.part),
            independent=overrides.independent,
        )

    def describe(self) -> str:
        return f"called {step_words(self.definition.name, self.overrides.step_id)}"

    def __repr__(self) -> str:
        return f"<call of {step_words(self.definition.name, self.overrides.step_id)}, number {self.number or 'open'}>"


class TimerCall(WorkflowFuture[None]):
    """A sleep."""

    __slots__ = ("delay", "host", "is_unrecorded", "name", "number", "part", "until")

    kind: ClassVar[str] = "timer"

    def __init__(
        self,
        loop: WorkflowLoop,
        host: Withdrawable,
        delay: timedelta | None,
        until: datetime | None,
        name: str,
    ) -> None:
        super().__init__(loop)
        self.host = host
        self.delay = delay
        self.until = until
        self.name = name
        self.part: Part | None = None
        self.number = 0
        self.is_unrecorded = False

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        self.host.withdraw(self)
        return True

    def fire(self) -> None:
        if not self.done():
            self.set_result(None)

    def command(self) -> SetTimer:
        return SetTimer(self.number, self.name, delay=self.delay, until=self.until, span=number_of(self.part))

    def describe(self) -> str:
        return f"set {timer_words(self.name, self.delay, self.until)}"


@record
class ChildOptions:
    """What a start of a child says; "" and None mean: as the workflow is defined, else as its parent."""

    id: str = ""
    queue: str = ""
    max_duration: timedelta | None = None
    close_policy: ClosePolicy = ClosePolicy.CANCEL


class ChildCall(WorkflowFuture[Any]):
    """The result to come of a child run. status: how it has closed, as the journal of its parent says; None before.

    close_policy: what happens to it when its parent closes.
    """

    __slots__ = (
        "arguments", "close_policy", "definition", "host", "id", "is_unrecorded", "max_duration", "number", "part",
        "queue", "run_id", "status",
    )  # fmt: skip

    kind: ClassVar[str] = "child"

    def __init__(
        self,
        loop: WorkflowLoop,
        host: Withdrawable,
        definition: WorkflowDefinition,
        arguments: Arguments,
        *,
        number: int,
        run_id: str,
        options: ChildOptions,
    ) -> None:
        super().__init__(loop)
        self.host = host
        self.definition = definition
        self.arguments = arguments
        self.number = number
        self.run_id = run_id
        self.id = options.id
        self.queue = options.queue or definition.queue
        self.max_duration = definition.max_duration if options.max_duration is None else options.max_duration
        self.close_policy = options.close_policy
        self.status: RunStatus | None = None
        self.part: Part | None = None
        self.is_unrecorded = False

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        self.host.withdraw(self)
        return True

    def command(self) -> StartChild:
        return StartChild(
            self.number,
            self.definition.name,
            self.run_id,
            self.arguments,
            id=self.id,
            queue=self.queue,
            max_duration=self.max_duration,
            close_policy=self.close_policy,
            span=number_of(self.part),
        )

    def describe(self) -> str:
        return f"started child run {self.number} of {self.definition.name}"


class Message:
    """What the code sends a child. number: of the child. message, after: see SendMail; given by the ledger."""

    __slots__ = ("after", "is_unrecorded", "message", "number", "payload", "reason", "signal")

    kind: ClassVar[str] = "message"

    def __init__(self, child: int, *, signal: str = "", payload: Payload | None = None, reason: str = "") -> None:
        self.number = child
        self.message = 0
        self.after = 0
        self.signal = signal
        self.payload = payload
        self.reason = reason
        self.is_unrecorded = False

    def command(self) -> SendMail:
        return SendMail(self.number, self.message, self.after, self.signal, self.payload, self.reason)

    def describe(self) -> str:
        return message_words(self.number, self.signal)


class ReceiveCall(WorkflowFuture[Any]):
    """A signal to come. It is no command: signals come without being asked for."""

    __slots__ = ("inbox", "name", "since", "timer", "type")

    def __init__(self, loop: WorkflowLoop, inbox: Inbox, name: str, type: ValueType, *, since: datetime) -> None:
        super().__init__(loop)
        self.inbox = inbox
        self.name = name
        self.type = type
        self.since = since
        self.timer: asyncio.Handle | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        self.stop_waiting()
        return True

    def stop_waiting(self) -> None:
        self.inbox.forget(self)
        if self.timer is not None:
            self.timer.cancel()

    def time_out(self) -> None:
        if not self.done():
            self.stop_waiting()
            self.set_exception(TimeoutError(self._late_words()))
            self._log_traceback = False

    def was_refused(self) -> None:
        """A signal of its name came that does not fit, and was set aside."""

    def _late_words(self) -> str:
        return f"no signal {self.name!r} came in time"


class Cancellation:
    """The code no longer awaits something that is recorded."""

    __slots__ = ("cancelled", "is_unrecorded", "kind", "number")

    def __init__(self, cancelled: Asked) -> None:
        self.cancelled = cancelled
        self.kind = f"cancel {cancelled.kind}"
        self.number = cancelled.number
        self.is_unrecorded = False

    def command(self) -> Command:
        match self.cancelled.kind:
            case "step":
                return CancelStep(self.number)
            case "timer":
                return CancelTimer(self.number)
            case kind:
                assert kind == "child", kind
                return CancelChild(self.number)

    def describe(self) -> str:
        return f"cancelled {self.cancelled.kind} {self.number}"


class Skip:
    """The code leaves a step out that it would have called, which its step_id identifies."""

    __slots__ = ("failure", "is_unrecorded", "name", "number", "step_id")

    kind: ClassVar[str] = "skip"

    def __init__(self, name: str, step_id: str, failure: Failure) -> None:
        self.name = name
        self.step_id = step_id
        self.failure = failure
        self.number = 0
        self.is_unrecorded = False

    def command(self) -> SkipStep:
        return SkipStep(self.number, self.name, self.step_id, self.failure)

    def describe(self) -> str:
        return f"skipped {step_words(self.name, self.step_id)}"


class Misfit:
    """A signal did not fit the type that the code asked for. number: of the mail that brought it."""

    __slots__ = ("is_unrecorded", "name", "number", "problem")

    kind: ClassVar[str] = "misfit"

    def __init__(self, number: int, name: str, problem: str) -> None:
        self.number = number
        self.name = name
        self.problem = problem
        self.is_unrecorded = False

    def command(self) -> SetSignalAside:
        return SetSignalAside(self.number, self.name, self.problem)

    def describe(self) -> str:
        return f"set signal {self.name} aside, which does not fit: {self.problem}"


class Ending:
    """The code has ended."""

    __slots__ = ("close", "is_unrecorded", "number")

    kind: ClassVar[str] = "close"

    def __init__(self, close: Close) -> None:
        self.close = close
        self.number = 0
        self.is_unrecorded = False

    def command(self) -> Close:
        return self.close

    def describe(self) -> str:
        failure = self.close.failure
        why = f" with {failure.error_type}: {failure.message}" if failure is not None else ""
        return f"ended as {self.close.status}{why}"


_NOTHING_OVERRIDDEN = StepOverrides()


def step_words(name: str, step_id: str = "", number: int = 0) -> str:
    """A step in words: `step charge (4)`, `step charge [item-3]`."""
    return f"step {name}{f' [{step_id}]' if step_id else ''}{f' ({number})' if number else ''}"


def message_words(child: int, signal: str) -> str:
    """What was sent to a child, as a predicate."""
    return f"sent child run {child} {f'signal {signal}' if signal else 'a request to end'}"
