"""What the code of one run can ask for, and what becomes of it: a request in the ledger of the run.

Given the same entries, the same requests, numbers and random values come out, in any process and on any machine. It
must never read a clock, draw a random number of its own, do I/O, or resolve what it is asked for.
"""

import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from holdfast.codec import Codec
from holdfast.definitions.definitions import StepDefinition, StepOverrides, WorkflowDefinition
from holdfast.errors import DuplicateStepId, HoldfastError, InvalidRequest, PayloadTooLarge
from holdfast.hints.refusals import HopelessHint, UnknownYet
from holdfast.hints.value_types import ValueType, value_type
from holdfast.journal import Arguments, Failure, Payload, RunStarted
from holdfast.limits import CONTEXT_BYTES_MAX, METADATA_BYTES_MAX, METADATA_ENTRIES_MAX
from holdfast.workflow.calls import ChildOptions, ReceiveCall, Skip, StepCall, TimerCall
from holdfast.workflow.child_handles import ChildHandle
from holdfast.workflow.children import child_arguments, start_child
from holdfast.workflow.code_spans import OpenSpan, RunSpans
from holdfast.workflow.conditions import Conditions
from holdfast.workflow.current_run import RunInfo, WorkflowRuntime
from holdfast.workflow.facts import FactSet
from holdfast.workflow.handlers import SignalHandler
from holdfast.workflow.hooks import HookCall, signal_of
from holdfast.workflow.ledger import Ledger
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.main_function import MainFunction
from holdfast.workflow.notes import NoteMade
from holdfast.workflow.outcomes import Outcomes
from holdfast.workflow.patches import Patches
from holdfast.workflow.publications import Publication
from holdfast.workflow.sameness import Values
from holdfast.workflow.signals import SignalInbox
from holdfast.workflow.step_scopes import StepScope, scope_here
from holdfast.workflow.tasks import LoopTimer
from holdfast.workflow.unawaited_calls import CallPlace, calls, unawaited_among

_BEFORE_THE_START = datetime(1970, 1, 1, tzinfo=UTC)
_AWAITED = ChildOptions()


class RunRuntime:
    """The `WorkflowRuntime` of one run, and the `TimerHost` of its loop.

    loop: what the code runs on. observed_at: when the entry was recorded that the code observes now, or did last.
    main: its workflow function. outcomes: how its calls are resolved. signals: what arrived for it. patches: which
    changes of the code it has. declare_signal: called with name and type of the signals that the code takes.
    is_blocking: the code is plain `def`, and does not await.
    """

    __slots__ = (
        "_codec",
        "_conditions",
        "_context",
        "_hooks",
        "_info",
        "_ledger",
        "_random",
        "_seed",
        "_spans",
        "_started_at",
        "_step_ids",
        "declare_signal",
        "is_blocking",
        "loop",
        "main",
        "observed_at",
        "outcomes",
        "patches",
        "signals",
    )

    def __init__(
        self,
        info: RunInfo,
        *,
        codec: Codec,
        ledger: Ledger,
        spans: RunSpans,
        is_guarded: bool,
        is_blocking: bool = False,
    ) -> None:
        self.main: MainFunction
        self._info = info
        self.is_blocking = is_blocking
        self._codec = codec
        self._ledger = ledger
        self._spans = spans
        self._seed = hashlib.sha256(info.run_id.encode()).digest()
        self._random: Random | None = None
        self._context: Payload | None = None
        self._step_ids: set[str] = set()
        self._hooks = 0
        self._started_at = self.observed_at = info.created_at or _BEFORE_THE_START
        self.loop = WorkflowLoop(self, salt=int.from_bytes(self._seed[:5], "big"))
        self.loop.is_driven = True
        self.loop.is_guarded = is_guarded
        self.loop.is_blocking = is_blocking
        self.outcomes = Outcomes(codec, self.loop)
        self.signals = SignalInbox(ledger, self.loop)
        self.declare_signal: Callable[[str, ValueType], object] = _undeclared
        self.patches = Patches(ledger)
        self._conditions = Conditions(self.loop)
        self.loop.look_again = self._conditions.look_again

    def begin(self, entry: RunStarted) -> None:
        """The run starts, as the journal says."""
        self._started_at = entry.at
        if entry.seed:
            self._seed = hashlib.sha256(entry.seed.encode()).digest()

    @property
    def is_over(self) -> bool:
        """True when the code has ended or was dropped: whatever it asks for now has no effect."""
        return self._ledger.is_ended

    # WorkflowRuntime

    def is_dropped(self) -> bool:
        return self.loop.is_dead

    def result_here(self, made: Coroutine[Any, Any, Any]) -> Any:
        """The result of a call, for code that waits for it; the call, for `async` code of the same run."""
        from holdfast.workflow.blocking_code import blocking_code_here

        loop = self.loop
        code = blocking_code_here()
        if code is None and loop.is_entered:
            return made
        if loop.is_dead or not loop.is_entered:
            made.close()
            loop.refuse_from_outside()
            loop.refuse()
        assert code is not None
        return code.wait_for(made)

    @property
    def info(self) -> RunInfo:
        """What the code can read of its run."""
        return self._info

    @property
    def is_replaying(self) -> bool:
        return self.loop.is_quiet

    @property
    def random(self) -> Random:
        """Random numbers that are the same in every replay of this run."""
        if self.loop.is_looking:
            self.loop.refuse_in_predicate("a random number")
        if self._random is None:
            self._random = Random(self._seed)
        return self._random

    def now(self) -> datetime:
        """When the entry was recorded that the code last observed."""
        return self.observed_at

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
            self.loop.refuse()
        if self.loop.is_looking:
            self.loop.refuse_in_predicate(f"step {step.name}")
        try:
            arguments = self._codec.encode_arguments(step.signature, args, kwargs, what=f"step {step.name}")
        except HoldfastError as error:
            raise unawaited_among(args, kwargs) or error from None
        except BaseException as error:  # noqa: BLE001
            self.loop.break_off(error)
        if self._context is not None:
            arguments = Arguments(arguments.positional, arguments.named, self._context)
        return self._called_step(
            step, arguments, overrides, place, (args, kwargs) if self.loop.is_quiet and (args or kwargs) else None
        )

    async def _called_step(
        self,
        definition: StepDefinition,
        arguments: Arguments,
        overrides: StepOverrides,
        place: CallPlace | None,
        values: Values | None,
    ) -> Any:
        loop = self.loop
        if self._ledger.is_ended:
            loop.refuse()
            return await loop.create_future()
        loop.refuse_from_outside()
        call = StepCall(loop, self._ledger, definition, overrides, arguments, values)
        call.part = self._spans.here()
        if overrides.step_id:
            self._ask_identified(call)
        else:
            self._ledger.ask(call)
        scope = scope_here()
        return await (call if scope is None else scope.result_of(call))

    def _ask_identified(self, call: StepCall) -> None:
        step_id = call.overrides.step_id
        if step_id in self._step_ids:
            raise DuplicateStepId(step_id)
        try:
            kept = self._ledger.ask_identified(call)
        except HoldfastError as error:
            self.loop.break_off(error)
        self._step_ids.add(step_id)
        if kept is not None and kept.outcome is not None:
            self.outcomes.settle(call, kept.outcome)

    def set_context(self, value: object) -> None:
        """From now on steps that are called get this. Raises PayloadNotSerializable, PayloadTooLarge."""
        if self._ledger.is_ended:
            self.loop.refuse()
            return
        self.loop.refuse_from_outside()
        if self.loop.is_looking:
            self.loop.refuse_in_predicate("set_context")
        if value is None:
            self._context = None
            return
        what = "the context of steps"
        payload = self.loop.guarded(self._codec.encode, value, value_type(type(value)), what=what)
        if len(payload.data) > CONTEXT_BYTES_MAX:
            raise PayloadTooLarge(what, size_bytes=len(payload.data), limit_bytes=CONTEXT_BYTES_MAX)
        self._context = payload

    def set_metadata(self, facts: Mapping[str, str]) -> None:
        """Set facts about the run; one that it has already is not asked for. Raises InvalidRequest for too many."""
        if self._ledger.is_ended:
            self.loop.refuse()
            return
        self.loop.refuse_from_outside()
        if self.loop.is_looking:
            self.loop.refuse_in_predicate("set_metadata")
        before, after = self._info.metadata, {**self._info.metadata, **facts}
        size = sum(len(key.encode()) + len(value.encode()) for key, value in after.items())
        if len(after) > METADATA_ENTRIES_MAX or size > METADATA_BYTES_MAX:
            most = f"at most {METADATA_ENTRIES_MAX}, {METADATA_BYTES_MAX} bytes"
            text = f"would be {len(after)} entries, {size} bytes; {most}"
            raise InvalidRequest("metadata", text)
        for key, value in facts.items():
            if before.get(key) != value:
                self._ledger.ask(FactSet(key, value))
        self._info = replace(self._info, metadata=after)

    def skip_step(self, step: StepDefinition, step_id: str, failure: Failure) -> None:
        """Record that the code leaves a step out that it would have called. failure: why."""
        if self._ledger.is_ended:
            self.loop.refuse()
            return
        self._ledger.skip(Skip(step.name, step_id, failure))

    def call_child(
        self,
        workflow: WorkflowDefinition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        place: CallPlace | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """The call of a child run; raises and is asked for as `call_step` does and is."""
        if self._ledger.is_ended:
            self.loop.refuse()
        if self.loop.is_looking:
            self.loop.refuse_in_predicate(f"a child run of {workflow.name}")
        arguments, options = self._child_arguments(workflow, args, kwargs, _AWAITED)
        return self._called_child(workflow, arguments, options, place)

    async def _called_child(
        self, definition: WorkflowDefinition, arguments: Arguments, options: ChildOptions, place: CallPlace | None
    ) -> Any:
        if self._ledger.is_ended:
            self.loop.refuse()
            return await self.loop.create_future()
        self.loop.refuse_from_outside()
        part = self._spans.here()
        return await start_child(self.loop, self._ledger, self._info.run_id, definition, arguments, options, part)

    def _child_arguments(
        self, workflow: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any], options: ChildOptions
    ) -> tuple[Arguments, ChildOptions]:
        try:
            return self.loop.guarded(child_arguments, self._codec, workflow, args, kwargs, options)
        except HoldfastError as error:
            raise unawaited_among(args, kwargs) or error from None

    def start_child(
        self, workflow: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any], options: ChildOptions
    ) -> ChildHandle[Any]:
        """Ask for a child run now, and give the handle of it. Raises as `call_child` does."""
        if self._ledger.is_ended:
            self.loop.refuse()
        self.loop.refuse_from_outside()
        if self.loop.is_looking:
            self.loop.refuse_in_predicate(f"a child run of {workflow.name}")
        arguments, options = self._child_arguments(workflow, args, kwargs, options)
        part = self._spans.here()
        call = start_child(self.loop, self._ledger, self._info.run_id, workflow, arguments, options, part)
        return ChildHandle(call, self.loop, self._ledger, self._codec)

    def continue_as_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        """End the workflow function so that the run goes on as a new one; see MainFunction."""
        if self._ledger.is_ended:
            self.loop.refuse()
        self.loop.refuse_from_outside()
        if self.loop.is_looking:
            self.loop.refuse_in_predicate("continue_as_new")
        self.main.continue_as_new(args, kwargs)

    def sleep(self, delay: timedelta | None, until: datetime | None, name: str) -> Awaitable[None]:
        """Ask for a timer. Exactly one of delay and until is given; without a name, what is due needs no entry."""
        if self._ledger.is_ended:
            self.loop.refuse()
            return self.loop.create_future()
        call = TimerCall(self.loop, self._ledger, delay, until, name)
        is_due = delay <= timedelta(0) if delay is not None else until is not None and until <= self.observed_at
        if is_due and not name:
            self.loop.call_soon(call.fire)
        else:
            call.part = self._spans.here()
            self._ledger.ask(call)
        return call

    def receive(self, name: str, type_hint: Any, timeout: timedelta | None) -> Awaitable[Any]:
        """The next signal of this name that fits the type, which may have arrived before.

        Raises TimeoutError after `timeout`, and TypeError for a type that no signal can fit.
        """
        if self._ledger.is_ended:
            self.loop.refuse()
            return self.loop.create_future()
        try:
            found = value_type(type_hint)
        except (HopelessHint, UnknownYet) as error:
            raise TypeError(f"receive {name!r}: no signal can be {type_hint}: {error}") from error
        self.declare_signal(name, found)
        call = ReceiveCall(self.loop, self.signals, name, found, since=self.observed_at)
        if not self.signals.receive(call) and timeout is not None:
            call.timer = self.loop.set_timer(timeout, call.time_out, name=f"signal {name}", signal=name)
        return call

    def next_hook(self) -> int:
        """The number of a hook that is about to be made."""
        if self._ledger.is_ended:
            self.loop.refuse()
        self.loop.refuse_from_outside()
        if self.loop.is_looking:
            self.loop.refuse_in_predicate("a hook")
        self._hooks += 1
        return self._hooks

    def open_hook(
        self, name: str, type_hint: Any, timeout: timedelta | None, *, number: int, token: str
    ) -> Awaitable[Any]:
        """From now on whoever has the token can deliver to the hook, once. What comes of it, also later than it comes.

        Raises TypeError for a type that nothing can fit.
        """
        if self._ledger.is_ended:
            self.loop.refuse()
            return self.loop.create_future()
        try:
            found = value_type(type_hint)
        except (HopelessHint, UnknownYet) as error:
            raise TypeError(f"hook {name!r}: nothing that is delivered can be {type_hint}: {error}") from error
        self.declare_signal(signal_of(name), found)
        digest = hashlib.sha256(token.encode()).hexdigest()
        call = HookCall(self.loop, self.signals, name, found, number=number, sha256=digest, since=self.observed_at)
        if not self.signals.receive(call):
            call.open(timeout)
        return call

    def on_signal(self, name: str, function: Callable[..., object]) -> None:
        """From now on the function gets the signals of this name, those that arrived before first.

        Raises TypeError for what cannot take a signal, RuntimeError where another handler or a receiver does.
        """
        if self._ledger.is_ended:
            self.loop.refuse()
            return
        self.loop.refuse_from_outside()
        if self.loop.is_looking:
            self.loop.refuse_in_predicate(f"a handler of signal {name}")
        handler = SignalHandler(name, function)
        self.signals.handle_by(handler)
        self.declare_signal(name, handler.type)
        # Soon, and not now: by then the code has registered its other handlers, and the order holds among them too.
        self.loop.call_soon(self.signals.deliver_early)

    def patched(self, change_id: str) -> bool:
        """Whether the run has this change of the code: False where it has passed here before there was the change."""
        if self._ledger.is_ended:
            self.loop.refuse()
            return True
        self.loop.refuse_from_outside()
        if self.loop.is_looking:
            self.loop.refuse_in_predicate(f"patched({change_id!r})")
        return self.patches.has(change_id)

    def note(self, text: str, level: str, facts: dict[str, Any]) -> None:
        """Write a note into history and trace. Raises PayloadNotSerializable or PayloadTooLarge."""
        if self._ledger.is_ended:
            self.loop.refuse()
            return
        self.loop.refuse_from_outside()
        if self.loop.is_looking:
            self.loop.refuse_in_predicate(f"note {text[:50]!r}")
        payload = self._codec.encode(facts, what="the facts of a note") if facts else None
        # Also in a replay: the part has its beginning in the journal because of the note.
        part = self._spans.here()
        if self.patches.does_new_things:
            self._ledger.ask(NoteMade(text, level, payload, part))

    def publish(self, key: str, value: Any) -> None:
        """Let anybody read this value of the run. Raises PayloadNotSerializable or PayloadTooLarge."""
        if self._ledger.is_ended:
            self.loop.refuse()
            return
        self.loop.refuse_from_outside()
        if self.loop.is_looking:
            self.loop.refuse_in_predicate(f"publish({key!r})")
        payload = self.loop.guarded(self._codec.encode, value, what=f"what is published as {key!r}")
        self._ledger.ask(Publication(key, payload))

    async def wait_until(self, predicate: Callable[[], object], timeout: timedelta | None) -> None:
        """Wait until the predicate holds; it is looked at again whenever the code has gone on.

        Raises TimeoutError after `timeout`, and what the predicate raises.
        """
        if self._ledger.is_ended:
            self.loop.refuse()
            await self.loop.create_future()
        self.loop.refuse_from_outside()
        await self._conditions.wait(predicate, timeout)

    def conditions(self) -> list[str]:
        """Which conditions the code waits for, in words."""
        return self._conditions.words()

    def enter_span(self, name: str) -> OpenSpan | None:
        """The code enters a part of itself that is to be seen in traces; None when it is being unwound."""
        if self.loop.is_looking:
            self.loop.refuse_in_predicate(f"span {name}")
        return self._spans.enter(name, self.observed_at)

    def enter_steps(self) -> StepScope:
        """The code enters a part of itself whose steps it will wait for when that fails."""
        if self._ledger.is_ended:
            self.loop.refuse()
        self.loop.refuse_from_outside()
        return StepScope(self.loop)

    # TimerHost

    def elapsed_seconds(self) -> float:
        return (self.observed_at - self._started_at).total_seconds()

    def set_timer(self, timer: LoopTimer) -> None:
        if not timer.signal:
            timer.part = self._spans.here()
        self._ledger.ask(timer)

    def withdraw_timer(self, timer: LoopTimer) -> None:
        self._ledger.withdraw(timer)


def _undeclared(name: str, type: ValueType) -> None:
    """Nobody asks."""


calls.update((RunRuntime._called_step.__code__, RunRuntime._called_child.__code__))

if TYPE_CHECKING:
    _fits: type[WorkflowRuntime] = RunRuntime
