"""Errors come back whole or not at all: class, text, arguments, attributes, notes, groups with their leaves."""

import copy
import io
import pickle
import traceback
from datetime import UTC, datetime
from decimal import Decimal
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from uuid import UUID

import pytest

from holdfast import errors
from holdfast.codec.failures import as_run_failed, as_step_failed, capture, rebuild
from holdfast.journal import Failure, Payload, StepOrigin
from holdfast.limits import Limits
from holdfast.statuses import RunStatus
from tests.support import error_zoo as zoo


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def missing_file() -> BaseException:
    try:
        Path("/nope/nothing").read_text()
    except OSError as error:
        return error
    raise AssertionError


def undecodable() -> BaseException:
    try:
        b"\xff".decode()
    except UnicodeDecodeError as error:
        return error
    raise AssertionError


def missing_attribute() -> BaseException:
    try:
        (None).foo  # type: ignore[attr-defined]  # noqa: B018
    except AttributeError as error:
        return error
    raise AssertionError


def missing_module() -> BaseException:
    try:
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        return error
    raise AssertionError


def unparsable() -> BaseException:
    try:
        compile("a b", "shop.py", "exec")
    except SyntaxError as error:
        return error
    raise AssertionError


def noted() -> BaseException:
    error = ValueError("x")
    error.add_note("while charging o-1")
    return error


WHOLE: list[tuple[BaseException, tuple[str, ...]]] = [
    (missing_file(), ("errno", "strerror", "filename", "filename2")),
    (OSError(5, "I/O error", "a", None, "b"), ("errno", "filename", "filename2")),
    (undecodable(), ("encoding", "object", "start", "end", "reason")),
    (missing_attribute(), ("name",)),
    (missing_module(), ("name", "path", "msg")),
    (unparsable(), ("lineno", "offset", "text", "filename", "msg")),
    (noted(), ("__notes__",)),
    (KeyError(("a", 1)), ()),
    (ValueError(b"\xff", datetime(2030, 1, 1, tzinfo=UTC), Decimal("1.5"), {1: {"a"}}, frozenset({2})), ()),
    (StopIteration(5), ("value",)),
    (zoo.ApiError(500, "broken"), ("status", "body")),
    (zoo.Named(name="lamp", key=UUID(int=1)), ("name", "key")),
    (zoo.Reduced(404), ("_hidden",)),
    (zoo.Slotted(7), ("code",)),
    (zoo.DiskFull("/data"), ("errno", "filename", "path")),
    (HTTPError("http://x", 404, "Not Found", Message(), None), ()),
    (errors.RunConflict("id 'a'", "run_1", difference="other arguments"), ("key", "run_id", "difference")),
    (errors.RetryableError("later", retry_after="5s"), ("retry_after",)),
    (errors.ArgumentsRejected("step x", parameter="n", reason="is missing"), ("target", "parameter", "reason")),
]


@pytest.mark.feature("F156")
@pytest.mark.parametrize(("error", "names"), WHOLE, ids=lambda one: type(one).__name__)
def test_an_error_comes_back_with_its_class_text_arguments_and_attributes_or_by_its_text(
    error: BaseException, names: tuple[str, ...]
) -> None:
    again = rebuild(capture(raised(error)))
    assert str(again) == str(error)
    if isinstance(error, HTTPError):  # its headers have no form in JSON
        assert isinstance(again, errors.OriginalError)
        return
    assert type(again) is type(error)
    assert again.args == error.args
    for name in names:
        assert getattr(again, name) == getattr(error, name)


@pytest.mark.parametrize(
    "error",
    [zoo.WithLock("busy"), zoo.Picky(io.StringIO()), ValueError(object()), zoo.Wrapping(zoo.WithLock("inside"))],
)
def test_an_error_that_would_lose_something_is_replaced_by_its_text(error: Exception) -> None:
    error.add_note("while charging o-1")
    failure = capture(raised(error))
    again = rebuild(failure)
    assert type(again) is errors.OriginalError
    assert str(again) == failure.message
    assert again.error_type == failure.error_type == type(error).__name__
    assert again.__notes__ == ["while charging o-1"]
    traceback.format_exception(again)


def test_an_error_within_an_error_comes_back_too() -> None:
    again = rebuild(capture(raised(zoo.Wrapping(zoo.ApiError(500, "x")))))
    assert isinstance(again, zoo.Wrapping)
    assert isinstance(again.original, zoo.ApiError)
    assert again.original.status == 500


def test_no_constructor_runs_when_an_error_is_made_again() -> None:
    failure = capture(raised(zoo.Loud("once")))
    zoo.constructed.clear()
    assert isinstance(rebuild(failure), zoo.Loud)
    assert zoo.constructed == []


@pytest.mark.feature("F156")
def test_a_group_comes_back_with_its_leaves() -> None:
    group = ExceptionGroup("several", [ValueError("a"), zoo.Many("inner", [zoo.ApiError(500, "b"), zoo.WithLock("c")])])
    failure = capture(raised(group))
    assert failure.error_type == "ExceptionGroup"
    assert failure.message.startswith("several (2 sub-exceptions): ValueError: a, Many: inner")
    again = rebuild(failure)
    assert type(again) is ExceptionGroup
    assert str(again) == str(group)
    first, inner = again.exceptions
    assert (type(first), first.args) == (ValueError, ("a",))
    assert type(inner) is zoo.Many
    assert isinstance(inner.exceptions[0], zoo.ApiError)
    assert inner.exceptions[0].status == 500
    assert str(inner.exceptions[1]) == "c"


@pytest.mark.feature("F156")
def test_a_group_with_one_error_has_its_type_and_message() -> None:
    failure = capture(raised(ExceptionGroup("unhandled errors in a TaskGroup", [zoo.ApiError(500, "b")])))
    assert (failure.error_type, failure.message) == ("ApiError", "500: b")
    again = rebuild(failure)
    assert isinstance(again, ExceptionGroup)
    assert isinstance(again.exceptions[0], zoo.ApiError)


def test_the_failed_step_in_a_group_is_the_step_of_the_failure() -> None:
    failed = as_step_failed(capture(raised(ValueError("bad")), step=StepOrigin("charge", 4, 2)))
    failure = capture(raised(ExceptionGroup("unhandled errors in a TaskGroup", [failed])))
    assert failure.step == StepOrigin("charge", 4, 2)
    assert (failure.error_type, failure.message) == ("ValueError", "bad")
    at_client = as_run_failed("run_1", RunStatus.FAILED, failure)
    assert (at_client.error_type, at_client.message) == ("ValueError", "bad")


def test_what_a_step_failed_with_is_passed_on_as_it_was_stored() -> None:
    original = capture(raised(zoo.WithLock("busy")), step=StepOrigin("charge", 1, 1))
    assert capture(raised(as_step_failed(original))) == original


def test_texts_of_a_large_group_stay_within_the_limit_and_do_not_grow_without_end() -> None:
    group = ExceptionGroup("many", [ValueError("x" * 10_000) for _ in range(200)])
    failure = capture(raised(group), limits=Limits(error_text_bytes=4_000))

    def texts(one: Failure) -> int:
        inner = [*one.leaves, *([one.cause] if one.cause else [])]
        return len(one.message) + len(one.traceback) + sum(texts(part) for part in inner)

    assert texts(failure) <= 4_000
    assert str(rebuild(failure)) == failure.message


def test_errors_of_other_languages_have_a_text_and_nothing_else() -> None:
    again = rebuild(Failure("ValueError", "bad", error_class="builtins:ValueError"))
    assert (type(again), str(again)) == (ValueError, "bad")


@pytest.mark.parametrize(
    "facts",
    [
        b"",
        b"[]",
        b"5",
        b'{"arguments":5}',
        b'{"arguments":[{"$":"os:system","value":"true"}]}',
        b'{"arguments":[{"$":1}]}',
    ],
)
def test_facts_that_are_no_facts_never_raise(facts: bytes) -> None:
    again = rebuild(Failure("ValueError", "bad", error_class="builtins:ValueError", facts=Payload(facts)))
    assert str(again) == "bad"


OWN: list[Any] = [
    errors.RunFailed("run_1", "ValueError", "bad", "tb"),
    errors.RunCancelled("run_1", "RunCancelled", "why"),
    errors.RunTimedOut("run_1", "RunTimedOut", ""),
    errors.StepFailed("charge", number=1, attempts=2, error_type="ValueError", message="bad"),
    errors.RunConflict("id 'a'", "run_1", difference="other arguments"),
    errors.NonDeterminism(position=1, expected="a", actual="b"),
    errors.PayloadTooLarge("x", size_bytes=5, limit_bytes=4),
    errors.PayloadNotSerializable("x", type_name="int", reason="no"),
    errors.ArgumentsRejected("step x", parameter="n", reason="is missing"),
    errors.RetryableError("later", retry_after=5),
    errors.Refused("X", "text", {"a": "b"}),
    errors.FatalError("stop", 5),
]


@pytest.mark.parametrize("error", OWN, ids=lambda one: type(one).__name__)
def test_errors_of_holdfast_can_be_pickled_and_copied(error: Exception) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_a_failed_step_can_be_pickled_with_what_it_was_made_of() -> None:
    failed = as_step_failed(capture(raised(ValueError("bad")), step=StepOrigin("charge", 4, 2)))
    assert pickle.loads(pickle.dumps(failed)).failure == failed.failure
