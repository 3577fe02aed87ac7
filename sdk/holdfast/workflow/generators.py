"""The async generators that workflow code has begun to iterate: what it leaves in the middle is closed in its run.

The garbage collector never chooses when a `finally` block runs: that is when the code lets go of it, or ends.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.workflow.loop import WorkflowLoop

BegunGenerator = tuple[AsyncGenerator[Any, Any], Context]
"""A generator, and the context in which its iteration began."""

ROUNDS_MAX = 16
"""How many generators, each begun by the `finally` block of the one before, are closed at the end: none goes deeper."""

_REFERENCES_OF_ONE_HOLDER = sys.getrefcount((object(), None)[0])


class BegunGenerators:
    """begun: those of one loop that are held, in the order in which they began."""

    __slots__ = ("_loop", "begun")

    def __init__(self, loop: "WorkflowLoop") -> None:
        self._loop = loop
        self.begun: list[BegunGenerator] = []

    def keep(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Hold a generator that begins."""
        self.begun.append((generator, copy_context()))

    def take_in_rounds(self) -> Iterator[BegunGenerator]:
        """Hand over all of them, to be closed, and then those that began while these were closed, ROUNDS_MAX times."""
        for _ in range(ROUNDS_MAX):
            if not self.begun:
                return
            pairs, self.begun = self.begun, []
            yield from pairs

    def close_abandoned(self) -> bool:
        """Close the generators that only this still holds, as the code does it that iterates them to the end.

        Their `finally` blocks may ask for steps as any code may. True: there is something to run.
        """
        kept: list[BegunGenerator] = []
        abandoned: list[BegunGenerator] = []
        for pair in self.begun:
            if _is_unfinished(pair[0]):
                (abandoned if sys.getrefcount(pair[0]) <= _REFERENCES_OF_ONE_HOLDER else kept).append(pair)
        self.begun = kept
        for generator, context in abandoned:
            self._loop.create_task(self._close(generator), context=context)
        return bool(abandoned)

    async def close_all(self) -> None:
        """Close all that code has left in the middle, in the order in which they began, with what begins meanwhile."""
        for generator, context in self.take_in_rounds():
            if _is_unfinished(generator) and not getattr(generator, "ag_running", False):
                # A cancel request ends one of them, not the others.
                await asyncio.wait([self._loop.create_task(self._close(generator), context=context)])

    async def _close(self, generator: AsyncGenerator[Any, Any]) -> None:
        try:
            await generator.aclose()
        except Exception as error:  # noqa: BLE001
            message = "an async generator failed while it was closed"
            self._loop.call_exception_handler({"message": message, "exception": error})


def _is_unfinished(generator: AsyncGenerator[Any, Any]) -> bool:
    return getattr(generator, "ag_frame", None) is not None
