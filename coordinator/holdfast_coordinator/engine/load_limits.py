"""When a line is too long for what it is to be worked off in: starts are refused first, reports of workers much later.

What the coordinator asks of itself is never refused. Pure: measures nothing, is given what was committed.
"""

from holdfast_coordinator.domain.batch import BatchCommand
from holdfast_coordinator.domain.commands import (
    CommitTransition,
    DeliverHook,
    ReportAttempt,
    RequestCancel,
    ResumeRun,
    SendSignal,
    StartRun,
    TerminateRun,
)
from holdfast_coordinator.domain.continuations import RetryRun

LINE_SECONDS_OF_STARTS = 2.0
"""Seconds of commits, by the measure of the last one, beyond which a longer line refuses starts."""
LINE_SECONDS_OF_OTHERS = 4.0
LINE_COMMANDS_MIN = 10_000
"""Commands in a line that are not too many for starts, however little was committed of late; twice as many for
others."""
LINE_BYTES_OF_STARTS = 64 * 1024 * 1024
LINE_BYTES_OF_OTHERS = 128 * 1024 * 1024
RETRY_SECONDS = (0.1, 2.0)


class Shedding:
    """See the module. Times are seconds of a monotonic clock."""

    __slots__ = ("_before", "_began_at", "_count")

    def __init__(self) -> None:
        self._began_at = 0.0
        self._count = 0
        self._before = 0

    def committed(self, commands: int, now: float) -> None:
        """`commands` more were committed, at `now` in seconds."""
        self._turn(now)
        self._count += commands

    def per_second(self, now: float) -> int:
        """How many commands the last second committed."""
        self._turn(now)
        return max(self._count, self._before)

    def refuses(self, command: BatchCommand, *, waiting: int, waiting_bytes: int, now: float) -> float:
        """After how many seconds a command that cannot be taken now may come again; 0 when it is taken.

        waiting, waiting_bytes: what is in the line already.
        """
        if waiting < LINE_COMMANDS_MIN and waiting_bytes < LINE_BYTES_OF_STARTS:
            return 0.0  # as nearly always
        match command:
            case RetryRun() | StartRun(outbox=None):
                seconds, bytes_max = LINE_SECONDS_OF_STARTS, LINE_BYTES_OF_STARTS
            case (
                CommitTransition() | ReportAttempt() | SendSignal() | DeliverHook() | ResumeRun()
                | RequestCancel(outbox=None) | TerminateRun(outbox=None)
            ):  # fmt: skip
                seconds, bytes_max = LINE_SECONDS_OF_OTHERS, LINE_BYTES_OF_OTHERS
            case _:
                return 0.0
        at_least = LINE_COMMANDS_MIN * seconds / LINE_SECONDS_OF_STARTS
        if waiting < at_least and waiting_bytes < bytes_max:
            return 0.0  # without a look at the clock's second
        rate = self.per_second(now)
        if waiting < seconds * rate and waiting_bytes < bytes_max:
            return 0.0
        shortest, longest = RETRY_SECONDS
        return min(max(waiting / max(rate, 1), shortest), longest)

    def _turn(self, now: float) -> None:
        if now - self._began_at >= 1.0:
            self._before = self._count if now - self._began_at < 2.0 else 0
            self._count = 0
            self._began_at = now
