"""The slots of a worker: how many attempts run at once, and who waits for one, first come first served."""

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.worker.holder import RunHolder


KEPT_IN_A_ROW = 8


class Slots:
    """`limit` slots. Nothing is granted while something else runs: `grant` is called between turns."""

    __slots__ = ("_kept", "_waiting", "free", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.free = limit
        self._kept = 0
        # By run and step. Not a plain dict, which looks for its first key among all that have left it.
        self._waiting: OrderedDict[tuple[str, int], RunHolder] = OrderedDict()

    @property
    def offered(self) -> int:
        """How many slots are free for work from elsewhere, after those that wait here."""
        return max(0, self.free - len(self._waiting))

    @property
    def waiting(self) -> int:
        """How many steps wait for a slot."""
        return len(self._waiting)

    def take(self, *, keeps: bool = False) -> bool:
        """Takes a slot; False when none is free for a newcomer.

        keeps: the taker has just freed a slot itself. Then it may go before those that wait: its next step starts
        in the same report, where a step that waits needs two. Every KEPT_IN_A_ROW-th slot goes to those that wait.
        """
        if self.free <= 0:
            return False
        if self._waiting:
            self._kept += 1
            if not keeps or self._kept % KEPT_IN_A_ROW == 0:
                return False
        self.free -= 1
        return True

    def take_promised(self) -> None:
        """Takes a slot that a poll has offered, even if it was given away since: the claim is made already."""
        self.free -= 1

    def release(self) -> None:
        self.free += 1

    def wait(self, holder: "RunHolder", number: int) -> None:
        """Lets step `number` of this run wait behind all that wait; it keeps its place when it waits already."""
        self._waiting[(holder.run_id, number)] = holder

    def stop_waiting(self, run_id: str, number: int) -> None:
        """The step needs no slot any more."""
        self._waiting.pop((run_id, number), None)

    def grant(self) -> list["RunHolder"]:
        """Gives free slots to those that wait; returns the holders that have news by it."""
        granted = []
        while self.free > 0 and self._waiting:
            (_, number), holder = self._waiting.popitem(last=False)
            if holder.slot_granted(number):
                self.free -= 1
                granted.append(holder)
        return granted
