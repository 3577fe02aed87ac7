"""What a leased run needs of the worker around it: time, chance, slots, waits. The crew implements it."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from holdfast.workflow import commands

if TYPE_CHECKING:
    from holdfast.worker.holder import RunHolder


class Crew(Protocol):
    """What a holder needs of the worker that it is part of. `number` is the number of a step."""

    def now(self) -> datetime:
        """The worker's estimate of the database's time."""

    def jitter(self) -> float:
        """A random number in [0, 1)."""

    def take_slot(self, *, keeps: bool = False) -> bool:
        """Takes a slot when one is free. keeps: the run has just freed one and may go before those that wait."""

    def free_slot(self) -> None:
        """Gives back a slot whose attempt was never started."""

    def wait_for_slot(self, holder: "RunHolder", number: int) -> None:
        """Calls `slot_granted` when it is this step's turn."""

    def stop_waiting_for_slot(self, run_id: str, number: int) -> None:
        """The step needs no slot any more."""

    def hold_retry(self, holder: "RunHolder", number: int, wait: timedelta) -> None:
        """Calls `retry_due` when the wait is over."""

    def cancel_attempt(self, run_id: str, number: int) -> None:
        """Cancels a running attempt, whose result is no longer needed."""

    def runs_inline(self, call: commands.CallStep) -> bool:
        """True when this worker may run the step itself; else it goes to a queue."""
