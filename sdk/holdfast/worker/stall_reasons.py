"""Why a run is stalled, in words for people. Pure."""

from holdfast.authoring.build import without_python
from holdfast.errors import CodecMissing, HoldfastError, NonDeterminism, PayloadNotSerializable, UnguardedCall
from holdfast.workflow.loop import CodeDoesNotPause


class StepUnknown(HoldfastError):
    """A step has to be started again, and neither the code nor this worker has it any more."""

    def __init__(self, step: str) -> None:
        super().__init__(f"step {step} has to run again, and {missing_words('step', step)}")


def missing_words(kind: str, name: str) -> str:
    """What is said of a step or workflow that this worker was not given. kind: "step" or "workflow"."""
    return f"this worker has no {kind} {name}; start a worker whose modules define it"


def stall_reason(error: BaseException, *, recorded_by: str = "", build: str = "") -> str:
    """What describe and history say of a run that `error` has stalled.

    recorded_by: the build that wrote the journal up to here, as far as it says. build: of this worker.
    """
    if isinstance(error, NonDeterminism):
        way_out = _way_out(recorded_by, build)
        return f"{error.difference}; {way_out}" if way_out else str(error)
    if isinstance(error, (CodecMissing, StepUnknown, UnguardedCall, CodeDoesNotPause)):
        return str(error)
    if isinstance(error, PayloadNotSerializable):
        return f"{error}; deploy code whose annotation fits what is recorded"
    return f"the workflow runtime failed with {type(error).__name__}: {error}"


def _way_out(recorded_by: str, build: str) -> str:
    """What to look for, where the builds say more than that the code is another; else ""."""
    if not recorded_by or not build:
        return ""
    if recorded_by == build:
        return (
            f"this is the build that wrote the journal ({build}), so its code does something else each time: look for "
            "random numbers, UUIDs, clocks, the order of a set, or what other code changes; holdfast.random(), uuid4() "
            "and now() are the same in every replay"
        )
    if without_python(recorded_by) == without_python(build):
        return (
            f"the code is the same under another Python ({recorded_by} wrote the journal, this worker is {build}): "
            "let workers with that Python finish the run, or take out what the versions do differently"
        )
    return ""
