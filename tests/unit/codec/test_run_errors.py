"""What a caller reads when a run ended without a result."""

import pytest

from holdfast.codec.failures import as_run_failed, capture, rebuild
from holdfast.errors import RunCancelled, RunFailed, RunTimedOut
from holdfast.journal import Failure
from holdfast.statuses import RunStatus


@pytest.mark.parametrize(
    ("status", "failure", "kind", "sentence"),
    [
        (RunStatus.FAILED, Failure("ValueError", "kaput"), RunFailed, "run r failed with ValueError: kaput"),
        (RunStatus.CANCELLED, Failure("CancelledError", "enough"), RunCancelled, "run r was cancelled: enough"),
        (RunStatus.CANCELLED, Failure("CancelledError"), RunCancelled, "run r was cancelled"),
        (RunStatus.CANCELLED, None, RunCancelled, "run r was cancelled"),
        (RunStatus.TERMINATED, Failure("RunTerminated", "bored"), RunCancelled, "run r was terminated: bored"),
        (RunStatus.TERMINATED, None, RunCancelled, "run r was terminated"),
        (RunStatus.TIMED_OUT, Failure("RunTimedOut", "at noon"), RunTimedOut, "run r timed out: at noon"),
        (RunStatus.TIMED_OUT, None, RunTimedOut, "run r timed out"),
    ],
)
def test_the_sentence_says_how_the_run_ended(
    status: RunStatus, failure: Failure | None, kind: type[RunFailed], sentence: str
) -> None:
    error = as_run_failed("r", status, failure)
    assert type(error) is kind
    assert str(error) == sentence
    again = rebuild(capture(error))
    if kind is not RunFailed:
        assert type(again) is kind
        assert str(again) == sentence
