"""Errors as failures that can be stored, and failures as errors again. Neither direction ever raises.

An error comes back whole or not at all: where its class could not take its facts, or some cannot be stored, an
OriginalError stands for it with the text.
"""

import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from holdfast import errors
from holdfast.codec.error_facts import class_at, class_path, notes_of, put_together, taken_apart
from holdfast.codec.values import Codec
from holdfast.errors import HoldfastError
from holdfast.journal import Failure, Payload, StepOrigin
from holdfast.limits import DEFAULT_LIMITS, Limits
from holdfast.statuses import RunStatus

_CAUSES_MAX = 8
_LEAVES_MAX = 64
_LEAVES_IN_MESSAGE = 3
_FACTS_BYTES_MAX = 16 * 1024


def capture(error: BaseException, *, limits: Limits = DEFAULT_LIMITS, step: StepOrigin | None = None) -> Failure:
    """What is stored of an error, its texts within limits.error_text_bytes together.

    A failed step or child stands for the error that ended it: its type, message and traceback are kept. A group with
    a single error in it has the type and message of that error.
    step: which step raised it, when one did.
    """
    return _fitted(_captured(error, step, levels_left=_CAUSES_MAX), limits.error_text_bytes)


def _captured(error: BaseException, step: StepOrigin | None, *, levels_left: int) -> Failure:
    if isinstance(error, errors.StepFailed) or type(error) is errors.RunFailed:
        return _passed_on(error, step, levels_left)
    leaves = _leaves(error, levels_left)
    first = leaves[0] if leaves else None
    alone = first if first is not None and len(leaves) == 1 else None
    return Failure(
        error_type=alone.error_type if alone is not None else _storable(type(error).__name__) or "Exception",
        message=alone.message if alone is not None else _storable(_message_of(error, leaves)),
        error_class=class_path(type(error)),
        traceback=_storable(_traceback_of(error)),
        facts=_facts_of(error),
        # To go on after the failure is to repeat the step that failed first.
        step=step or (None if first is None else first.step),
        child_run_id=error.run_id if isinstance(error, errors.RunFailed) else first.child_run_id if first else "",
        cause=_cause(_led_by(error), levels_left),
        leaves=leaves,
    )


def _passed_on(error: errors.StepFailed | errors.RunFailed, step: StepOrigin | None, levels_left: int) -> Failure:
    """The failure that the error was made of, as it was stored; of one that code has made, what it says."""
    failure = error.failure
    if not isinstance(failure, Failure):
        original = error.__cause__
        failure = Failure(
            error_type=_storable(error.error_type) or "Exception",
            message=_storable(error.message),
            error_class="" if original is None else class_path(type(original)),
            traceback=_storable(error.traceback),
            cut=error.cut,
            facts=None if original is None else _facts_of(original),
            cause=None if original is None else _cause(_led_by(original), levels_left),
        )
    if isinstance(error, errors.StepFailed):
        return replace(failure, step=step or StepOrigin(error.step, error.number, error.attempts))
    return replace(failure, step=step, child_run_id=error.run_id)


def _leaves(error: BaseException, levels_left: int) -> tuple[Failure, ...]:
    if not isinstance(error, BaseExceptionGroup) or levels_left == 0:
        return ()
    return tuple(_captured(one, None, levels_left=levels_left - 1) for one in error.exceptions[:_LEAVES_MAX])


def _message_of(error: BaseException, leaves: tuple[Failure, ...]) -> str:
    text = _text_of(error)
    if not leaves:
        return text
    more = ", ..." if len(leaves) > _LEAVES_IN_MESSAGE else ""
    return f"{text}: " + ", ".join(f"{one.error_type}: {one.message}" for one in leaves[:_LEAVES_IN_MESSAGE]) + more


def _facts_of(error: BaseException) -> Payload:
    """The facts of an error, or of one that is not whole its notes."""
    is_small = not isinstance(error, BaseExceptionGroup) or len(error.exceptions) <= _LEAVES_MAX
    facts = taken_apart(error) if is_small else None
    for one in (facts, {"notes": notes_of(error)}):
        try:
            encoded = Codec().encode(one, what="the facts of an error")
        except HoldfastError:
            continue
        if one is not None and len(encoded.data) <= _FACTS_BYTES_MAX:
            return encoded
    return Payload(b"{}")


def _led_by(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _cause(error: BaseException | None, levels_left: int) -> Failure | None:
    return None if error is None or levels_left == 0 else _captured(error, None, levels_left=levels_left - 1)


def _fitted(failure: Failure, text_bytes: int) -> Failure:
    """The failure with all its texts within `text_bytes`."""
    # The message goes first and may take all but a quarter; of the traceback the end says most.
    message, message_cut = _head(failure.message, text_bytes * 3 // 4)
    text, text_cut = _tail(failure.traceback, text_bytes - len(message.encode()))
    left = max(text_bytes - len(message.encode()) - len(text.encode()), 0)
    share = left // (len(failure.leaves) + (failure.cause is not None) or 1)
    # The traceback of the error that was raised already has the whole chain.
    return replace(
        failure,
        message=message,
        traceback=text,
        cut=failure.cut or message_cut or text_cut,
        cause=None if failure.cause is None else _fitted(replace(failure.cause, traceback=""), share),
        leaves=tuple(_fitted(replace(one, traceback=""), share) for one in failure.leaves),
    )


def rebuild(failure: Failure) -> Exception | None:
    """The original error, when its class can be imported; else None. An OriginalError where it would not be whole."""
    try:
        kind = class_at(failure.error_class)
        if kind is BaseExceptionGroup:
            kind = ExceptionGroup
        if kind is None or not issubclass(kind, Exception):
            return None
    except Exception:  # noqa: BLE001 - foreign modules can raise anything
        return None
    error = _whole(kind, failure) or stand_in(failure)
    if failure.cause is not None:
        error.__cause__ = rebuild(failure.cause)
    return error


def _whole(kind: type[Exception], failure: Failure) -> Exception | None:
    try:
        leaves = tuple(rebuild(one) or stand_in(one) for one in failure.leaves)
        if failure.facts is None:
            # Of another language, or of the coordinator: there is nothing but the text.
            facts: Any = {"arguments": [failure.message] if failure.message else []}
        else:
            facts = from_json(failure.facts.data)
        if "arguments" not in facts:
            return None
        error = put_together(kind, facts, leaves)
        is_whole = bool(leaves) or failure.cut or failure.facts is None or _storable(str(error)) == failure.message
        return error if is_whole and isinstance(error, Exception) and str(error) is not None else None
    except Exception:  # noqa: BLE001 - foreign classes can raise anything
        return None


def stand_in(failure: Failure) -> errors.OriginalError:
    """What stands for an error that cannot be had itself: its type, text and notes."""
    made = errors.OriginalError(failure.error_type, failure.message, failure.error_class)
    for note in _notes(failure.facts):
        made.add_note(note)
    return made


def _notes(facts: Payload | None) -> Iterator[str]:
    try:
        stored = {} if facts is None else from_json(facts.data)
        notes = stored.get("notes") or stored.get("attributes", {}).get("__notes__", [])
        yield from (one for one in notes if isinstance(one, str))
    except Exception:  # noqa: BLE001 - of another language
        return


def as_step_failed(failure: Failure, *, step: StepOrigin | None = None) -> errors.StepFailed:
    """What workflow code gets when a step failed for good.

    step: whose failure it is, where the failure does not say so, as one that the coordinator itself states.
    """
    origin = failure.step or step or StepOrigin("unknown", 0, 0)
    made = errors.StepFailed(
        origin.name,
        number=origin.number,
        attempts=origin.attempts,
        error_type=failure.error_type,
        message=failure.message,
        traceback=failure.traceback,
    )
    made.cut = failure.cut
    made.failure = failure
    made.__cause__ = rebuild(failure)
    return made


def as_run_failed(run_id: str, status: RunStatus, failure: Failure | None) -> errors.RunFailed:
    """What a caller gets when a run ended without a result: RunFailed, RunCancelled or RunTimedOut."""
    kind: type[errors.RunFailed]
    match status:
        case RunStatus.CANCELLED | RunStatus.TERMINATED:
            kind = errors.RunCancelled
        case RunStatus.TIMED_OUT:
            kind = errors.RunTimedOut
        case _:
            kind = errors.RunFailed
    if failure is None:
        return _without_failure(kind, run_id, status)
    made = kind(run_id, failure.error_type, failure.message, failure.traceback)
    made.cut = failure.cut
    made.failure = failure
    made.__cause__ = rebuild(failure)
    return made


def _without_failure(kind: type[errors.RunFailed], run_id: str, status: RunStatus) -> errors.RunFailed:
    if kind is errors.RunFailed:
        return kind(run_id, kind.__name__, f"the run is {status.value}")
    return kind(run_id, "RunTerminated" if status is RunStatus.TERMINATED else kind.__name__, "")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ can raise anything
        return f"(the text of this {type(error).__name__} cannot be made: its __str__ raises)"


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - it calls a user's __str__
        return "".join(traceback.format_tb(error.__traceback__))


def _storable(text: str) -> str:
    """Text that UTF-8 and Postgres both take: no lone surrogates, no NUL."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def _head(text: str, size_bytes: int) -> tuple[str, bool]:
    encoded = text.encode()
    if len(encoded) <= size_bytes:
        return text, False
    return encoded[:size_bytes].decode(errors="ignore"), True


def _tail(text: str, size_bytes: int) -> tuple[str, bool]:
    encoded = text.encode()
    if len(encoded) <= size_bytes:
        return text, False
    return (encoded[-size_bytes:].decode(errors="ignore") if size_bytes > 0 else ""), True
