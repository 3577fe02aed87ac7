"""The handle of a child run in workflow code: wait for it, look at it, steer it.

What it says is what the journal of the parent says, so it is the same in every replay. It never reaches a coordinator.
"""

import asyncio
from collections.abc import Generator
from typing import Any, Generic, Self, TypeVar, cast

from holdfast.codec import Codec
from holdfast.definitions.options import checked_name
from holdfast.durations import Duration, parse_duration
from holdfast.errors import InvalidRequest, RunAlreadyClosed
from holdfast.limits import REASON_MAX
from holdfast.statuses import RunStatus
from holdfast.workflow.calls import ChildCall, Message
from holdfast.workflow.ledger import Ledger
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.styles import in_both_styles

Result = TypeVar("Result", covariant=True)


class ChildHandle(Generic[Result]):
    """A child run that `holdfast.start_child` has started. Use it in the code of the run that started it.

    `await handle` gives the handle itself, so that `await holdfast.start_child(...)` reads as a start by a client.
    """

    __slots__ = ("_call", "_codec", "_ledger", "_loop")

    def __init__(self, call: ChildCall, loop: WorkflowLoop, ledger: Ledger, codec: Codec) -> None:
        self._call = call
        self._loop = loop
        self._ledger = ledger
        self._codec = codec

    @property
    def run_id(self) -> str:
        """The generated id."""
        return self._call.run_id

    @property
    def id(self) -> str | None:
        """The business id; None when the child has none."""
        return self._call.id or None

    def __repr__(self) -> str:
        return f"<ChildHandle {self.run_id}{f' id={self.id!r}' if self.id else ''}>"

    def __await__(self) -> Generator[Any, None, Self]:
        return self
        yield

    @in_both_styles
    async def result(self, timeout: Duration | None = None) -> Result:
        """What the child returned.

        Raises RunFailed, RunCancelled or RunTimedOut with the run id of the child, and TimeoutError when `timeout`
        passes first; the child then goes on. It goes on too when who waits here is cancelled. timeout: 0 does not wait.
        """
        span = None if timeout is None else parse_duration(timeout)
        call = self._call
        if not call.done() and (span is None or span):
            await asyncio.wait((call,), timeout=None if span is None else span.total_seconds())
        if not call.done():
            assert span is not None, call
            text = f"child run {self.run_id} of {call.definition.name} is still open after {span.total_seconds():g} s"
            raise TimeoutError(f"{text}; it goes on")
        return cast(Result, call.result())

    @in_both_styles
    async def status(self) -> RunStatus:
        """How the child has closed, as far as this run has been told; `running` until then, whatever it waits for."""
        return self._call.status or RunStatus.RUNNING

    @in_both_styles
    async def cancel(self, reason: str | None = None) -> bool:
        """Asks the child to end; its code may clean up first, and `result` waits for that.

        False when this run has been told before that the child is closed. Raises InvalidRequest for a reason of more
        than 1,000 characters.
        """
        text = (reason or "").replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
        if len(text) > REASON_MAX:
            raise InvalidRequest("reason", f"has {len(text):,} characters, the limit is {REASON_MAX:,}")
        if self._call.status is not None:
            return False
        self._send(Message(self._call.number, reason=text))
        return True

    @in_both_styles
    async def signal(self, name: str, payload: Any = None) -> None:
        """Sends the child a signal. What is sent to one child arrives in the order of sending.

        Raises RunAlreadyClosed when this run has been told that the child is closed; what is under way when it closes
        is dropped. Raises PayloadNotSerializable and PayloadTooLarge.
        """
        checked_name("signal", "name", name)
        encoded = None
        if payload is not None:
            encoded = self._loop.guarded(self._codec.encode, payload, what=f"the payload of signal {name}")
        if self._call.status is not None:
            raise RunAlreadyClosed(self.run_id)
        self._send(Message(self._call.number, signal=name, payload=encoded))

    def _send(self, message: Message) -> None:
        if self._ledger.is_ended:
            self._loop.refuse()
            return
        self._loop.refuse_from_outside()
        self._ledger.ask(message)
