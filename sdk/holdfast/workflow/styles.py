"""The two styles of workflow code: `async def`, which awaits what it asks for, and plain `def`, which waits for it.

Whatever can be asked for is written once, as a coroutine. Code of the first style gets that coroutine; code of the
second one gets its result, and is put aside until it has it. Nothing of the second style is loaded before it is used.
"""

from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast

from holdfast.definitions.functions import is_async, is_awaitable
from holdfast.workflow.current_run import current_runtime

if TYPE_CHECKING:
    from holdfast.workflow.result_or_call import ResultOrCall

P = ParamSpec("P")
T = TypeVar("T")

_NO_NAMES: Mapping[str, Any] = {}

Style = Literal["async", "blocking"]

plain_workflow: ContextVar[Style | None] = ContextVar("holdfast_plain_workflow", default=None)
"""The style of the workflow that runs here as plain code, outside of runs; None where none does."""


def in_style(made: Coroutine[Any, Any, T]) -> "ResultOrCall[T]":
    """The call itself, for code that awaits it; its result, for code that does not."""
    runtime = current_runtime.get()
    if runtime is not None:
        given: Any = runtime.result_here(made) if runtime.is_blocking else made
    elif plain_workflow.get() == "blocking":
        given = _result_or_call(made)
    else:
        given = made
    return cast("ResultOrCall[T]", given)


def in_both_styles(function: Callable[P, Coroutine[Any, Any, T]]) -> "Callable[P, ResultOrCall[T]]":
    """Have calls of an `async def` function of ours give what the style of the caller asks for."""

    def called(*args: P.args, **kwargs: P.kwargs) -> "ResultOrCall[T]":
        return in_style(function(*args, **kwargs))

    # Whoever looks at it sees the function; but it is no coroutine function.
    for name in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        setattr(called, name, getattr(function, name))
    called.__wrapped__ = function  # type: ignore[attr-defined]
    return called


def is_blocking_code() -> bool:
    """Whether the caller is code that waits without `await`."""
    runtime = current_runtime.get()
    if not (plain_workflow.get() == "blocking" if runtime is None else runtime.is_blocking):
        return False
    from holdfast.workflow.blocking_code import blocking_code_here

    return blocking_code_here() is not None


async def result_of(
    function: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = _NO_NAMES
) -> Any:
    """What a function of workflow code returns. In a blocking workflow a plain one may wait without `await`."""
    runtime = current_runtime.get()
    is_blocking = plain_workflow.get() == "blocking" if runtime is None else runtime.is_blocking
    if not is_blocking or is_async(function):
        returned = function(*args, **kwargs)
    else:
        from holdfast.workflow.blocking_code import run_blocking

        returned = await run_blocking(
            function, args, kwargs, is_over=_always if runtime is None else runtime.is_dropped
        )
    return await returned if is_awaitable(returned) else returned


def _result_or_call(made: Coroutine[Any, Any, T]) -> Any:
    from holdfast.workflow.blocking_code import blocking_code_here

    code = blocking_code_here()
    return made if code is None else code.wait_for(made)


def _always() -> bool:
    return True
