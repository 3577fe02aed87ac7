"""Decides whether a failed attempt is repeated, and after which wait. Pure: the time and chance are arguments.

The same rules hold for steps under a lease and for queued ones. Lost attempts are no failures: `step_progress` has
their rules.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from holdfast.backoff import DEFAULT_BACKOFF, Backoff, retry_delay
from holdfast.codec.failures import capture
from holdfast.definitions.context import ContextUnavailable
from holdfast.definitions.definitions import RetryOn, StepOptions
from holdfast.durations import parse_moment
from holdfast.errors import ArgumentsRejected, FatalError, PayloadNotSerializable, PayloadTooLarge, RetryableError
from holdfast.journal import Failure, Payload, RetryPolicy, StepOrigin
from holdfast.record import record

_NEVER_REPEATED = (FatalError, PayloadNotSerializable, PayloadTooLarge, ArgumentsRejected, ContextUnavailable)
_EVERYTHING: RetryOn = (Exception,)


@record
class RetryRules:
    """What holds for the attempts of one step call."""

    retries: int
    backoff: Backoff | Callable[[int], float]
    retry_on: RetryOn = _EVERYTHING


@record
class Returned:
    """The attempt returned; `result` is its encoded value."""

    result: Payload


@record
class Raised:
    """The attempt raised `error`; `failure` is the same in a form that can be stored."""

    error: BaseException
    failure: Failure


@record
class Expired:
    """The attempt ran longer than its timeout. is_silent: it has given no sign of life for so long."""

    timeout: timedelta
    is_silent: bool = False


@record
class Lost:
    """What ran the attempt is gone, and its outcome with it: no failure of the step. `failure` says what is known."""

    failure: Failure


Ended = Returned | Raised | Expired | Lost


def rules_of(options: StepOptions, policy: RetryPolicy | None) -> RetryRules:
    """The rules of a call: what it says itself (`policy`), else what the definition of the step says."""
    if policy is None:
        return RetryRules(options.retries, options.backoff, options.retry_on)
    return RetryRules(policy.retries, policy.backoff, options.retry_on)


def wait_before_retry(
    error: BaseException, rules: RetryRules, *, failures: int, now: datetime, jitter: float
) -> timedelta | None:
    """How long to wait before the next attempt, or None when the step has failed for good.

    failures: how many attempts have failed, this one included. now: the database's time. jitter: in [0, 1).
    """
    leaves = list(_leaves(error))
    if failures > rules.retries or any(isinstance(leaf, _NEVER_REPEATED) for leaf in leaves):
        return None
    if not _is_retried(error, rules.retry_on) and not all(
        isinstance(leaf, RetryableError) or _is_retried(leaf, rules.retry_on) for leaf in leaves
    ):
        return None
    asked = [_asked_wait(leaf, now) for leaf in leaves if isinstance(leaf, RetryableError)]
    waits = [wait for wait in asked if wait is not None]
    return max(waits) if waits else _policy_wait(rules.backoff, failures, jitter)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, which is repeated when each of them would be; any other error itself."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def timeout_error(how: Expired) -> TimeoutError:
    """The error that an attempt past its timeout failed with."""
    seconds = f"{how.timeout.total_seconds():g}s"
    return TimeoutError(f"No heartbeat for {seconds}" if how.is_silent else f"Timeout after {seconds}")


def timeout_failure(how: Expired, step: StepOrigin) -> Failure:
    """The stored form of `timeout_error`."""
    return capture(timeout_error(how), step=step)


def _asked_wait(error: RetryableError, now: datetime) -> timedelta | None:
    if error.retry_after is None:
        return None
    try:
        moment = parse_moment(error.retry_after)
    except (ValueError, TypeError):
        # The step asked for a retry and misspelt the wait: the policy's wait is closer to that than a failure.
        return None
    if isinstance(moment, timedelta):
        return moment
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(aware - now, timedelta())


def _is_retried(error: BaseException, retry_on: RetryOn) -> bool:
    if retry_on == _EVERYTHING:
        # Also what is no Exception: a SystemExit in a step is a failure of that step like any other.
        return True
    if isinstance(retry_on, tuple):
        return isinstance(error, retry_on)
    try:
        return bool(retry_on(error))
    except BaseException:  # noqa: BLE001 - the predicate is the user's, and the error at hand matters more than its own
        return True


def _policy_wait(backoff: Backoff | Callable[[int], float], retry: int, jitter: float) -> timedelta:
    try:
        return retry_delay(backoff, retry, jitter=jitter)
    except BaseException:  # noqa: BLE001 - a callable of the user; its error must not replace the retry
        return retry_delay(DEFAULT_BACKOFF, retry, jitter=jitter)
