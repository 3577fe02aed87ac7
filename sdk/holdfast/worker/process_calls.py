"""Calls of plain functions in the processes of a pool. Imported there too, so it stays small.

A function travels to another process by its name, and the name of a decorated function stands for its step. Context
variables cannot travel: of them only the position in the trace does, as headers. What the function logs there does not
say which attempt it belongs to.

Results and errors come back as bytes and plain facts, never as objects: a pool that cannot unpickle what a process
sends is broken for good, and exceptions with a constructor of their own often cannot be.
"""

import asyncio
import importlib
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from holdfast.authoring.steps import Step
from holdfast.codec.failures import capture, rebuild
from holdfast.definitions.functions import is_awaitable
from holdfast.journal import Failure, StepOrigin
from holdfast.limits import DEFAULT_LIMITS


@dataclass(slots=True, frozen=True)
class Outcome:
    """How a call ended in its process. value, error: pickled; error is absent when it would not come back whole."""

    value: bytes | None = None
    failure: Failure | None = None
    error: bytes | None = None
    error_class: tuple[str, str] = ("", "")


class RaisedThere(Exception):
    """The call raised `error`, or what stands for it here; `failure` is the same as it was described there."""

    def __init__(self, error: BaseException, failure: Failure) -> None:
        super().__init__(failure.message)
        self.error = error
        self.failure = failure


def submit_by_name(
    pool: ProcessPoolExecutor,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
) -> "Future[Outcome]":
    """Runs the call in the pool. A function without a name of its own is pickled as it is, if that works.

    headers: see `trace_context.headers_of`; empty when the run is not traced.
    """
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or not qualname or "<" in qualname:
        return pool.submit(_call, dict(headers), function, args, dict(kwargs))
    return pool.submit(_call_named, dict(headers), module, qualname, args, dict(kwargs))


def value_of(outcome: Outcome, step: StepOrigin) -> Any:
    """What the call returned. Raises RaisedThere; and whatever its result raises when it is unpickled."""
    failure = outcome.failure
    if failure is None:
        return pickle.loads(outcome.value or b"")
    raise RaisedThere(_error_of(outcome, failure), replace(failure, step=step))


def _error_of(outcome: Outcome, failure: Failure) -> BaseException:
    try:
        if outcome.error is not None:
            found: BaseException = pickle.loads(outcome.error)
            return found
        kind = _found(*outcome.error_class)
        whole = rebuild(failure)
        if whole is not None and isinstance(whole, kind):
            return whole
        # For `retry_on` it has to be of its class; nothing else asks for it.
        bare: BaseException = kind.__new__(kind)
        bare.args = (failure.message,)
        return bare
    except BaseException:  # noqa: BLE001 - classes of the user
        return RuntimeError(f"{failure.error_type}: {failure.message}")


def _call_named(
    headers: Mapping[str, str], module: str, qualname: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Outcome:
    def call(*args: Any, **kwargs: Any) -> Any:
        found = _found(module, qualname)
        return (found.function if isinstance(found, Step) else found)(*args, **kwargs)

    return _call(headers, call, args, kwargs)


def _found(module: str, qualname: str) -> Any:
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def _call(
    headers: Mapping[str, str], function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Outcome:
    try:
        return Outcome(value=pickle.dumps(_traced(headers, function, args, kwargs)))
    except BaseException as error:  # noqa: BLE001 - also SystemExit: it is the step's, and not the end of the process
        return _described(error)


def _described(error: BaseException) -> Outcome:
    kind = type(error)
    if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
        # The first frame is ours and says nothing to the user.
        error.__traceback__ = error.__traceback__.tb_next
    try:
        failure = capture(error, limits=DEFAULT_LIMITS)
    except BaseException as odd:  # noqa: BLE001 - describing it runs code of the user
        failure = Failure(kind.__name__, f"it cannot be described: {type(odd).__name__} while its text was made")
    return Outcome(failure=failure, error=_pickled(error), error_class=(kind.__module__, kind.__qualname__))


def _pickled(error: BaseException) -> bytes | None:
    try:
        data = pickle.dumps(error)
        again = pickle.loads(data)
        return data if type(again) is type(error) and str(again) == str(error) else None
    except BaseException:  # noqa: BLE001 - classes of the user
        return None


def _traced(
    headers: Mapping[str, str], function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if not headers:
        return _finished(function(*args, **kwargs))
    from opentelemetry.context import attach, detach

    from holdfast.worker.trace_context import context_of

    token = attach(context_of(headers))
    try:
        return _finished(function(*args, **kwargs))
    finally:
        detach(token)


def _finished(value: Any) -> Any:
    """What an awaitable gives: it cannot leave its process, which has no loop of its own."""
    return asyncio.run(_awaited(value)) if is_awaitable(value) else value


async def _awaited(value: Any) -> Any:
    return await value
