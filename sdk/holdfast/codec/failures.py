"""Errors as failures that can be stored, and failures as errors again. Neither direction ever raises.

Rebuilding imports the module that defines the class and calls the class; it never runs anything else.
"""

import importlib
import traceback
from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from holdfast import errors
from holdfast.codec.values import Codec
from holdfast.journal import Failure, Payload, StepOrigin
from holdfast.limits import DEFAULT_LIMITS, Limits
from holdfast.statuses import RunStatus

_CAUSES_MAX = 8
_ARGUMENTS_BYTES_MAX = 16 * 1024


def capture(error: BaseException, *, limits: Limits = DEFAULT_LIMITS, step: StepOrigin | None = None) -> Failure:
    """What is stored of an error, its texts within limits.error_text_bytes together.

    A failed step or child stands for the error that ended it: its type, message and traceback are kept.
    step: which step raised it, when one did.
    """
    return _captured(error, limits.error_text_bytes, step, causes_left=_CAUSES_MAX)


def _captured(error: BaseException, text_bytes: int, step: StepOrigin | None, *, causes_left: int) -> Failure:
    child_run_id = error.run_id if isinstance(error, errors.RunFailed) else ""
    if isinstance(error, errors.StepFailed) or type(error) is errors.RunFailed:
        error_type, message, text = error.error_type, error.message, error.traceback
        original, cause, was_cut = error.__cause__, None, error.cut
    else:
        error_type, message, text = type(error).__name__, _text_of(error), _traceback_of(error)
        original, cause, was_cut = error, _led_by(error), False
    if isinstance(error, errors.StepFailed):
        step = step or StepOrigin(error.step, error.number, error.attempts)

    # The message goes first and may take all but a quarter; of the traceback the end says most.
    message, message_cut = _head(_storable(message), text_bytes * 3 // 4)
    text, text_cut = _tail(_storable(text), text_bytes - len(message.encode()))
    left = text_bytes - len(message.encode()) - len(text.encode())
    return Failure(
        error_type=_storable(error_type) or "Exception",
        message=message,
        error_class=_class_path(original),
        traceback=text,
        cut=was_cut or message_cut or text_cut,
        constructor_arguments=_constructor_arguments(original),
        step=step,
        child_run_id=child_run_id,
        cause=_cause(cause, left, causes_left),
    )


def _led_by(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _cause(error: BaseException | None, text_bytes: int, causes_left: int) -> Failure | None:
    if error is None or causes_left == 0:
        return None
    failure = _captured(error, text_bytes, None, causes_left=causes_left - 1)
    # The traceback of the error that was raised already tells the whole chain.
    return replace(failure, traceback="")


def rebuild(failure: Failure) -> Exception | None:
    """The original error, when its class can be imported; else None.

    Made by its constructor when that gives the same text, else without it, holding the message only.
    """
    try:
        found = _class_at(failure.error_class)
        if found is None:
            return None
        error = _constructed(found, failure) or found.__new__(found, failure.message)
        if not error.args and failure.message:
            error.args = (failure.message,)
        if failure.cause is not None:
            error.__cause__ = rebuild(failure.cause)
        return error
    except Exception:  # noqa: BLE001 - foreign classes and modules can raise anything, and this never does
        return None


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


def _constructor_arguments(error: BaseException | None) -> Payload | None:
    if error is None or not error.args:
        return None
    arguments = error.args
    # These keep facts that their args do not hold, in the order of their constructors.
    if isinstance(error, errors.RunFailed):
        arguments = (error.run_id, error.error_type, error.message)
    try:
        encoded = to_json(list(arguments))
    except Exception:  # noqa: BLE001 - arguments of any type; without them the message is kept
        return None
    return Payload(encoded) if len(encoded) <= _ARGUMENTS_BYTES_MAX else None


def _class_path(error: BaseException | None) -> str:
    if error is None:
        return ""
    found = type(error)
    return "" if "<locals>" in found.__qualname__ else f"{found.__module__}:{found.__qualname__}"


def _class_at(path: str) -> type[Exception] | None:
    module, _, qualname = path.partition(":")
    if not module or not qualname:
        return None
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _constructed(found: type[Exception], failure: Failure) -> Exception | None:
    if failure.constructor_arguments is None:
        return None
    try:
        error = found(*Codec().decode(failure.constructor_arguments, list, what="the arguments of an error"))
        # A constructor that words its own message would word it twice; the text tells.
        return error if failure.cut or _storable(str(error)) == failure.message else None
    except Exception:  # noqa: BLE001 - a user's constructor can raise anything
        return None


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
