"""The slots that one run holds: for attempts whose start is not committed yet, and for launched ones. Pure."""

from holdfast.worker.ports import Crew


class SlotHolds:
    """At most one slot per step, by its number."""

    __slots__ = ("_crew", "_launched", "_reserved", "_run_id")

    def __init__(self, crew: Crew, run_id: str) -> None:
        self._crew = crew
        self._run_id = run_id
        self._reserved: set[int] = set()
        self._launched: set[int] = set()

    def reserve(self, number: int) -> None:
        """A slot was taken for an attempt whose start is on its way into the journal."""
        self._reserved.add(number)

    def launch(self, number: int) -> bool:
        """The start is committed. False when the slot was let go meanwhile: nothing may be started then."""
        if number not in self._reserved:
            return False
        self._reserved.discard(number)
        self._launched.add(number)
        return True

    def ended(self, number: int) -> None:
        """The attempt has ended by itself, and with it its slot."""
        self._launched.discard(number)

    def let_go_of(self, number: int) -> None:
        """Gives back the slot, and cancels the attempt when there is one."""
        if number in self._reserved:
            self._reserved.discard(number)
            self._crew.free_slot()
        elif number in self._launched:
            self._launched.discard(number)
            self._crew.cancel_attempt(self._run_id, number)

    def let_go(self) -> None:
        """The same for all of them."""
        for number in (*self._reserved, *self._launched):
            self.let_go_of(number)
