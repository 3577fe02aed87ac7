"""The workflow function of one run: it is started and cancelled here, and its end becomes the close of the run.

The handlers of signals that it has registered end with it, as the tasks of a TaskGroup end with the body.

It must never take an error of this runtime for a failure of the workflow.
"""

import asyncio
from contextvars import Context
from dataclasses import replace
from typing import Any, NoReturn

from holdfast.codec import Codec
from holdfast.codec.failures import capture
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.definitions.functions import is_awaitable
from holdfast.errors import CodecMissing
from holdfast.ids import successor_run_id
from holdfast.journal import Arguments
from holdfast.limits import Limits
from holdfast.statuses import RunStatus
from holdfast.workflow import interrupts
from holdfast.workflow.code_spans import RunSpans
from holdfast.workflow.commands import Close
from holdfast.workflow.continuing import ContinueAsNew, continuing
from holdfast.workflow.ledger import Ledger
from holdfast.workflow.loop import RunUnwinding, WorkflowLoop
from holdfast.workflow.signals import SignalInbox
from holdfast.workflow.styles import result_of
from holdfast.workflow.unawaited_calls import close_unawaited

_ENDED_WELL = frozenset({RunStatus.COMPLETED, RunStatus.CONTINUED_AS_NEW})
_OURS = frozenset((__name__, *(f"holdfast.workflow.{name}" for name in ("handlers", "styles", "blocking_code"))))
"""What stands between the task and the function of the user."""


class MainFunction:
    """The main task of a run. The close that it comes to is asked of the ledger."""

    __slots__ = (
        "_arguments",
        "_cancel_reason",
        "_codec",
        "_definition",
        "_ledger",
        "_limits",
        "_loop",
        "_run_id",
        "_signals",
        "_spans",
        "_task",
    )

    def __init__(
        self,
        definition: WorkflowDefinition,
        arguments: Arguments,
        *,
        run_id: str,
        codec: Codec,
        limits: Limits,
        loop: WorkflowLoop,
        ledger: Ledger,
        spans: RunSpans,
        signals: SignalInbox,
    ) -> None:
        self._definition = definition
        self._run_id = run_id
        self._arguments = arguments
        self._codec = codec
        self._limits = limits
        self._loop = loop
        self._ledger = ledger
        self._spans = spans
        self._signals = signals
        self._task: asyncio.Task[None] | None = None
        self._cancel_reason: str | None = None

    def start(self, context: Context) -> None:
        """Let the function begin, in this context, when the loop runs next."""
        self._task = self._loop.create_task(self._run(), name="main", context=context)
        self._signals.running.on_failure = self._task.cancel

    def cancel(self, reason: str) -> None:
        """Cancel the function, once; what it ends as then has this reason."""
        if self._cancel_reason is None and self._task is not None:
            self._cancel_reason = reason
            self._task.cancel(reason or None)

    def continue_as_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        """End the function so that the run goes on as a new one, called with this.

        Raises ArgumentsRejected and the other errors of arguments, and RuntimeError outside of the function itself.
        """
        if asyncio.current_task() is not self._task:
            raise RuntimeError(
                "continue_as_new ends the run: call it in the workflow function itself, and not in a task or a handler "
                "beside it"
            )
        signature, what = self._definition.signature, f"continue_as_new of workflow {self._definition.name}"
        guarded, codec = self._loop.guarded, self._codec
        arguments = guarded(codec.encode_arguments, signature, args, kwargs, what=what, hashed=True)
        # Read as the next run will read them: what does not fit is an error here, where the code can do better.
        guarded(codec.decode_arguments, signature, arguments, what=what)
        raise ContinueAsNew(arguments)

    def end_by(self, error: BaseException) -> None:
        """End the run as failed by `error`, wherever the function is."""
        self._end(self._close_after(error))

    async def _run(self) -> None:
        """Run the workflow function to its end and ask for the close of the run."""
        loop = self._loop
        what = f"workflow {self._definition.name}"
        signature = self._definition.signature
        try:
            try:
                args, kwargs = loop.guarded(self._codec.decode_arguments, signature, self._arguments, what=what)
            except CodecMissing as error:
                # The run is not to blame: it goes on where the codec is.
                loop.break_off(error)
            if self._definition.is_blocking:
                result = await result_of(self._definition.function, args, kwargs)
            else:
                returned = self._definition.function(*args, **kwargs)
                if not is_awaitable(returned):
                    raise TypeError(f"{what} returned {type(returned).__name__}, and nothing to await")
                result = await returned
            if asyncio.iscoroutine(result):
                raise close_unawaited(result)
            payload = loop.guarded(self._codec.encode, result, signature.result, what=f"the result of {what}")
        except BaseException as error:
            if self._comes_from_outside(error):
                raise
            if self._signals.running.failure is not None and not isinstance(
                error, (asyncio.CancelledError, ContinueAsNew)
            ):
                self._signals.running.report(error, f"{what} failed, after one of its handlers had")
            goes_on = continuing(error)
            if goes_on is not None and loop.mistake is None:
                successor = successor_run_id(self._run_id)
                close = Close(RunStatus.CONTINUED_AS_NEW, successor_run_id=successor, arguments=goes_on.arguments)
            else:
                close = self._close_after(
                    loop.mistake if goes_on is not None and loop.mistake else self._cause_of(error)
                )
        else:
            mistake = loop.mistake
            close = Close(RunStatus.COMPLETED, result=payload) if mistake is None else self._close_after(mistake)
        if loop.generators.begun:
            await loop.generators.close_all()
        if self._signals.handlers:
            close = await self._end_handlers(close)
        self._end(close)

    async def _end_handlers(self, close: Close) -> Close:
        """Let the handlers of signals end as the tasks of a TaskGroup do when its body has ended like this.

        Returns what the run closes with: the failure that was first.
        """
        running = self._signals.running
        is_failed = close.status is RunStatus.FAILED and running.failure is None
        self._signals.deliver_early()
        if close.status not in _ENDED_WELL or running.failure is not None:
            running.cancel()
        while running:
            try:
                await running.wait()
            except asyncio.CancelledError as error:
                running.cancel()
                if close.status in _ENDED_WELL:
                    close = self._close_after(error)
        if running.failure is None:
            return close
        if is_failed:
            running.report(running.failure, "a handler of a signal failed, after the workflow function had")
            return close
        return self._close_after(running.failure)

    def _cause_of(self, error: BaseException) -> BaseException:
        """The call that was not awaited, where that explains the error: `price() + 1` is a TypeError."""
        if not isinstance(error, (TypeError, AttributeError)):
            return error
        left = getattr(error, "obj", None)  # of an AttributeError
        mistake = close_unawaited(left) if asyncio.iscoroutine(left) else self._loop.mistake
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
        trace = error.__traceback__
        if trace is not None:
            # The first frames are ours and say nothing to the user.
            while trace.tb_next is not None and trace.tb_frame.f_globals.get("__name__") in _OURS:
                trace = trace.tb_next
            error.__traceback__ = trace
        failure = capture(error, limits=self._limits)
        if isinstance(error, asyncio.CancelledError) and self._cancel_reason is not None:
            return Close(RunStatus.CANCELLED, failure=replace(failure, message=self._cancel_reason))
        return Close(RunStatus.FAILED, failure=failure)

    def _end(self, close: Close) -> None:
        if self._loop.fault is not None or self._ledger.is_ended:
            return
        self._spans.leave_all()
        if close.status is RunStatus.CONTINUED_AS_NEW:
            close = replace(close, signals=self._signals.left())
        self._ledger.close(close)
        self._loop.stop()
