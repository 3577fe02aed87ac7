"""Gives a recorded outcome to the call that awaits it: a payload is decoded, a failure becomes an exception.

It never decides which call an outcome belongs to.
"""

from holdfast.codec import Codec
from holdfast.codec.failures import as_step_failed
from holdfast.errors import HoldfastError
from holdfast.hints.value_types import ValueType
from holdfast.journal import Failure, Payload, StepOrigin
from holdfast.workflow.calls import ChildCall, StepCall
from holdfast.workflow.loop import WorkflowLoop


class Outcomes:
    """Resolves the calls of one run."""

    __slots__ = ("_codec", "_loop")

    def __init__(self, codec: Codec, loop: WorkflowLoop) -> None:
        self._codec = codec
        self._loop = loop

    def settle(self, call: StepCall, outcome: Payload | Failure, *, attempts: int = 0) -> None:
        """Resolve a step. attempts: how many it took, where the outcome says that; else 0."""
        definition = call.definition
        if isinstance(outcome, Failure):
            origin = StepOrigin(definition.name, call.number, attempts)
            self.raise_in(call, as_step_failed(outcome, step=origin))
        else:
            self.return_in(call, outcome, definition.signature.result, f"step {definition.name}")

    def return_in(self, call: StepCall | ChildCall, payload: Payload, hint: ValueType, what: str) -> None:
        """The call returns this. what: whose result it is, in words."""
        try:
            value = self._codec.decode(payload, hint, what=f"the result of {what}")
        except HoldfastError as error:
            # It was read when it was recorded, so other code or another language wrote it. What is recorded stays:
            # to fail the run for good would lose it, while code that can read it goes on.
            self._loop.break_off(error)
        call.set_result(value)

    def raise_in(self, call: StepCall | ChildCall, error: Exception) -> None:
        """The call raises this."""
        call.set_exception(error)
        # A call that is never awaited, as after another failure in gather, is no mistake to report.
        call._log_traceback = False
