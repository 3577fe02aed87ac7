"""Gets the loop's thread out of code that holds it: workflow code, or an async step that computes or waits in C.

The heartbeat thread raises an exception in the loop's thread, which arrives between two instructions of Python; a
call into C that never comes back cannot be reached. It must arrive in the code that is meant and nowhere else, so the
loop says when it enters and leaves the code of a run, and takes in itself what came too late.
"""

import asyncio
import ctypes
import threading
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError
from holdfast.worker.log_facts import AttemptFacts, attempt_of
from holdfast.workflow.loop import CodeDoesNotPause, RunUnwinding

if TYPE_CHECKING:
    from holdfast.worker.holder import RunHolder

LATE_INSTRUCTIONS = 1_000
LATE_SECONDS = 5.0


class LoopHeld(HoldfastError):
    """A step held the event loop of its worker until it was interrupted."""

    def __init__(self) -> None:
        super().__init__(
            "the step held the event loop of its worker, with all that runs there, until it was interrupted; "
            "put blocking work into a plain function, which runs in a thread"
        )


class CodeGuard:
    """running: the run whose code the loop is in; set by the loop, before it lets the code go on."""

    __slots__ = ("_asked", "_loop", "_settled", "running")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.running: RunHolder | None = None
        self._asked = False
        self._settled = threading.Event()

    # In the loop's thread

    def leave(self) -> None:
        """The code of the run waits again."""
        self.running = None
        if self._asked:
            self._take_in()

    def _take_in(self) -> None:
        try:
            self._settled.wait(LATE_SECONDS)
            for _ in range(LATE_INSTRUCTIONS):
                pass  # what was raised arrives here, if it did not before
        except RunUnwinding:
            pass
        self._asked = False

    # In another thread

    @property
    def running_attempt(self) -> AttemptFacts | None:
        """The attempt whose code the loop is in: of an async step, or of a task that it has begun.

        Asked of the loop, so that steps pay nothing for it. A mere callback of a step's is not found.
        """
        task = asyncio.current_task(self._loop)
        return None if task is None else attempt_of(task)

    @property
    def whose(self) -> str:
        """Whose code the loop is in, as the log says it."""
        running, attempt = self.running, self.running_attempt
        if running is not None:
            return f"run {running.run_id}"
        return "nothing that is known" if attempt is None else str(attempt)

    def interrupt(self, thread: int, *, seconds: float) -> bool:
        """Interrupts the code that the thread of the loop is in; False when it is in none that is known.

        seconds: for how long it has been there. Code of a workflow stalls its run, whatever it does about this; a
        step fails with LoopHeld.
        """
        holder = self.running
        if holder is None:
            return self.running_attempt is not None and _raise_in(thread, LoopHeld)
        holder.instance.interrupt(CodeDoesNotPause(f"held its worker for {seconds:.0f} s"))
        self._settled.clear()
        self._asked = True
        try:
            return self.running is holder and _raise_in(thread, RunUnwinding)
        finally:
            self._settled.set()


def _raise_in(thread: int, error: type[BaseException]) -> bool:
    reached: int = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
    return reached == 1
