"""Which failures are repeated, and after which wait."""

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.backoff import Constant, Listed, constant, exponential, linear, parse_backoff
from holdfast.definitions.context import ContextUnavailable
from holdfast.definitions.definitions import StepOptions
from holdfast.errors import (
    ArgumentsRejected,
    FatalError,
    PayloadNotSerializable,
    PayloadTooLarge,
    RetryableError,
)
from holdfast.journal import RetryPolicy
from holdfast.worker.retries import RetryRules, rules_of, wait_before_retry

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def wait(error, *, retries=3, backoff=None, retry_on=(Exception,), failures=1):
    rules = RetryRules(retries, backoff or constant(5), retry_on)
    found = wait_before_retry(error, rules, failures=failures, now=NOW, jitter=0.0)
    return None if found is None else found.total_seconds()


@pytest.mark.feature("F65")
@pytest.mark.parametrize(
    "error",
    [
        FatalError("stop"),
        PayloadNotSerializable("result of step x", type_name="lock", reason="it is a lock"),
        PayloadTooLarge("result of step x", size_bytes=3, limit_bytes=2),
        ArgumentsRejected("step x", parameter="n", reason="does not fit"),
        ContextUnavailable("no deps"),
    ],
)
def test_what_would_fail_again_is_never_repeated(error):
    assert wait(error) is None


@pytest.mark.feature("F67")
@pytest.mark.parametrize("error", [KeyError("k"), SystemExit(2), KeyboardInterrupt()])
def test_any_other_error_is_repeated_by_default(error):
    assert wait(error) == 5


@pytest.mark.feature("F61")
@pytest.mark.parametrize(("failures", "expected"), [(1, 5.0), (4, 5.0), (5, None)])
def test_retries_are_used_up(failures, expected):
    assert wait(KeyError(), retries=4, failures=failures) == expected


@pytest.mark.parametrize(
    ("retry_on", "error", "is_retried"),
    [
        ((KeyError,), KeyError(), True),
        ((KeyError,), ValueError(), False),
        ((LookupError,), KeyError(), True),
        (lambda error: "again" in str(error), ValueError("again, please"), True),
        (lambda error: "again" in str(error), ValueError("no"), False),
        (lambda error: 1 / 0, ValueError("no"), True),
    ],
)
def test_retry_on_chooses_by_type_or_predicate(retry_on, error, is_retried):
    assert (wait(error, retry_on=retry_on) is not None) is is_retried


@pytest.mark.feature("F66")
@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        ("2s", 2.0),
        (7, 7.0),
        (timedelta(minutes=1), 60.0),
        (NOW + timedelta(seconds=90), 90.0),
        ((NOW + timedelta(seconds=30)).replace(tzinfo=None), 30.0),
        (NOW - timedelta(days=1), 0.0),
        (None, 5.0),
        ("in a while", 5.0),
    ],
)
def test_a_retryable_error_says_when(retry_after, expected):
    assert wait(RetryableError("busy", retry_after=retry_after)) == expected


def test_a_retryable_error_is_repeated_whatever_retry_on_says_but_not_for_ever():
    assert wait(RetryableError("busy"), retry_on=(KeyError,)) == 5
    assert wait(RetryableError("busy", retry_after="1s"), retries=1, failures=2) is None


@pytest.mark.parametrize(
    ("errors", "retry_on", "expected"),
    [
        ([ValueError()], (ValueError,), 5.0),
        ([ExceptionGroup("inner", [ValueError()]), ValueError()], (ValueError,), 5.0),
        ([ValueError(), KeyError()], (ValueError,), None),
        ([ValueError(), KeyError()], (ExceptionGroup,), 5.0),
        ([ValueError(), KeyError()], (Exception,), 5.0),
        ([ValueError("again"), KeyError("again")], lambda error: "again" in str(error), 5.0),
        ([ValueError("again"), KeyError("no")], lambda error: error.args == ("again",), None),
        ([ValueError(), FatalError("stop")], (Exception,), None),
        ([ValueError(), RetryableError("busy", retry_after="9s")], (ValueError,), 9.0),
        ([RetryableError("a", retry_after="2s"), RetryableError("b", retry_after="9s")], (KeyError,), 9.0),
    ],
)
def test_a_group_is_repeated_when_each_error_in_it_would_be(errors, retry_on, expected):
    assert wait(ExceptionGroup("several", errors), retry_on=retry_on) == expected


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        ("exponential", [1, 2, 4, 8]),
        ("fixed", [60, 60, 60]),
        ("5s", [5, 5]),
        (10, [10, 10]),
        ([5, 30, 300], [5, 30, 300, 300]),
        (linear(start=2, step=3), [2, 5, 8]),
        (exponential(base=2, max=10), [2, 4, 8, 10]),
        (lambda retry: retry * 1.5, [1.5, 3.0]),
        (lambda retry: 1 / 0, [1, 2, 4]),
    ],
)
def test_waits_follow_the_schedule(backoff, waits):
    parsed = parse_backoff(backoff)
    found = [wait(KeyError(), retries=9, backoff=parsed, failures=n) for n in range(1, len(waits) + 1)]
    assert found == waits


def test_what_a_call_says_goes_before_the_definition():
    options = StepOptions(retries=1, backoff=Constant(timedelta(1)), retry_on=(KeyError,))
    own = RetryPolicy(7, Listed((timedelta(2),)))
    assert rules_of(options, None) == RetryRules(1, Constant(timedelta(1)), (KeyError,))
    assert rules_of(options, own) == RetryRules(7, Listed((timedelta(2),)), (KeyError,))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_predicate_or_backoff_that_raises_what_ends_programs_ends_nothing(error):
    def odd(_):
        raise error

    for rules in (RetryRules(3, odd), RetryRules(3, constant(1), odd)):
        assert wait_before_retry(ValueError("x"), rules, failures=1, now=NOW, jitter=0.0) is not None
