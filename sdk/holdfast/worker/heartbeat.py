"""The worker's sign of life: a thread with a channel of its own, so that a blocked event loop does not end leases.

The same thread watches the loop, and keeps the process up to date that beats while this one's interpreter is held. It
decides nothing about work: what the coordinator says goes to the loop.
"""

import logging
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from holdfast.channel.leases import Held, Pulse
from holdfast.channel.worker_calls import HeartbeatCalls
from holdfast.errors import HoldfastError
from holdfast.session_refusals import SessionExpired
from holdfast.worker.blocked_loop import BlockedLoop
from holdfast.worker.clock import SessionClock, boot_seconds
from holdfast.worker.loop_watch import LoopWatch
from holdfast.worker.voucher import MSG_NO_STEP, VoucherProcess

log = logging.getLogger("holdfast.worker")

WATCH_SECONDS = 0.5


@dataclass(slots=True, frozen=True)
class Attached:
    """The attachment that heartbeats are for, how often to send them, and where its replica is, if that is known."""

    session_id: str
    attach_no: int
    interval: timedelta
    ttl: timedelta
    replica: str = ""


class HeartbeatListener(Protocol):
    """What becomes of heartbeats is reported here; the session."""

    def pulse(self, pulse: Pulse) -> None:
        """One was answered."""

    def expired(self, attached: Attached) -> None:
        """One was refused: the session is dead to it."""

    def silent(self, attached: Attached) -> None:
        """None was acknowledged for half the time that the session may be silent."""


class Heartbeat:
    """Beats while it is attached, for a listener that is called on the loop."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        calls: HeartbeatCalls,
        clock: SessionClock,
        *,
        held: Callable[[], tuple[Held, ...]],
        watch: LoopWatch | None = None,
        blocked_loop: BlockedLoop | None = None,
        voucher: VoucherProcess | None = None,
    ) -> None:
        self.draining = False
        self._loop = loop
        self._calls = calls
        self._clock = clock
        self._held = held
        self._attached: Attached | None = None
        self._listener: HeartbeatListener | None = None
        self._msg_no = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._watch = watch or LoopWatch(loop)
        self._blocked_loop = blocked_loop
        self._voucher = voucher

    def attached(self, attachment: Attached, listener: HeartbeatListener) -> None:
        """From now on beats for this attachment; starts the thread at the first one.

        Before it returns the process beside the worker has it: a step that holds the interpreter may come at once.
        """
        self._listener = listener  # first: the thread looks at the attachment
        self._attached = attachment
        if self._voucher is not None:
            about = self._calls.vouching(attachment.session_id, attachment.attach_no, replica=attachment.replica)
            self._voucher.about(about, self._msg_no, interval_seconds=attachment.interval.total_seconds())
        if self._thread is None:
            self._watch.begin()
            self._thread = threading.Thread(target=self._beat_on, name="holdfast-heartbeat", daemon=True)
            self._thread.start()

    def detached(self) -> None:
        """The session is gone: no more heartbeats for it."""
        self._attached = None
        if self._voucher is not None:
            self._voucher.about(None, self._msg_no)

    def stop(self) -> None:
        """Ends the thread; does not wait for a heartbeat that is under way."""
        self._attached = None
        self._stop.set()

    def last_words(self, lost: Iterable[Held], *, seconds: float) -> None:
        """Closes the session from outside the loop: the process is about to be ended."""
        attached = self._attached
        if attached is not None:
            self._calls.close_session(attached.session_id, attached.attach_no, lost=lost, timeout=seconds)

    # In the thread

    def _beat_on(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(min(WATCH_SECONDS, max(0.0, due - time.monotonic()))):
            began = time.monotonic()
            try:
                self._watch.look()
                if self._blocked_loop is not None:
                    self._blocked_loop.look()
                attached = self._attached
                if attached is None:
                    due = began + WATCH_SECONDS
                elif began >= due:
                    interval = attached.interval.total_seconds()
                    due = began + interval
                    if not self._beat(attached):
                        # Soon again, and at most once per interval and quarter: there is no replica to be spared.
                        due = min(due, time.monotonic() + interval / 4)
            except Exception:
                if self._loop.is_closed():
                    break
                # A bug, or an answer that makes no sense. Without this thread every session would die of silence,
                # one after the other, in a worker that looks alive.
                log.exception("an error in the heartbeat thread; it goes on")
        self._calls.close()
        if self._voucher is not None:
            self._voucher.stop()

    def _beat(self, attached: Attached) -> bool:
        listener = self._listener
        assert listener is not None, attached
        self._msg_no += MSG_NO_STEP
        if self._voucher is not None:
            self._voucher.beat(self._msg_no)
        gone, given_up, lost = ((), (), ()) if self._blocked_loop is None else self._blocked_loop.news()
        sent = boot_seconds()
        try:
            pulse = self._calls.heartbeat(
                attached.session_id,
                attached.attach_no,
                self._msg_no,
                tuple([held for held in self._held() if held[:3] not in gone]) if gone else self._held(),
                loop_lag=timedelta(seconds=self._watch.lag),
                draining=self.draining,
                timeout=max(attached.ttl.total_seconds() / 2, attached.interval.total_seconds()),
                replica=attached.replica,
                given_up=given_up,
                lost=lost,
            )
        except SessionExpired:
            self._loop.call_soon_threadsafe(listener.expired, attached)
            return False
        except HoldfastError as error:
            # ReattachRequired too: the poll learns the same from its own replica, and this may have been another one.
            log.debug("heartbeat failed: %s", error)
            if self._clock.silent_for() > attached.ttl.total_seconds() / 2:
                self._loop.call_soon_threadsafe(listener.silent, attached)
            return False
        self._clock.acknowledged(pulse.database_time, sent=sent, received=boot_seconds(), ttl=attached.ttl)
        if self._blocked_loop is not None and given_up:
            self._blocked_loop.acknowledged(given_up)
        self._loop.call_soon_threadsafe(listener.pulse, pulse)
        return True
