"""One run's code in memory: entries go in one at a time, commands come out.

Feeding an entry resolves what it resolves and runs the code until it waits again; that is the whole rule of a
replay. Given the same entries the same commands come out, in any process and on any machine.

It must never read a clock, draw a random number of its own, do I/O, or take an error of this runtime for a
failure of the workflow: such errors leave `feed`.
"""

import asyncio
import decimal
from collections.abc import Callable, Iterable
from contextvars import Context
from datetime import datetime
from typing import Any

from holdfast import journal
from holdfast.codec import Codec
from holdfast.codec.failures import as_run_failed
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.hints.value_types import ValueType
from holdfast.journal import Arguments, Entry, Failure, MailBody, Payload
from holdfast.limits import DEFAULT_LIMITS, Limits
from holdfast.statuses import RunStatus
from holdfast.workflow.calls import step_words
from holdfast.workflow.code_spans import RunSpans
from holdfast.workflow.commands import CallStep, Command
from holdfast.workflow.current_run import RunInfo, current_runtime
from holdfast.workflow.ledger import Ledger
from holdfast.workflow.main_function import MainFunction
from holdfast.workflow.runtime import RunRuntime


class WorkflowInstance:
    """The code of one run, as far as its journal has brought it. The worker's cache holds these.

    prepare: called with this among the context variables that the code begins with, to set those that are not the
    runtime's. declare_signal: called with name and type of the signals that it takes. seed: what random numbers and
    idempotency keys are made of, where the run continues another one; else "".
    is_guarded: what a replay cannot repeat raises, see `guards`.
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
        declare_signal: Callable[[str, ValueType], object] | None = None,
        is_guarded: bool = False,
    ) -> None:
        self.info = info
        self.seed = ""
        self._prepare = prepare
        self._ledger = ledger = Ledger(self.waits)
        self._spans = spans = RunSpans(ledger)
        self._runtime = RunRuntime(
            info, codec=codec, ledger=ledger, spans=spans, is_guarded=is_guarded, is_blocking=definition.is_blocking
        )
        if declare_signal is not None:
            self._runtime.declare_signal = declare_signal
        self._signals = signals = self._runtime.signals
        self._loop = loop = self._runtime.loop
        self._outcomes = self._runtime.outcomes
        self._main = MainFunction(
            definition, arguments, run_id=info.run_id, codec=codec, limits=limits, loop=loop, ledger=ledger,
            spans=spans, signals=signals,
        )  # fmt: skip
        self._runtime.main = self._main

    # What the worker drives it with

    def feed(self, entry: Entry) -> None:
        """Let the code observe one entry, and run it until it waits again.

        Raises NonDeterminism when the entry records a decision that the code did not make. Any error out of
        here says that the run cannot go on with this code in this worker, never that the workflow failed.
        """
        loop = self._loop
        if loop.fault is not None:
            raise loop.fault
        self._ledger.position += 1
        self._runtime.observed_at = entry.at
        kind = entry.__class__
        match = _LEDGER_MATCHERS.get(kind)
        if match is not None:
            match(self._ledger, entry)
            return
        observe = _OBSERVERS.get(kind)
        if observe is not None:
            loop.enter_and(self._observe, observe, entry)
            if loop.fault is not None:
                raise loop.fault
            if self._ledger.is_closed:
                loop.shut_down()
            return
        match_here = _MATCHERS.get(kind)
        if match_here is not None:
            match_here(self, entry)

    def _observe(self, observe: "Callable[[WorkflowInstance, Any], None]", entry: Entry) -> None:
        observe(self, entry)
        loop = self._loop
        # Also when nothing is ready: conditions may look at the time, and at what an entry tells them only.
        if loop.ready or loop.look_again():
            self._spans.turn()
            loop.run_ready()
            if loop.mistake is not None:
                self._main.end_by(loop.mistake)

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
        signals = [f"signal {name}" for name in (*self._signals.waiting, *self._signals.handlers)]
        waits = [*steps, *timers, *children, *signals]
        # A condition wakes nobody: one that nothing else can make true is waited for in vain.
        return [*waits, *self._runtime.conditions()] if waits else []

    def pending_tasks(self) -> "list[asyncio.Task[Any]]":
        """The tasks of the code that have not ended, in the order of their creation; first the function itself."""
        return self._loop.pending_tasks()

    def awaited_since(self, body: MailBody) -> datetime | None:
        """Since when the code waits without a limit for this signal; None for other mail, and when it does not."""
        return self._signals.awaited_since(body) if isinstance(body, journal.Signal) else None

    def foresee(self, entries: Iterable[Entry]) -> None:
        """Entries that will be fed: what is decided there is decided, whatever the code would do now."""
        patches = self._runtime.patches
        for entry in entries:
            patches.read += 1
            if entry.__class__ in _DECIDING:
                patches.decided_at = patches.read
            if isinstance(entry, journal.SignalSetAside):
                self._signals.foresee(entry.number)
            elif isinstance(entry, journal.Patched):
                patches.foresee(entry.change_id)
            elif isinstance(entry, journal.ChildStarted):
                self._ledger.foresee_child(entry)

    def expect(self, journal_length: int) -> None:
        """A journal of this many entries will be fed, and told to `foresee` before."""
        self._runtime.patches.journal_length = journal_length

    def interrupt(self, error: BaseException) -> None:
        """The run cannot go on with `error`, which leaves `feed` whatever the code does now. From any thread."""
        self._loop.interrupt(error)

    def fail(self, error: Exception) -> None:
        """End the run as failed by `error`, wherever its code is; that is unwound and can record nothing."""
        self._main.end_by(error)
        self._loop.shut_down()

    def close(self) -> None:
        """Drop the code from memory: its `finally` blocks run now, and can record nothing."""
        self._ledger.end()
        # Whoever gets the run next lets its code do this again, and says it then.
        self._loop.is_quiet = True
        self._loop.shut_down()

    @property
    def is_closed(self) -> bool:
        """True when the code has ended, or the journal says that the run has."""
        return self._ledger.is_closed

    @property
    def is_replaying(self) -> bool:
        """Set by the worker while it feeds a journal again; what workflow code logs then was logged before."""
        return self._loop.is_quiet

    @is_replaying.setter
    def is_replaying(self, value: bool) -> None:
        self._loop.is_quiet = value

    # Entries that the code observes: they resolve what it awaits

    def _on_run_started(self, entry: journal.RunStarted) -> None:
        self.seed = entry.seed
        self._runtime.begin(entry)
        context = Context()
        context.run(current_runtime.set, self._runtime)
        # What a module has set up for all its code when it was imported counts in workflow code too.
        context.run(decimal.setcontext, decimal.getcontext().copy())
        if self._prepare is not None:
            context.run(self._prepare, self)
        self._main.start(context)

    def _on_step_completed(self, entry: journal.StepCompleted) -> None:
        call = self._ledger.steps.pop(entry.number, None)
        if call is None:
            self._ledger.settle_kept(entry.number, entry.result)
            return
        definition = call.definition
        self._outcomes.return_in(call, entry.result, definition.signature.result, f"step {definition.name}")

    def _on_step_failed(self, entry: journal.StepFailed) -> None:
        self._on_step_outcome(entry.number, entry.failure)

    def _on_step_outcome(self, number: int, outcome: Payload | Failure, *, attempts: int = 0) -> None:
        call = self._ledger.steps.pop(number, None)
        if call is None:
            self._ledger.settle_kept(number, outcome)
        else:
            self._outcomes.settle(call, outcome, attempts=attempts)

    def _on_mail(self, entry: journal.MailConsumed) -> None:
        if entry.mail is None:
            raise ValueError(f"the mail of MailConsumed({entry.number}) is missing; feed it as the coordinator sent it")
        match entry.mail.body:
            case journal.Signal() as signal:
                self._signals.arrive(entry.mail, signal)
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
                self._main.cancel(reason)
            case journal.RetryDue():
                pass

    def _on_child_closed(self, closed: journal.ChildClosed) -> None:
        call = self._ledger.children.pop(closed.number, None)
        if call is None:
            return
        call.status = closed.status
        if closed.status is RunStatus.COMPLETED:
            payload = closed.result or Payload(b"null")
            self._outcomes.return_in(call, payload, call.definition.signature.result, f"child run {closed.run_id}")
        else:
            self._outcomes.raise_in(call, as_run_failed(closed.run_id, closed.status, closed.failure))

    # Entries that are compared with what the code has decided, and wake nothing

    def _on_user_span_began(self, entry: journal.UserSpanBegan) -> None:
        self._spans.began(entry)

    def _on_user_span(self, entry: journal.UserSpan) -> None:
        self._spans.recorded(entry.number)

    def _on_signal_set_aside(self, entry: journal.SignalSetAside) -> None:
        self._signals.recorded(entry)

    def _on_patched(self, entry: journal.Patched) -> None:
        self._runtime.patches.recorded(entry.change_id)

    def _on_run_closed(self, entry: journal.RunClosed) -> None:
        self._ledger.run_closed(entry)
        self.close()


_LEDGER_MATCHERS: dict[type, Callable[[Ledger, Any], None]] = {
    journal.StepScheduled: Ledger.step_scheduled,
    journal.StepCancelled: Ledger.step_cancelled,
    journal.StepSkipped: Ledger.step_skipped,
    journal.TimerSet: Ledger.timer_set,
    journal.TimerCancelled: Ledger.timer_cancelled,
    journal.ChildStarted: Ledger.child_started,
    journal.ChildCancelled: Ledger.child_cancelled,
    journal.Published: Ledger.published,
    journal.MailSent: Ledger.mail_sent,
    journal.MetadataSet: Ledger.metadata_set,
}
"""Entries that record what the code has asked for: they are compared with it, and wake nothing."""

_OBSERVERS: dict[type, Callable[[WorkflowInstance, Any], None]] = {
    journal.RunStarted: WorkflowInstance._on_run_started,
    journal.StepCompleted: WorkflowInstance._on_step_completed,
    journal.StepFailed: WorkflowInstance._on_step_failed,
    journal.MailConsumed: WorkflowInstance._on_mail,
}
"""Entries that the code observes: they resolve what it awaits."""

_MATCHERS: dict[type, Callable[[WorkflowInstance, Any], None]] = {
    journal.UserSpanBegan: WorkflowInstance._on_user_span_began,
    journal.UserSpan: WorkflowInstance._on_user_span,
    journal.SignalSetAside: WorkflowInstance._on_signal_set_aside,
    journal.Patched: WorkflowInstance._on_patched,
    journal.RunClosed: WorkflowInstance._on_run_closed,
}
"""Entries that record what else the code has decided, or that it ended: they wake nothing either."""

_DECIDING = frozenset({*_LEDGER_MATCHERS, *_OBSERVERS, *_MATCHERS, journal.Noted})
"""Where one of these follows, what the code did before it is on record."""
