"""Runs a worker's loop in a process that is the worker's own: nothing that a step does ends it in passing.

A task or a callback that raises SystemExit or KeyboardInterrupt, or code that calls `loop.stop()`, stops asyncio's
loop in good order, with all that runs on it. Here it goes on: the error is left with the task that raised it, and so
with the step that awaits it. In a program with a loop of its own this is for that program to decide.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from holdfast.client.loops import new_event_loop
from holdfast.workflow import interrupts

log = logging.getLogger("holdfast.worker")

T = TypeVar("T")


def drive(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end on a loop of its own. A KeyboardInterrupt that can be a person's ends it."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        task.add_done_callback(lambda _: loop.stop())
        while not task.done():
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                if isinstance(error, KeyboardInterrupt) and interrupts.can_be_from_outside():
                    raise
                if not task.done():
                    log.error("something in a step raised %r to end this process; it goes on", error, exc_info=error)
            else:
                if not task.done():
                    log.error("something in a step stopped the event loop of this worker; it goes on")
        return task.result()
