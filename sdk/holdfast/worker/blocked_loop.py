"""What is done about a loop that does not come back: first its code is interrupted, then its work is given up.

Driven by the heartbeat thread. What is given up goes to other workers, as the coordinator learns by the next
heartbeat; the run or step whose code holds the loop counts as lost by it.
"""

import logging
from collections.abc import Callable

from holdfast.channel.leases import Held
from holdfast.worker.code_guard import CodeGuard
from holdfast.worker.loop_watch import LoopWatch

log = logging.getLogger("holdfast.worker")

AGAIN_SECONDS = 2.0
"""Seconds after an interruption by which the loop must have come back; then it is interrupted again."""
INTERRUPTIONS_MAX = 3


class BlockedLoop:
    """limit_seconds: how long the loop may be blocked.

    give_up: takes from the crew what others can go on with; returns it, and of it what holds the loop.
    """

    def __init__(
        self,
        watch: LoopWatch,
        guard: CodeGuard,
        *,
        limit_seconds: float,
        give_up: Callable[[], tuple[list[Held], list[Held]]],
    ) -> None:
        self._given_up: list[Held] = []
        self._lost: list[Held] = []
        self._gone: set[tuple[str, int, int]] = set()
        self._watch = watch
        self._guard = guard
        self._limit_seconds = limit_seconds
        self._give_up = give_up
        self._interruptions = 0
        self._gave_up = False

    def look(self) -> None:
        """Does what is due by now."""
        over = self._watch.blocked_seconds - self._limit_seconds
        if over <= 0:
            self._interruptions = 0
            self._gave_up = False
            self._gone.clear()
            return
        if over > self._interruptions * AGAIN_SECONDS and self._interruptions < INTERRUPTIONS_MAX:
            self._interruptions += 1
            if self._guard.interrupt(self._watch.watched_thread, seconds=self._watch.blocked_seconds):
                log.error("the code that blocks the event loop of this worker is interrupted")
            else:
                self._interruptions = INTERRUPTIONS_MAX
        elif self._interruptions == INTERRUPTIONS_MAX and not self._gave_up:
            given_up, lost = self._give_up()
            self._gave_up = True
            self._given_up += given_up
            self._lost += lost
            self._gone.update((held.run_id, held.step, held.epoch) for held in given_up)
            log.error(
                "the event loop of this worker has not come back for %.0f s: %d run(s) and queued step(s) are given "
                "to others. It is held by %s. It is here:\n%s",
                self._watch.blocked_seconds,
                len(given_up),
                self._guard.whose,
                self._watch.place(),
            )

    def news(self) -> tuple[set[tuple[str, int, int]], list[Held], list[Held]]:
        """What the worker no longer holds by this; what is still to be sent, and what of that is lost."""
        return self._gone, list(self._given_up), list(self._lost)

    def acknowledged(self, given_up: list[Held]) -> None:
        """The coordinator has acknowledged these."""
        self._given_up = [held for held in self._given_up if held not in given_up]
        self._lost = [held for held in self._lost if held not in given_up]
