"""Checks what users give to decorators and calls, and resolves what a call changes. Pure.

Every error is raised where the decorator or call stands, and names the step or workflow and the option.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from holdfast.backoff import Backoff, BackoffLike, Constant, Exponential, Linear, Listed, parse_backoff
from holdfast.definitions.definitions import PlacementChoice, RetryOn, StepOptions, StepOverrides
from holdfast.durations import Duration, parse_duration
from holdfast.ids import is_printable
from holdfast.limits import NAME_MAX, PRIORITY_MAX

if TYPE_CHECKING:
    from holdfast.journal import RetryPolicy


class Unset(Enum):
    """Stands for "not given", where None means something."""

    UNSET = 0


UNSET: Final = Unset.UNSET

DEFAULT_RETRIES = 3
DEFAULT_RECOVERIES = 3

MetadataLike = Mapping[str, str | int | float | bool]
RetryOnLike = type[BaseException] | Iterable[type[BaseException]] | Callable[[BaseException], bool]

_COUNT_MAX = 2**31 - 1


def step_options(
    what: str,
    *,
    retries: int,
    backoff: BackoffLike,
    recoveries: int | None,
    timeout: Duration | None,
    queue: str | None,
    placement: PlacementChoice,
    priority: int | None,
    retry_on: RetryOnLike,
    heartbeat_timeout: Duration | None,
) -> StepOptions:
    """The options of a step, checked. `what` is "step charge". Raises ValueError or TypeError."""
    return StepOptions(
        retries=checked_count(what, "retries", retries),
        backoff=checked_backoff(what, backoff),
        recoveries=None if recoveries is None else checked_count(what, "recoveries", recoveries),
        timeout=checked_span(what, "timeout", timeout),
        queue="" if queue is None else checked_name(what, "queue", queue),
        placement=checked_placement(what, placement),
        priority=checked_priority(what, priority),
        retry_on=checked_retry_on(what, retry_on),
        heartbeat_timeout=checked_span(what, "heartbeat_timeout", heartbeat_timeout),
    )


def step_overrides(
    what: str,
    options: StepOptions,
    earlier: StepOverrides,
    *,
    step_id: str | None,
    retries: int | None,
    backoff: BackoffLike | None,
    recoveries: int | Unset | None,
    timeout: Duration | Unset | None,
    queue: str | None,
    placement: PlacementChoice | None,
    priority: int | None,
    retry_on: RetryOnLike | None,
) -> StepOverrides:
    """What one call changes, checked, on top of what `earlier` changed already."""
    changes: dict[str, Any] = {}
    if step_id is not None:
        changes["step_id"] = checked_name(what, "step_id", step_id)
    if retries is not None:
        changes["retries"] = checked_count(what, "retries", retries)
    if backoff is not None:
        changes["backoff"] = checked_backoff(what, backoff)
    if recoveries is not UNSET:
        changes["recoveries_given"] = True
        changes["recoveries"] = None if recoveries is None else checked_count(what, "recoveries", recoveries)
    if timeout is not UNSET:
        changes["timeout_given"] = True
        changes["timeout"] = checked_span(what, "timeout", timeout)
    if queue is not None:
        changes["queue"] = checked_name(what, "queue", queue)
    if placement is not None:
        changes["placement"] = checked_placement(what, placement)
    if priority is not None:
        changes["priority"] = checked_priority(what, priority)
    if retry_on is not None:
        changes["retry_on"] = checked_retry_on(what, retry_on)
    overrides = replace(earlier, **changes)
    if _forces_inline(options, overrides):
        _refuse_elsewhere(what, options, overrides)
    return overrides


def resolve(options: StepOptions, overrides: StepOverrides) -> StepOptions:
    """The options of one call. What cannot be recorded forces it inline, where this code decides its retries."""
    if overrides == _NO_OVERRIDES:
        return options
    return replace(
        options,
        retries=options.retries if overrides.retries is None else overrides.retries,
        backoff=options.backoff if overrides.backoff is None else overrides.backoff,
        recoveries=overrides.recoveries if overrides.recoveries_given else options.recoveries,
        timeout=overrides.timeout if overrides.timeout_given else options.timeout,
        queue=options.queue if overrides.queue is None else overrides.queue,
        placement="inline" if _forces_inline(options, overrides) else overrides.placement or options.placement,
        priority=options.priority if overrides.priority is None else overrides.priority,
        retry_on=options.retry_on if overrides.retry_on is None else overrides.retry_on,
    )


def recorded_retry(overrides: StepOverrides, options: StepOptions) -> "RetryPolicy | None":
    """What the journal says of retries: None when the call overrides nothing that can be recorded.

    options: of the definition, before the overrides.
    """
    if overrides.retries is None and overrides.backoff is None:
        return None
    backoff = options.backoff if overrides.backoff is None else overrides.backoff
    if not is_recordable(backoff):
        return None
    # Imported here: a module that defines steps needs no journal.
    from holdfast.journal import RetryPolicy

    return RetryPolicy(options.retries if overrides.retries is None else overrides.retries, cast(Backoff, backoff))


def is_recordable(backoff: Backoff | Callable[[int], float]) -> bool:
    """True for plain schedules; a callable exists only in the process that has it."""
    return isinstance(backoff, (Exponential, Linear, Constant, Listed))


def checked_name(what: str, option: str, value: Any) -> str:
    """A name or key: printable text of 1 to NAME_MAX characters."""
    if not isinstance(value, str):
        raise TypeError(f"{what}: {option} is text, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{what}: {option} is empty")
    if len(value) > NAME_MAX:
        raise ValueError(f"{what}: {option} has {len(value)} characters, the limit is {NAME_MAX}")
    if not is_printable(value):
        raise ValueError(f"{what}: {option} {value!r} has characters that cannot be printed")
    return value


def checked_count(what: str, option: str, value: Any) -> int:
    """A whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what}: {option} is a whole number, not {value!r}")
    if not 0 <= value <= _COUNT_MAX:
        raise ValueError(f"{what}: {option} is {value}; it must be from 0 to {_COUNT_MAX}")
    return value


def checked_priority(what: str, value: Any) -> int:
    """A whole number, lower first; None means 0."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what}: priority is a whole number, not {value!r}")
    if not -PRIORITY_MAX <= value <= PRIORITY_MAX:
        raise ValueError(f"{what}: priority is {value}; it must be from {-PRIORITY_MAX} to {PRIORITY_MAX}")
    return value


def checked_span(what: str, option: str, value: Any) -> timedelta | None:
    """A duration above 0, or None."""
    if value is None:
        return None
    try:
        span = parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{what}: {option}: {error}") from None
    if not span:
        raise ValueError(f"{what}: {option} is 0; give a longer duration, or None for no limit")
    return span


def checked_switch(what: str, option: str, value: Any) -> bool | None:
    """True, False, or None for neither."""
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{what}: {option} is True, False or None, not {value!r}")
    return value


def checked_backoff(what: str, value: Any) -> Backoff | Callable[[int], float]:
    """A backoff, as parse_backoff takes it."""
    try:
        return parse_backoff(value)
    except ValueError as error:
        raise ValueError(f"{what}: backoff: {error}") from None


def checked_placement(what: str, value: Any) -> PlacementChoice:
    """ "auto", "inline" or "queued"."""
    if value not in get_args(PlacementChoice):
        raise ValueError(f'{what}: placement is "auto", "inline" or "queued", not {value!r}')
    return cast(PlacementChoice, value)


def checked_retry_on(what: str, value: Any) -> RetryOn:
    """Exception types as a tuple, or the predicate."""
    if isinstance(value, type):
        value = (value,)
    if isinstance(value, Iterable):
        kinds = tuple(value)
        if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
            return kinds
    elif callable(value):
        return cast(RetryOn, value)
    raise TypeError(f"{what}: retry_on is an exception type, several of them, or a predicate, not {value!r}")


def checked_metadata(what: str, value: Any) -> Mapping[str, str]:
    """Metadata as text: numbers as Python writes them, True and False as "true" and "false"."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{what}: metadata is a mapping of text to text, not {type(value).__name__}")
    return {checked_name(what, "a metadata key", key): _metadata_text(what, key, item) for key, item in value.items()}


def _metadata_text(what: str, key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise TypeError(f"{what}: metadata {key!r} is text or a number, not {type(value).__name__}")
    text = str(value)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{what}: metadata {key!r} has a NUL character or half of a surrogate pair, which is no text")
    return text


def _forces_inline(options: StepOptions, overrides: StepOverrides) -> bool:
    if overrides.retry_on is not None:
        return True
    backoff = options.backoff if overrides.backoff is None else overrides.backoff
    changes_retries = overrides.retries is not None or overrides.backoff is not None
    return changes_retries and not is_recordable(backoff)


def _refuse_elsewhere(what: str, options: StepOptions, overrides: StepOverrides) -> None:
    queue = overrides.queue if overrides.queue is not None else options.queue
    if queue or (overrides.placement or options.placement) == "queued":
        where = f"in queue {queue!r}" if queue else "queued"
        raise ValueError(
            f"{what}: this call runs {where}, where a callable or retry_on of its own cannot follow it; "
            "give them to the decorator instead"
        )


_NO_OVERRIDES = StepOverrides()
