"""The worker's sign of life: a thread with a channel of its own, so that a blocked event loop does not end leases.

It also watches the loop and says in the log where user code blocks it. It decides nothing about work: what the
coordinator says goes to the loop.
"""

import logging
import sys
import threading
import time
import traceback
from asyncio import AbstractEventLoop
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from holdfast.channel.leases import Held, Pulse
from holdfast.channel.refusals import SessionExpired
from holdfast.channel.worker_calls import HeartbeatCalls
from holdfast.errors import HoldfastError
from holdfast.worker.clock import SessionClock, boot_seconds

log = logging.getLogger("holdfast.worker")

WATCH_SECONDS = 0.5
BLOCKED_SECONDS = 1.0


@dataclass(slots=True, frozen=True)
class Attached:
    """The attachment that heartbeats are for, how often to send them, and where its replica is, if that is known."""

    session_id: str
    attach_no: int
    interval: timedelta
    ttl: timedelta
    replica: str = ""


class Heartbeat:
    """Beats while it is attached. `on_pulse`, `on_expired` and `on_silence` are called on the loop.

    on_silence: nothing was acknowledged for half the time that the session may be silent.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        calls: HeartbeatCalls,
        clock: SessionClock,
        *,
        held: Callable[[], tuple[Held, ...]],
        on_pulse: Callable[[Pulse], None],
        on_expired: Callable[[Attached], None],
        on_silence: Callable[[Attached], None] = lambda _: None,
    ) -> None:
        self.draining = False
        self._loop = loop
        self._calls = calls
        self._clock = clock
        self._held = held
        self._on_pulse = on_pulse
        self._on_expired = on_expired
        self._on_silence = on_silence
        self._attached: Attached | None = None
        self._msg_no = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._watch = LoopWatch(loop)

    def attached(self, attachment: Attached) -> None:
        """From now on beats for this attachment; starts the thread at the first one."""
        self._attached = attachment
        if self._thread is None:
            self._watch.watched_thread = threading.get_ident()
            self._thread = threading.Thread(target=self._beat_on, name="holdfast-heartbeat", daemon=True)
            self._thread.start()

    def detached(self) -> None:
        """The session is gone: no more heartbeats for it."""
        self._attached = None

    def stop(self) -> None:
        """Ends the thread; does not wait for a heartbeat that is under way."""
        self._attached = None
        self._stop.set()

    # In the thread

    def _beat_on(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(min(WATCH_SECONDS, max(0.0, due - time.monotonic()))):
            began = time.monotonic()
            try:
                self._watch.look()
                attached = self._attached
                if attached is None:
                    due = began + WATCH_SECONDS
                elif began >= due:
                    interval = attached.interval.total_seconds()
                    due = began + interval
                    if not self._beat(attached):
                        # Soon again, and at most once per interval and quarter: nobody is there to be spared.
                        due = min(due, time.monotonic() + interval / 4)
            except Exception:
                if self._loop.is_closed():
                    break
                # A bug, or an answer that makes no sense. Without this thread every session would die of silence,
                # one after the other, in a worker that looks alive.
                log.exception("an error in the heartbeat thread; it goes on")
        self._calls.close()

    def _beat(self, attached: Attached) -> bool:
        self._msg_no += 1
        sent = boot_seconds()
        try:
            pulse = self._calls.heartbeat(
                attached.session_id,
                attached.attach_no,
                self._msg_no,
                self._held(),
                loop_lag=timedelta(seconds=self._watch.lag),
                draining=self.draining,
                timeout=max(attached.ttl.total_seconds() / 2, attached.interval.total_seconds()),
                replica=attached.replica,
            )
        except SessionExpired:
            self._loop.call_soon_threadsafe(self._on_expired, attached)
            return False
        except HoldfastError as error:
            # ReattachRequired too: the poll learns the same from its own replica, and this may have been another one.
            log.debug("heartbeat failed: %s", error)
            if self._clock.silent_for() > attached.ttl.total_seconds() / 2:
                self._loop.call_soon_threadsafe(self._on_silence, attached)
            return False
        self._clock.acknowledged(pulse.database_time, sent=sent, received=boot_seconds(), ttl=attached.ttl)
        self._loop.call_soon_threadsafe(self._on_pulse, pulse)
        return True


class LoopWatch:
    """How late the loop runs, seen from another thread."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.watched_thread = 0
        self._loop = loop
        self._asked_at: float | None = None
        self._last_lag = 0.0
        self._was_reported = False

    @property
    def lag(self) -> float:
        """Seconds; while the loop is blocked, how long it has been so far."""
        asked_at = self._asked_at
        return self._last_lag if asked_at is None else max(self._last_lag, time.monotonic() - asked_at)

    def look(self) -> None:
        """Asks the loop for an answer, or reports that it still owes one."""
        asked_at = self._asked_at
        if asked_at is None:
            self._asked_at = time.monotonic()
            self._was_reported = False
            self._loop.call_soon_threadsafe(self._answer)
        elif time.monotonic() - asked_at > BLOCKED_SECONDS and not self._was_reported:
            self._was_reported = True
            frame = sys._current_frames().get(self.watched_thread)
            where = "".join(traceback.format_stack(frame)[-8:]) if frame is not None else "unknown\n"
            log.warning(
                "the event loop of this worker has been blocked for %.1f s; put blocking work into a plain "
                "function, which runs in a thread. It is here:\n%s",
                time.monotonic() - asked_at,
                where,
            )

    def _answer(self) -> None:
        if self._asked_at is not None:
            self._last_lag = time.monotonic() - self._asked_at
            self._asked_at = None
