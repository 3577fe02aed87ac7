"""The heartbeat thread: it outlives what goes wrong in one beat, and ends with its loop."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast.channel.leases import Held, Pulse
from holdfast.worker.clock import SessionClock
from holdfast.worker.heartbeat import Attached, Heartbeat


class Calls:
    """Answers heartbeats; the first of them not as agreed."""

    def __init__(self) -> None:
        self.beats = 0
        self.closed = threading.Event()

    def heartbeat(self, *_: Any, **__: Any) -> Pulse:
        self.beats += 1
        if self.beats == 1:
            raise ValueError("an answer that makes no sense")
        return Pulse(datetime.now(UTC))

    def close(self) -> None:
        self.closed.set()


class Listener:
    """Keeps what the heartbeats have reported."""

    def __init__(self, answered: asyncio.Event) -> None:
        self._answered = answered

    def pulse(self, pulse: Pulse) -> None:
        self._answered.set()

    def expired(self, attached: Attached) -> None:
        raise AssertionError(attached)

    def silent(self, attached: Attached) -> None:
        raise AssertionError(attached)


async def test_an_unforeseen_error_in_one_heartbeat_does_not_end_the_next_ones() -> None:
    calls = Calls()
    answered = asyncio.Event()
    held: tuple[Held, ...] = ()
    heartbeat = Heartbeat(
        asyncio.get_running_loop(),
        calls,  # type: ignore[arg-type]
        SessionClock(),
        held=lambda: held,
    )
    heartbeat.attached(Attached("session", 1, timedelta(milliseconds=20), timedelta(seconds=10)), Listener(answered))
    try:
        await asyncio.wait_for(answered.wait(), 5)
    finally:
        heartbeat.stop()
    await asyncio.to_thread(calls.closed.wait, 5)
    assert calls.beats >= 2
