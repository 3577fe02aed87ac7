"""What running attempts have saved and the coordinator has not kept yet: of each step the last, and who waits for it.

In memory, on the event loop only; the session sends it.
"""

import asyncio

from holdfast.channel.leases import ProgressReport, ProgressResult
from holdfast.errors import HoldfastError

SAVES_MAX = 500
SAVES_BYTES = 4 * 1024 * 1024
"""How much goes with one call."""

Key = tuple[str, int]
"""A run and the number of one of its steps."""


class _Save:
    """What a step saves, and the futures that say when it is kept. tries: how often its rows were locked."""

    __slots__ = ("report", "tries", "waiters")

    def __init__(self, report: ProgressReport) -> None:
        self.report = report
        self.waiters: list[asyncio.Future[None]] = []
        self.tries = 0

    def fail(self, error: HoldfastError) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)
                waiter.exception()  # it counts as retrieved: who beats without waiting never looks at it


class ProgressSaves:
    """See the module."""

    def __init__(self) -> None:
        self._waiting: dict[Key, _Save] = {}
        self._sent: dict[Key, _Save] = {}

    def add(self, report: ProgressReport) -> "asyncio.Future[None]":
        """Puts it into the line, in place of what the step has saved before; the future says when it is kept.

        It fails with HoldfastError when it is not kept, as the attempt no longer counts.
        """
        key = (report.run_id, report.step)
        save = _Save(report)
        earlier = self._waiting.get(key)
        if earlier is not None:
            save.waiters = earlier.waiters  # what is kept now is newer than what they wait for
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        save.waiters.append(waiter)
        self._waiting[key] = save
        return waiter

    def take(self) -> list[ProgressReport]:
        """What is to be sent now, as much as fits one call; nothing of a step of which something is under way."""
        taken: list[ProgressReport] = []
        size = 0
        for key in [key for key in self._waiting if key not in self._sent][:SAVES_MAX]:
            if size >= SAVES_BYTES:
                break
            save = self._sent[key] = self._waiting.pop(key)
            taken.append(save.report)
            size += len(save.report.details.data)
        return taken

    def answered(self, results: tuple[ProgressResult, ...]) -> tuple[list[ProgressReport], int]:
        """Takes an answer: what is kept now, and how often what is to be tried again was tried at least, 0 for none."""
        kept: list[ProgressReport] = []
        tries = 0
        for result in results:
            key = (result.run_id, result.step)
            save = self._sent.pop(key, None)
            if save is None:
                continue
            report = save.report
            if result.saved:
                kept.append(report)
                for waiter in save.waiters:
                    if not waiter.done():
                        waiter.set_result(None)
            elif result.busy:
                save.tries += 1
                tries = min(tries or save.tries, save.tries)
                newer = self._waiting.get(key)
                if newer is None:
                    self._waiting[key] = save
                else:
                    newer.waiters[:0] = save.waiters
                    newer.tries = save.tries
            else:
                save.fail(_not_kept(report, result.refusal))
        return kept, tries

    def failed(self, error: HoldfastError) -> None:
        """What was sent last was refused as a whole."""
        for save in self._sent.values():
            save.fail(error)
        self._sent.clear()

    def forget(self, key: Key) -> None:
        """The attempt has ended: what it has not saved yet is of no use any more."""
        save = self._waiting.pop(key, None)
        if save is not None:
            save.fail(_not_kept(save.report, ""))

    def forget_all(self) -> None:
        """The session is dead, and all its attempts with it."""
        for save in (*self._waiting.values(), *self._sent.values()):
            save.fail(_not_kept(save.report, ""))
        self._waiting.clear()
        self._sent.clear()


def _not_kept(report: ProgressReport, refusal: str) -> HoldfastError:
    which = f"the progress of attempt {report.attempt} of step {report.step} of run {report.run_id}"
    why = refusal or "this attempt no longer counts: the run or the step is with another worker, or has ended"
    return HoldfastError(f"{which} was not saved: {why}")
