"""Concurrent starts of one client become few calls: each takes all that came while others were away.

No timers and no waiting for company: a lone start goes out at once. The transport is handed in.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context, copy_context
from typing import NamedTuple

from holdfast.channel.run_records import StartedRun, StartOutcome, StartSpec
from holdfast.errors import HoldfastError
from holdfast.limits import DEFAULT_LIMITS, STARTS_PER_CALL_MAX

# Two calls in flight: while one is being committed the next is on its way, more only make batches smaller.
IN_FLIGHT_MAX = 2
BATCH_BYTES_MAX = DEFAULT_LIMITS.message_bytes // 2

Send = Callable[[Sequence[StartSpec]], Awaitable[list[StartOutcome]]]


class WaitingStart(NamedTuple):
    """A start, who waits for its run, and the context in which it was asked for."""

    spec: StartSpec
    future: asyncio.Future[StartedRun]
    context: Context


class StartBatcher:
    """Collects starts and sends them with `send`, which answers each in order.

    A start that is cancelled before it was sent is not sent; after that its run may exist.
    """

    def __init__(
        self,
        send: Send,
        *,
        in_flight_max: int = IN_FLIGHT_MAX,
        batch_max: int = STARTS_PER_CALL_MAX,
        batch_bytes_max: int = BATCH_BYTES_MAX,
    ) -> None:
        self._send = send
        self._in_flight_max = in_flight_max
        self._batch_max = batch_max
        self._batch_bytes_max = batch_bytes_max
        self._waiting: deque[WaitingStart] = deque()
        self._calls: dict[asyncio.Task[None], list[WaitingStart]] = {}
        self._flush_is_due = False

    def start(self, spec: StartSpec) -> asyncio.Future[StartedRun]:
        """Ends with the run, or with the typed error of the refusal."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[StartedRun] = loop.create_future()
        self._waiting.append(WaitingStart(spec, future, copy_context()))
        if not self._flush_is_due and len(self._calls) < self._in_flight_max:
            # At the end of this turn of the loop, so that starts made side by side leave together.
            self._flush_is_due = True
            loop.call_soon(self._flush)
        return future

    def close(self) -> None:
        """Ends what is in flight; starts that wait fail."""
        for call, batch in self._calls.items():
            call.cancel()
            # Here and not in the call: one that is cancelled before its first step never runs a line of ours.
            _fail(batch, HoldfastError("the client was closed during this start; the run may exist"))
        _fail(self._waiting, HoldfastError("the client was closed before this start was sent"))
        self._waiting.clear()

    def _flush(self) -> None:
        self._flush_is_due = False
        while self._waiting and len(self._calls) < self._in_flight_max:
            batch = self._take()
            if batch:
                # In the context of its oldest start, not of the call that ended just now: spans of the transport
                # belong below a caller that still waits for them.
                call = asyncio.get_running_loop().create_task(self._deliver(batch), context=batch[0].context)
                self._calls[call] = batch

    def _take(self) -> list[WaitingStart]:
        batch: list[WaitingStart] = []
        batch_bytes = 0
        while self._waiting and len(batch) < self._batch_max:
            start = self._waiting[0]
            if not start.future.done():
                batch_bytes += start.spec.size_bytes
                if batch and batch_bytes > self._batch_bytes_max:
                    break
                batch.append(start)
            self._waiting.popleft()
        return batch

    async def _deliver(self, batch: list[WaitingStart]) -> None:
        try:
            outcomes = await self._send([start.spec for start in batch])
            for start, outcome in zip(batch, outcomes, strict=True):
                if start.future.done():
                    continue
                if isinstance(outcome, StartedRun):
                    start.future.set_result(outcome)
                else:
                    start.future.set_exception(outcome)
        except Exception as error:  # noqa: BLE001  whatever went wrong belongs to those who wait
            _fail(batch, error)
        finally:
            call = asyncio.current_task()
            assert call is not None
            self._calls.pop(call, None)
            self._flush()


def _fail(starts: Iterable[WaitingStart], error: Exception) -> None:
    for start in starts:
        if not start.future.done():
            start.future.set_exception(error)
