"""Calls of plain functions in the processes of a pool. Imported there too, so it stays small.

A function travels to another process by its name, and the name of a decorated function stands for its step. Context
variables cannot travel: of them only the position in the trace does, as headers. What the function logs there does not
say which attempt it belongs to.
"""

import importlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from holdfast.authoring.steps import Step


def submit_by_name(
    pool: ProcessPoolExecutor,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
) -> "Future[Any]":
    """Runs the call in the pool. A function without a name of its own is pickled as it is, if that works.

    headers: see `trace_context.headers_of`; empty when the run is not traced.
    """
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or not qualname or "<" in qualname:
        return pool.submit(_call, dict(headers), function, args, dict(kwargs))
    return pool.submit(_call_named, dict(headers), module, qualname, args, dict(kwargs))


def _call_named(
    headers: Mapping[str, str], module: str, qualname: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return _call(headers, found.function if isinstance(found, Step) else found, args, kwargs)


def _call(
    headers: Mapping[str, str], function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if not headers:
        return function(*args, **kwargs)
    from opentelemetry.context import attach, detach

    from holdfast.worker.trace_context import context_of

    token = attach(context_of(headers))
    try:
        return function(*args, **kwargs)
    finally:
        detach(token)
