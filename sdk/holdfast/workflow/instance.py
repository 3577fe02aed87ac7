"""One run's code in memory: entries go in one at a time, commands come out.

Feeding an entry resolves what it resolves and runs the code until it waits again; that is the whole rule of a
replay. Given the same entries the same commands come out, in any process and on any machine.

It must never read a clock, draw a random number of its own, do I/O, or take an error of this runtime for a
failure of the workflow: such errors leave `feed`.
"""

import asyncio
import decimal
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar
from uuid import UUID

from holdfast import journal
from holdfast.codec import Codec
from holdfast.codec.failures import as_run_failed, as_step_failed, capture
from holdfast.definitions.definitions import StepDefinition, StepOverrides, WorkflowDefinition
from holdfast.definitions.functions import is_awaitable
from holdfast.errors import DuplicateStepId, HoldfastError, NotAwaited
from holdfast.hints import HopelessHint, UnknownYet, ValueType, value_type
from holdfast.journal import Arguments, Entry, Failure, MailBody, Payload, StepOrigin
from holdfast.limits import DEFAULT_LIMITS, Limits
from holdfast.statuses import RunStatus
from holdfast.workflow import interrupts
from holdfast.workflow.calls import ChildCall, Ending, ReceiveCall, StepCall, TimerCall, step_words
from holdfast.workflow.children import child_arguments, start_child
from holdfast.workflow.code_spans import OpenSpan, RunSpans
from holdfast.workflow.commands import CallStep, Close, Command
from holdfast.workflow.current_run import RunInfo, WorkflowRuntime, current_runtime
from holdfast.workflow.ledger import Ledger
from holdfast.workflow.loop import RunUnwinding, WorkflowLoop
from holdfast.workflow.sameness import Values
from holdfast.workflow.signals import SignalInbox
from holdfast.workflow.tasks import LoopTimer
from holdfast.workflow.unawaited_calls import CallPlace, calls, not_awaited

_P = ParamSpec("_P")
_T = TypeVar("_T")

_BEFORE_THE_START = datetime(1970, 1, 1, tzinfo=UTC)


class WorkflowInstance:
    """The code of one run, as far as its journal has brought it. The worker's cache holds these.

    is_closed: the code has ended, or the journal says that the run has. is_replaying: set by the worker while
    it feeds a journal again; what workflow code logs then was logged before. prepare: called with this among the
    context variables that the code begins with, to set those that are not the runtime's. seed: what random
    numbers and idempotency keys are made of, where the run continues another one; else "". is_guarded: what a replay
    cannot repeat raises, see `guards`.
    """

    def __init__(
        self,
        definition: WorkflowDefinition,
        info: RunInfo,
        arguments: Arguments,
        *,
        codec: Codec,
        limits: Limits = DEFAULT_LIMITS,
        prepare: "Callable[[WorkflowInstance], None] | None" = None,
        is_guarded: bool = False,
    ) -> None:
        self._prepare = prepare
        self._definition = definition
        self._info = info
        self._arguments = arguments
        self._codec = codec
        self._limits = limits
        self._seed = hashlib.sha256(info.run_id.encode()).digest()
        self.seed = ""
        self._random: Random | None = None
        self._now = info.created_at or _BEFORE_THE_START
        self._started_at = self._now
        self._loop = WorkflowLoop(self, salt=int.from_bytes(self._seed[:5], "big"))
        self._loop.is_driven = True
        self._loop.is_guarded = is_guarded
        self._ledger = Ledger(self.waits)
        self._signals = SignalInbox(self._ledger)
        self._spans = RunSpans(self._ledger)
        self._step_ids: set[str] = set()
        self._main: asyncio.Task[None] | None = None
        self._cancel_reason: str | None = None
        self._fault: BaseException | None = None
        self.is_closed = False

    # What the worker drives it with

    def feed(self, entry: Entry) -> None:
        """Let the code observe one entry, and run it until it waits again.

        Raises NonDeterminism when the entry records a decision that the code did not make. Any error out of
        here says that the run cannot go on with this code in this worker, never that the workflow failed.
        """
        loop = self._loop
        self._raise_fault()
        self._ledger.position += 1
        self._now = entry.at
        kind = entry.__class__
        match = _MATCHERS.get(kind)
        if match is not None:
            match(self, entry)
            return
        observe = _OBSERVERS.get(kind)
        if observe is not None:
            loop.enter_and(self._observe, observe, entry)
            self._raise_fault()
            if self.is_closed:
                loop.shut_down()

    def _raise_fault(self) -> None:
        fault = self._fault or self._loop.fault
        if fault is not None:
            raise fault

    def _observe(self, observe: "Callable[[WorkflowInstance, Any], None]", entry: Entry) -> None:
        observe(self, entry)
        if self._loop.ready:
            self._spans.turn()
            self._loop.run_ready()
            if self._loop.mistake is not None:
                self._end(self._close_after(self._loop.mistake))

    def take_commands(self) -> list[Command]:
        """What the code has asked for and no entry records yet, in call order. Each is handed out once.

        The caller writes one entry per command; it does not feed those entries.
        """
        return self._ledger.take()

    def check_replayed(self) -> None:
        """End a replay: from here on the code does new things.

        Numbered entries without a call were refused by `feed` already; entries with a step_id wait for theirs.
        """
        self.is_replaying = False

    def open_steps(self) -> list[CallStep]:
        """The recorded calls without a result, by number: what a new holder of the run carries on with."""
        return [call.command() for _, call in sorted(self._ledger.steps.items())]

    def child_workflow(self, number: int) -> WorkflowDefinition:
        """The workflow of an open child run, for a driver that runs children itself."""
        return self._ledger.children[number].definition

    def waits(self) -> list[str]:
        """What would wake the code, in words: "step charge (4)", "signal approval", "timer 2 (reminder)"."""
        ledger = self._ledger
        steps = [step_words(call.definition.name, number=call.number) for call in ledger.steps.values()]
        timers = [f"timer {number}{f' ({t.name})' if t.name else ''}" for number, t in ledger.timers.items()]
        children = [f"child run {number} of {call.definition.name}" for number, call in ledger.children.items()]
        signals = [f"signal {name}" for name in self._signals.waiting]
        return [*steps, *timers, *children, *signals]

    def awaited_since(self, body: MailBody) -> datetime | None:
        """Since when the code waits without a limit for this signal; None for other mail, and when it does not."""
        return self._signals.awaited_since(body) if isinstance(body, journal.Signal) else None

    def foresee(self, entries: Iterable[Entry]) -> None:
        """Entries that will be fed: signals that they set aside do not reach code that would take them now."""
        self._signals.foresee(entry.number for entry in entries if type(entry) is journal.SignalSetAside)

    def interrupt(self, error: BaseException) -> None:
        """The run cannot go on with `error`, which leaves `feed` whatever the code does now. From any thread."""
        self._fault = error
        self._loop.stop()

    def close(self) -> None:
        """Drop the code from memory: its `finally` blocks run now, and can record nothing."""
        self._ledger.end()
        # Whoever gets the run next lets its code do this again, and says it then.
        self._loop.is_quiet = True
        self._loop.shut_down()

    @property
    def is_over(self) -> bool:
        """True when the code has ended or was dropped: whatever it asks for now has no effect."""
        return self._ledger.is_ended

    @property
    def position(self) -> int:
        """How many entries were fed."""
        return self._ledger.position

    @property
    def is_replaying(self) -> bool:
        return self._loop.is_quiet

    @is_replaying.setter
    def is_replaying(self, value: bool) -> None:
        self._loop.is_quiet = value

    # What workflow code asks for (WorkflowRuntime)

    @property
    def info(self) -> RunInfo:
        """What the code can read of its run."""
        return self._info

    @property
    def random(self) -> Random:
        """Random numbers that are the same in every replay of this run."""
        if self._random is None:
            self._random = Random(self._seed)
        return self._random

    def now(self) -> datetime:
        """When the entry was recorded that the code last observed."""
        return self._now

    def uuid4(self) -> UUID:
        """A random UUID, the same in every replay of this run."""
        return UUID(int=self.random.getrandbits(128), version=4)

    def call_step(
        self,
        step: StepDefinition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        overrides: StepOverrides,
        place: CallPlace | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """The call of a step, with its arguments as they are now; it is asked for when it is first awaited.

        Raises ArgumentsRejected, PayloadNotSerializable or PayloadTooLarge. Awaiting it raises DuplicateStepId,
        and has then asked for nothing.
        """
        if self._ledger.is_ended:
            self._loop.refuse()
        try:
            arguments = self._codec.encode_arguments(step.signature, args, kwargs, what=f"step {step.name}")
        except HoldfastError as error:
            raise _unawaited_among(args, kwargs) or error from None
        except BaseException as error:  # noqa: BLE001
            self._break(error)
        return self._called_step(
            step, arguments, overrides, place, (args, kwargs) if self._loop.is_quiet and (args or kwargs) else None
        )

    async def _called_step(
        self,
        definition: StepDefinition,
        arguments: Arguments,
        overrides: StepOverrides,
        place: CallPlace | None,
        values: Values | None,
    ) -> Any:
        if self._ledger.is_ended:
            self._loop.refuse()
            return await self._loop.create_future()
        self._loop.refuse_from_outside()
        call = StepCall(self._loop, self._ledger, definition, overrides, arguments, values)
        call.part = self._spans.here()
        if overrides.step_id:
            self._ask_identified(call)
        else:
            self._ledger.ask(call)
        return await call

    def call_child(
        self,
        workflow: WorkflowDefinition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        place: CallPlace | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """The call of a child run; raises and is asked for as `call_step` does and is."""
        if self._ledger.is_ended:
            self._loop.refuse()
        try:
            arguments, id = self._guarded(child_arguments, self._codec, workflow, args, kwargs)
        except HoldfastError as error:
            raise _unawaited_among(args, kwargs) or error from None
        return self._called_child(workflow, arguments, id, place)

    async def _called_child(
        self, definition: WorkflowDefinition, arguments: Arguments, id: str, place: CallPlace | None
    ) -> Any:
        if self._ledger.is_ended:
            self._loop.refuse()
            return await self._loop.create_future()
        self._loop.refuse_from_outside()
        part = self._spans.here()
        return await start_child(self._loop, self._ledger, self._info.run_id, definition, arguments, id, part)

    def sleep(self, delay: timedelta | None, until: datetime | None, name: str) -> Awaitable[None]:
        """Ask for a timer. Exactly one of delay and until is given; without a name, what is due needs no entry."""
        if self._ledger.is_ended:
            self._loop.refuse()
            return self._loop.create_future()
        call = TimerCall(self._loop, self._ledger, delay, until, name)
        is_due = delay <= timedelta(0) if delay is not None else until is not None and until <= self._now
        if is_due and not name:
            self._loop.call_soon(call.fire)
        else:
            call.part = self._spans.here()
            self._ledger.ask(call)
        return call

    def receive(self, name: str, type_hint: Any, timeout: timedelta | None) -> Awaitable[Any]:
        """The next signal of this name that fits the type, which may have arrived before.

        Raises TimeoutError after `timeout`, and TypeError for a type that no signal can fit.
        """
        if self._ledger.is_ended:
            self._loop.refuse()
            return self._loop.create_future()
        try:
            found = value_type(type_hint)
        except (HopelessHint, UnknownYet) as error:
            raise TypeError(f"receive {name!r}: no signal can be {type_hint}: {error}") from error
        call = ReceiveCall(self._loop, self._signals, name, found, since=self._now)
        if not self._signals.receive(call) and timeout is not None:
            call.timer = self._loop.set_timer(timeout, call.time_out, name=f"signal {name}", signal=name)
        return call

    def enter_span(self, name: str) -> OpenSpan | None:
        """The code enters a part of itself that is to be seen in traces; None when it is being unwound."""
        return self._spans.enter(name, self._now)

    # What the loop asks for (TimerHost)

    def elapsed_seconds(self) -> float:
        return (self._now - self._started_at).total_seconds()

    def set_timer(self, timer: LoopTimer) -> None:
        if not timer.signal:
            timer.part = self._spans.here()
        self._ledger.ask(timer)

    def withdraw_timer(self, timer: LoopTimer) -> None:
        self._ledger.withdraw(timer)

    # The code

    async def _run(self) -> None:
        """Run the workflow function to its end and ask for the close of the run."""
        what = f"workflow {self._definition.name}"
        signature = self._definition.signature
        try:
            args, kwargs = self._guarded(self._codec.decode_arguments, signature, self._arguments, what=what)
            returned = self._definition.function(*args, **kwargs)
            if not is_awaitable(returned):
                raise TypeError(f"{what} returned {type(returned).__name__}, and nothing to await")
            result = await returned
            if asyncio.iscoroutine(result):
                raise _thrown_away(result)
            payload = self._guarded(self._codec.encode, result, signature.result, what=f"the result of {what}")
        except BaseException as error:
            if self._comes_from_outside(error):
                raise
            close = self._close_after(self._cause_of(error))
        else:
            mistake = self._loop.mistake
            close = Close(RunStatus.COMPLETED, result=payload) if mistake is None else self._close_after(mistake)
        if self._loop.has_generators:
            await self._loop.close_generators()
        self._end(close)

    def _cause_of(self, error: BaseException) -> BaseException:
        """The call that was not awaited, where that explains the error: `price() + 1` is a TypeError."""
        if not isinstance(error, (TypeError, AttributeError)):
            return error
        left = getattr(error, "obj", None)  # of an AttributeError
        mistake = _thrown_away(left) if asyncio.iscoroutine(left) else self._loop.mistake
        if mistake is None:
            return error
        mistake.__cause__ = error
        return mistake

    def _comes_from_outside(self, error: BaseException) -> bool:
        """True for what ends the code without being an error of it: it is being unwound, or a person stops us."""
        if isinstance(error, KeyboardInterrupt):
            return interrupts.can_be_from_outside()
        return isinstance(error, RunUnwinding) or (isinstance(error, GeneratorExit) and self._loop.is_dead)

    def _close_after(self, error: BaseException) -> Close:
        if error.__traceback__ is not None:
            # The first frame is ours and says nothing to the user.
            error.__traceback__ = error.__traceback__.tb_next
        failure = capture(error, limits=self._limits)
        if isinstance(error, asyncio.CancelledError) and self._cancel_reason is not None:
            return Close(RunStatus.CANCELLED, failure=replace(failure, message=self._cancel_reason))
        return Close(RunStatus.FAILED, failure=failure)

    def _end(self, close: Close) -> None:
        if self._fault is not None or self._ledger.is_ended:
            return
        self._spans.leave_all()
        self._ledger.ask(Ending(close))
        self._ledger.end()
        self.is_closed = True
        self._loop.stop()

    def _ask_identified(self, call: StepCall) -> None:
        step_id = call.overrides.step_id
        if step_id in self._step_ids:
            raise DuplicateStepId(step_id)
        try:
            kept = self._ledger.ask_identified(call)
        except HoldfastError as error:
            self._break(error)
        self._step_ids.add(step_id)
        if kept is not None and kept.outcome is not None:
            self._settle(call, kept.outcome)

    def _guarded(self, act: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a part of the runtime below workflow code: what it refuses is the code's, what breaks is ours."""
        try:
            return act(*args, **kwargs)
        except HoldfastError:
            raise
        except BaseException as error:  # noqa: BLE001
            self._break(error)

    def _break(self, error: BaseException) -> NoReturn:
        """Remember an error of the runtime, which the code may catch, so that it leaves `feed`."""
        self._fault = error
        self._loop.stop()
        raise error

    # What entries do

    def _on_run_started(self, entry: journal.RunStarted) -> None:
        self._started_at = entry.at
        if entry.seed:
            self.seed = entry.seed
            self._seed = hashlib.sha256(entry.seed.encode()).digest()
        context = Context()
        context.run(current_runtime.set, self)
        # What a module has set up for all its code when it was imported counts in workflow code too.
        context.run(decimal.setcontext, decimal.getcontext().copy())
        if self._prepare is not None:
            context.run(self._prepare, self)
        self._main = self._loop.create_task(self._run(), name="main", context=context)

    def _on_step_scheduled(self, entry: journal.StepScheduled) -> None:
        self._ledger.step_scheduled(entry)

    def _on_step_completed(self, entry: journal.StepCompleted) -> None:
        call = self._ledger.steps.pop(entry.number, None)
        if call is None:
            self._ledger.settle_kept(entry.number, entry.result)
            return
        definition = call.definition
        self._return_in(call, entry.result, definition.signature.result, f"step {definition.name}")

    def _on_step_failed(self, entry: journal.StepFailed) -> None:
        self._on_step_outcome(entry.number, entry.failure)

    def _on_step_outcome(self, number: int, outcome: Payload | Failure, *, attempts: int = 0) -> None:
        call = self._ledger.steps.pop(number, None)
        if call is None:
            self._ledger.settle_kept(number, outcome)
        else:
            self._settle(call, outcome, attempts=attempts)

    def _settle(self, call: StepCall, outcome: Payload | Failure, *, attempts: int = 0) -> None:
        if isinstance(outcome, Failure):
            origin = StepOrigin(call.definition.name, call.number, attempts)
            self._raise_in(call, as_step_failed(outcome, step=origin))
        else:
            self._return_in(call, outcome, call.definition.signature.result, f"step {call.definition.name}")

    def _return_in(self, call: StepCall | ChildCall, payload: Payload, hint: ValueType, what: str) -> None:
        try:
            value = self._codec.decode(payload, hint, what=f"the result of {what}")
        except HoldfastError as error:
            # It was read when it was recorded, so other code or another language wrote it. What is recorded stays:
            # to fail the run for good would lose it, while code that can read it goes on.
            self._break(error)
        call.set_result(value)

    def _raise_in(self, call: StepCall | ChildCall, error: Exception) -> None:
        call.set_exception(error)
        # A call that is never awaited, as after another failure in gather, is no mistake to report.
        call._log_traceback = False

    def _on_step_cancelled(self, entry: journal.StepCancelled) -> None:
        self._ledger.step_cancelled(entry)

    def _on_timer_set(self, entry: journal.TimerSet) -> None:
        self._ledger.timer_set(entry)

    def _on_timer_cancelled(self, entry: journal.TimerCancelled) -> None:
        self._ledger.timer_cancelled(entry)

    def _on_child_started(self, entry: journal.ChildStarted) -> None:
        self._ledger.child_started(entry)

    def _on_user_span_began(self, entry: journal.UserSpanBegan) -> None:
        self._spans.began(entry)

    def _on_user_span(self, entry: journal.UserSpan) -> None:
        self._spans.recorded(entry.number)

    def _on_signal_set_aside(self, entry: journal.SignalSetAside) -> None:
        self._signals.recorded(entry)

    def _on_child_cancelled(self, entry: journal.ChildCancelled) -> None:
        self._ledger.child_cancelled(entry)

    def _on_run_closed(self, entry: journal.RunClosed) -> None:
        self._ledger.run_closed(entry)
        self.is_closed = True
        self.close()

    def _on_mail(self, entry: journal.MailConsumed) -> None:
        if entry.mail is None:
            raise ValueError(f"the mail of MailConsumed({entry.number}) is missing; feed it as the coordinator sent it")
        match entry.mail.body:
            case journal.Signal() as signal:
                self._signals.arrive(entry.number, signal)
            case journal.TimerFired(number):
                timer = self._ledger.timers.pop(number, None)
                if timer is not None:
                    timer.fire()
            case journal.StepResult(number, attempts, result, failure):
                outcome = result or failure
                assert outcome is not None, f"the result of step {number} has neither a value nor a failure"
                self._on_step_outcome(number, outcome, attempts=len(attempts))
            case journal.ChildClosed() as closed:
                self._on_child_closed(closed)
            case journal.CancelRequested(reason):
                self._on_cancel_requested(reason)
            case journal.RetryDue():
                pass

    def _on_child_closed(self, closed: journal.ChildClosed) -> None:
        call = self._ledger.children.pop(closed.number, None)
        if call is None:
            return
        if closed.status is RunStatus.COMPLETED:
            payload = closed.result or Payload(b"null")
            self._return_in(call, payload, call.definition.signature.result, f"child run {closed.run_id}")
        else:
            self._raise_in(call, as_run_failed(closed.run_id, closed.status, closed.failure))

    def _on_cancel_requested(self, reason: str) -> None:
        if self._cancel_reason is None and self._main is not None:
            self._cancel_reason = reason
            self._main.cancel(reason or None)


def _unawaited_among(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NotAwaited | None:
    """The error that explains why these arguments cannot be encoded, where one is a call."""
    for value in (*args, *kwargs.values()):
        if asyncio.iscoroutine(value):
            return _thrown_away(value)
    return None


def _thrown_away(coroutine: Coroutine[Any, Any, Any]) -> NotAwaited:
    error = not_awaited(coroutine)
    coroutine.close()
    return error


calls.update((WorkflowInstance._called_step.__code__, WorkflowInstance._called_child.__code__))

_MATCHERS: dict[type, Callable[[WorkflowInstance, Any], None]] = {
    journal.StepScheduled: WorkflowInstance._on_step_scheduled,
    journal.StepCancelled: WorkflowInstance._on_step_cancelled,
    journal.TimerSet: WorkflowInstance._on_timer_set,
    journal.TimerCancelled: WorkflowInstance._on_timer_cancelled,
    journal.ChildStarted: WorkflowInstance._on_child_started,
    journal.ChildCancelled: WorkflowInstance._on_child_cancelled,
    journal.UserSpanBegan: WorkflowInstance._on_user_span_began,
    journal.UserSpan: WorkflowInstance._on_user_span,
    journal.SignalSetAside: WorkflowInstance._on_signal_set_aside,
    journal.RunClosed: WorkflowInstance._on_run_closed,
}
"""Entries that record what the code has decided: they are compared with it, and wake nothing."""

_OBSERVERS: dict[type, Callable[[WorkflowInstance, Any], None]] = {
    journal.RunStarted: WorkflowInstance._on_run_started,
    journal.StepCompleted: WorkflowInstance._on_step_completed,
    journal.StepFailed: WorkflowInstance._on_step_failed,
    journal.MailConsumed: WorkflowInstance._on_mail,
}
"""Entries that the code observes: they resolve what it awaits."""


if TYPE_CHECKING:
    _fits: type[WorkflowRuntime] = WorkflowInstance
