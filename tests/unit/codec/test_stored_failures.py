"""Failures: what is stored of an error, and the error that is rebuilt from it."""

import asyncio
from typing import Any

import pytest

from holdfast import errors
from holdfast.codec.failures import as_run_failed, as_step_failed, capture, rebuild
from holdfast.journal import Failure, StepOrigin
from holdfast.limits import Limits
from holdfast.statuses import RunStatus
from tests.support.codec_shop import Declined, OutOfStock, Unfriendly


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        if cause is not None:
            raise error from cause
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def test_an_error_is_stored_with_type_class_message_and_traceback() -> None:
    failure = capture(raised(KeyError("sku")))
    assert (failure.error_type, failure.error_class, failure.message) == ("KeyError", "builtins:KeyError", "'sku'")
    assert "test_stored_failures.py" in failure.traceback
    assert not failure.cut


@pytest.mark.parametrize(
    "error",
    [
        ValueError("{oops}\nsecond line"),
        KeyError("sku"),
        ValueError(),
        OSError(2, "No such file"),
        Declined(51, "no funds"),
        OutOfStock("sku-1"),
        errors.FatalError("stop"),
        errors.RetryableError("later", retry_after="2s"),
        errors.RunCancelled("run_1", "RunCancelled", "by hand"),
    ],
)
def test_an_error_is_rebuilt_with_its_class_and_text(error: Exception) -> None:
    rebuilt = rebuild(capture(raised(error)))
    assert type(rebuilt) is type(error)
    assert str(rebuilt) == str(error)


def test_a_rebuilt_error_has_the_facts_its_constructor_was_given() -> None:
    rebuilt = rebuild(capture(raised(Declined(51, "no funds"))))
    assert isinstance(rebuilt, Declined)
    assert rebuilt.code == 51


def test_a_class_whose_constructor_cannot_be_fed_is_kept_all_the_same() -> None:
    failure = capture(raised(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")))
    assert "invalid start byte" in failure.message
    assert type(rebuild(failure)) is UnicodeDecodeError


def test_a_local_class_is_stored_by_name_and_not_rebuilt() -> None:
    class Local(Exception):
        pass

    failure = capture(raised(Local("x")))
    assert (failure.error_type, failure.message, failure.error_class) == ("Local", "x", "")
    assert rebuild(failure) is None


@pytest.mark.parametrize(
    "error_class",
    [
        "",
        "nonsense",
        "no.such.module:X",
        "builtins:NoSuch",
        "builtins:print",
        "builtins:int",
        "builtins:SystemExit",
        ":",
    ],
)
def test_what_is_no_importable_error_class_is_not_rebuilt(error_class: str) -> None:
    assert rebuild(Failure("X", "text", error_class=error_class)) is None


@pytest.mark.parametrize(
    "error",
    [
        Unfriendly(),
        ValueError("a\x00b\ud800"),
        ValueError(object()),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        ExceptionGroup("many", [ValueError("x")]),
        Declined(1, "x" * 100_000),
    ],
)
def test_capture_never_raises_and_its_texts_can_be_stored(error: BaseException) -> None:
    failure = capture(raised(error))
    for text in (failure.error_type, failure.message, failure.traceback):
        text.encode()
        assert "\x00" not in text
    rebuild(failure)


def test_a_long_text_is_cut_and_says_so() -> None:
    failure = capture(raised(ValueError("é" * 1_000_000)), limits=Limits(error_text_bytes=1000))
    assert failure.cut
    assert len(failure.message.encode()) + len(failure.traceback.encode()) <= 1000
    assert failure.message.startswith("é" * 300)
    assert failure.traceback


def test_the_texts_of_a_whole_chain_stay_within_the_limit() -> None:
    error = raised(ValueError("x" * 400))
    for _ in range(20):
        error = raised(ValueError("x" * 400), error)
    failure: Failure | None = capture(error, limits=Limits(error_text_bytes=2000))
    total = 0
    while failure is not None:
        total += len(failure.message.encode()) + len(failure.traceback.encode())
        failure = failure.cause
    assert total <= 2000


def test_the_cause_is_kept_and_rebuilt() -> None:
    failure = capture(raised(ValueError("outer"), Declined(51, "no funds")))
    assert failure.cause is not None
    assert failure.cause.error_type == "Declined"
    rebuilt = rebuild(failure)
    assert rebuilt is not None
    assert isinstance(rebuilt.__cause__, Declined)
    assert "no funds" in failure.traceback


def test_an_error_that_is_its_own_context_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert capture(one).error_type == "ValueError"


def test_a_failed_step_becomes_a_step_failed_with_its_cause() -> None:
    error = as_step_failed(capture(raised(Declined(51, "no")), step=StepOrigin("charge", 4, 2)))
    assert (error.step, error.number, error.attempts, error.error_type) == ("charge", 4, 2, "Declined")
    assert isinstance(error.__cause__, Declined)


def test_a_run_that_ends_by_a_failed_step_fails_with_the_original() -> None:
    origin = StepOrigin("charge", 4, 2)
    original = capture(raised(Declined(51, "no")), step=origin)
    failure = capture(raised(as_step_failed(original)))
    assert (failure.error_type, failure.message, failure.step) == ("Declined", original.message, origin)
    assert failure.traceback == original.traceback
    assert isinstance(rebuild(failure), Declined)


def test_a_run_that_ends_by_a_failed_child_keeps_the_original_and_names_the_child() -> None:
    child = as_run_failed("run_child", RunStatus.FAILED, capture(raised(Declined(51, "no"))))
    failure = capture(raised(child))
    assert (failure.error_type, failure.child_run_id) == ("Declined", "run_child")
    assert isinstance(rebuild(failure), Declined)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (RunStatus.FAILED, errors.RunFailed),
        (RunStatus.CANCELLED, errors.RunCancelled),
        (RunStatus.TERMINATED, errors.RunCancelled),
        (RunStatus.TIMED_OUT, errors.RunTimedOut),
    ],
)
@pytest.mark.parametrize("failure", [None, Failure("ValueError", "bad", error_class="builtins:ValueError")])
def test_a_run_without_a_result_raises_by_its_status(status: RunStatus, kind: Any, failure: Failure | None) -> None:
    error = as_run_failed("run_1", status, failure)
    assert type(error) is kind
    assert error.run_id == "run_1"
    assert (type(error.__cause__) is ValueError) == (failure is not None)
