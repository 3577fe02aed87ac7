"""Decides where a step runs: here under the lease of its run, or in a queue. Pure."""

from collections.abc import Mapping

from holdfast.definitions.definitions import StepDefinition
from holdfast.worker.slots import Slots
from holdfast.workflow.commands import CallStep

OVERFLOW_FACTOR = 10


class StepPlacement:
    """queue: the one that this worker serves. steps, slots: its own."""

    __slots__ = ("_queue", "_slots", "_steps")

    def __init__(self, queue: str, steps: Mapping[str, StepDefinition], slots: Slots) -> None:
        self._queue = queue
        self._steps = steps
        self._slots = slots

    def runs_inline(self, call: CallStep) -> bool:
        """True when this worker may run the step itself; else it goes to a queue."""
        options = call.options
        if options.placement == "inline":
            return True
        if options.placement == "queued" or (options.queue and options.queue != self._queue):
            return False
        if call.definition.name not in self._steps:
            return False
        # A fan-out waits here for a slot: a commit for each step is what the queue costs. With this many before it,
        # the queue is the shorter way.
        return self._slots.free > 0 or self._slots.waiting < OVERFLOW_FACTOR * self._slots.limit
