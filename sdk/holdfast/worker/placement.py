"""Decides where a step runs: here under the lease of its run, or in a queue. Pure; others' slots are a mere belief."""

from collections.abc import Mapping

from holdfast.authoring.definitions import StepDefinition
from holdfast.worker.slots import Slots
from holdfast.workflow.commands import CallStep

OVERFLOW_FACTOR = 10


class StepPlacement:
    """queue: the one that this worker serves. steps: what it knows. slots: its own."""

    __slots__ = ("_free_elsewhere", "_queue", "_slots", "_steps")

    def __init__(self, queue: str, steps: Mapping[str, StepDefinition], slots: Slots) -> None:
        self._queue = queue
        self._steps = steps
        self._slots = slots
        self._free_elsewhere = 0

    def free_slots_elsewhere(self, free: Mapping[str, int]) -> None:
        """Takes a belief about other workers, queue by queue."""
        self._free_elsewhere = free.get(self._queue, 0)

    def runs_inline(self, call: CallStep) -> bool:
        """True when this worker may run the step itself; else it goes to a queue."""
        options = call.options
        if options.placement == "inline":
            return True
        if options.placement == "queued" or (options.queue and options.queue != self._queue):
            return False
        if call.definition.name not in self._steps:
            return False
        if self._slots.free > 0:
            return True
        # Without a slot here a step is better off in the queue when another session could take it, or when so
        # many wait here already that the queue is the shorter way.
        if self._free_elsewhere > 0:
            self._free_elsewhere -= 1
            return False
        return self._slots.waiting < OVERFLOW_FACTOR * self._slots.limit
