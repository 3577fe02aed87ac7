"""The slots of one run: which of its steps wait for one, and which hold one. Pure.

A slot is held for an attempt whose start is not committed yet, and for a launched one.
"""

from enum import IntEnum
from typing import TYPE_CHECKING

from holdfast.worker.ports import Crew

if TYPE_CHECKING:
    from holdfast.worker.holder import RunHolder


class _Hold(IntEnum):
    WAITS = 0
    RESERVED = 1
    LAUNCHED = 2


class SlotHolds:
    """At most one slot per step, by its number."""

    __slots__ = ("_crew", "_holds", "_run_id")

    def __init__(self, crew: Crew, run_id: str) -> None:
        self._crew = crew
        self._run_id = run_id
        self._holds: dict[int, _Hold] = {}

    def wait(self, holder: "RunHolder", number: int) -> None:
        """The step waits for a slot; `holder.slot_granted` is called when it is its turn."""
        self._holds[number] = _Hold.WAITS
        self._crew.wait_for_slot(holder, number)

    def reserve(self, number: int) -> None:
        """A slot was taken for an attempt whose start is on its way into the journal."""
        self._holds[number] = _Hold.RESERVED

    def launch(self, number: int) -> bool:
        """The start is committed. False when the slot was let go meanwhile: nothing may be started then."""
        if self._holds.get(number) is not _Hold.RESERVED:
            return False
        self._holds[number] = _Hold.LAUNCHED
        return True

    def ended(self, number: int) -> None:
        """The attempt has ended by itself, and with it its slot."""
        if self._holds.get(number) is _Hold.LAUNCHED:
            del self._holds[number]

    def let_go_of(self, number: int) -> None:
        """Gives back the slot, and cancels the attempt when there is one; the step does not wait for one either."""
        match self._holds.pop(number, None):
            case _Hold.WAITS:
                self._crew.stop_waiting_for_slot(self._run_id, number)
            case _Hold.RESERVED:
                self._crew.free_slot()
            case _Hold.LAUNCHED:
                self._crew.cancel_attempt(self._run_id, number)

    def let_go(self) -> None:
        """The same for all of them."""
        for number in tuple(self._holds):
            self.let_go_of(number)
