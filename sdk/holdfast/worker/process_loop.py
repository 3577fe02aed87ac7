"""Runs a worker's loop in a process that is the worker's own: nothing that a step does ends it in passing.

A task or a callback that raises SystemExit or KeyboardInterrupt stops asyncio's loop in good order, with all that runs
on it; so does a signal handler that raises, as those of alarms do. Here the loop goes on: the error is left with the
task that raised it, and so with the step that awaits it. In a program with a loop of its own this is for that program
to decide.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from holdfast.client.loops import new_event_loop
from holdfast.worker.stop_signals import end_process
from holdfast.workflow import interrupts

log = logging.getLogger("holdfast.worker")

T = TypeVar("T")

STOPS_MAX = 100
"""How often in a row the loop may stop within STOP_SECONDS before it is taken to be broken: its own descriptors are
closed, for example. The process then ends as in a crash, so that what it held counts a loss."""
STOP_SECONDS = 1.0
LOOP_IS_BROKEN = 71
"""The exit code of a process whose loop does not run any more."""


def drive(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end on a loop of its own. A KeyboardInterrupt that can be a person's ends it."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        task.add_done_callback(lambda _: loop.stop())
        stops = 0
        while not task.done():
            began = time.monotonic()
            try:
                loop.run_forever()
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt) and interrupts.can_be_from_outside():
                    raise
                if not task.done():
                    log.error("something in a step raised %r to end this process; it goes on", error, exc_info=error)
            else:
                if not task.done():
                    log.error("something in a step stopped the event loop of this worker; it goes on")
            stops = stops + 1 if time.monotonic() - began < STOP_SECONDS else 0
            if stops > STOPS_MAX and not task.done():
                log.error("the event loop of this worker does not run any more; this process is ended")
                end_process(LOOP_IS_BROKEN)
        return task.result()
