"""What a writer asks of whoever hands out places in sessions: they are reserved while a batch is decided and settled
when it is over. Nothing here decides anything."""

from abc import abstractmethod

from holdfast_coordinator.domain.events import RunLeased, TaskClaimed
from holdfast_coordinator.domain.workspace import Assign


class Reservations(Assign):
    """An `Assign` that gets what became of every place that it has reserved, except what is committed."""

    @abstractmethod
    def begin(self) -> None:
        """A decision begins; it waits for nothing, so no other is under way."""

    @abstractmethod
    def undo(self) -> None:
        """The decision that began last has failed: no session gets anything of it."""

    @abstractmethod
    def release(self, event: RunLeased | TaskClaimed) -> None:
        """The commit failed: the session does not get this after all."""

    @abstractmethod
    def doubt(self, event: RunLeased | TaskClaimed) -> None:
        """The commit may have happened: the session may hold this by the database, and will get no notice of it."""
