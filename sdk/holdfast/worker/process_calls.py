"""Calls of plain functions in the processes of a pool. Imported there too, so it stays small.

A function travels to another process by its name, and the name of a decorated function stands for its step.
"""

import importlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from holdfast.authoring.steps import Step


def submit_by_name(
    pool: ProcessPoolExecutor, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> "Future[Any]":
    """Runs the call in the pool. A function without a name of its own is pickled as it is, if that works."""
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or not qualname or "<" in qualname:
        return pool.submit(function, *args, **kwargs)
    return pool.submit(_call_named, module, qualname, args, dict(kwargs))


def _call_named(module: str, qualname: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    function = found.function if isinstance(found, Step) else found
    return function(*args, **kwargs)
