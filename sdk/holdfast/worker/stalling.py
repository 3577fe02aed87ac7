"""Why a run is stalled, in words for people. Pure."""

from holdfast.errors import HoldfastError, NonDeterminism, PayloadNotSerializable
from holdfast.workflow.loop import CodeDoesNotPause


class StepUnknown(HoldfastError):
    """A step has to be started again, and neither the code nor this worker knows it any more."""

    def __init__(self, step: str) -> None:
        super().__init__(f"step {step} has to run again, but this worker does not know it; deploy code that has it")


def stall_reason(error: BaseException) -> str:
    """What describe and history say of a run that `error` has stalled."""
    if isinstance(error, (NonDeterminism, StepUnknown, CodeDoesNotPause)):
        return str(error)
    if isinstance(error, PayloadNotSerializable):
        return f"{error}; deploy code whose annotation fits what is recorded"
    return f"the workflow runtime failed with {type(error).__name__}: {error}"
