"""Guards: calls that a replay cannot repeat raise in workflow code, with what to write instead.

Clocks, randomness, files, sockets, processes and threads are reached through functions of Python's own modules. Those
are changed in place when a worker with guards starts: in code of a run they raise UnguardedCall, everywhere else they
do what they did. Functions written in Python get another code, so that every reference to them is guarded; built-in
ones are exchanged in their module and wherever a module has them under a name of its own; the class methods of
datetime and date are exchanged in the types.

What a library does for itself is left alone: logging stamps its records, an import reads files.
"""

import builtins
import ctypes
import datetime
import functools
import gc
import io
import pkgutil
import sys
import threading
import types
from asyncio import events
from collections.abc import Callable
from types import FrameType, FunctionType
from typing import Any, Literal

from holdfast.errors import UnguardedCall
from holdfast.forbidden_calls import CLOCKS, FORBIDDEN_CALLS, UNGUARDED, Condition
from holdfast.worker import process_shield
from holdfast.worker.imported_names import exchange_imported_names
from holdfast.workflow.current_run import guards_are_off
from holdfast.workflow.loop import WorkflowLoop

Guards = Literal["on", "off"]

_WITHOUT_ARGUMENTS = frozenset({*(f"time.{name}()" for name in CLOCKS), "random.random()"})
"""Those that are called often; a guard that passes no arguments on costs half."""

_AT_EASE = frozenset(
    {
        *("logging", "loguru", "structlog", "opentelemetry", "warnings", "traceback", "linecache"),
        *("importlib", "zipimport", "zoneinfo", "encodings", "bdb", "pdb", "pydevd", "coverage"),
    }
)
"""The packages below which nothing is guarded: what they look up and write is no part of what the code does."""

_running_loop = events._get_running_loop
_OURS = frozenset((__file__, process_shield.__file__))
"""What stands between a guarded call and the code that makes it."""
_LOOP_FILE = WorkflowLoop._run_ready.__code__.co_filename

_installed = threading.Lock()
_is_installed = False


def install() -> None:
    """Put the guards in place, once for the process. They do nothing outside of runs that are guarded."""
    global _is_installed
    with _installed:
        if not _is_installed:
            _is_installed = True
            _install()


def guarded(guards: Guards) -> bool:
    """Whether runs are to be guarded; puts the guards in place if so. Raises ValueError for another word."""
    if guards not in ("on", "off"):
        raise ValueError(f'guards is "on" or "off", not {guards!r}')
    if guards == "on":
        install()
    return guards == "on"


def check(call: str, instead: str) -> None:
    """Raise UnguardedCall where the code of a guarded run has made this call."""
    loop = _running_loop()
    if not isinstance(loop, WorkflowLoop) or not loop.is_guarded or not loop.is_running() or guards_are_off.get():
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in _OURS:
        frame = frame.f_back
    if frame is not None and str(frame.f_globals.get("__name__", "")).startswith("holdfast."):
        return  # a handler of the worker's, which happens to run on top of the code
    collectors = [getattr(one, "__code__", None) for one in gc.callbacks]
    while frame is not None and frame.f_code.co_filename != _LOOP_FILE:
        if frame.f_code in collectors:
            return  # the garbage collector has interrupted the code, for a library that watches it
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] in _AT_EASE:
            return
        frame = frame.f_back
    raise UnguardedCall(call, instead=f"{instead}; {UNGUARDED}")


def _install() -> None:
    exchanged: dict[int, tuple[Any, Any]] = {}
    for owner_name, names, _, instead, condition in FORBIDDEN_CALLS:
        owner, only_if = pkgutil.resolve_name(owner_name), _CONDITIONS[condition]
        for name in names:
            original = getattr(owner, name, None)
            if original is None:
                continue  # this Python does not have it
            if owner is datetime.datetime or owner is datetime.date:
                _exchange_method(owner, name, f"{owner.__name__}.{name}()", instead)
                continue
            words = f"{_name_of(owner)}{name}()"
            if isinstance(original, FunctionType) and not original.__closure__:
                _exchange_code(original, words, instead, only_if)
            else:
                guard = _guard(original, words, instead, only_if)
                setattr(owner, name, guard)
                exchanged[id(original)] = original, guard
    exchange_imported_names(exchanged)


_OnlyIf = Callable[..., bool] | None


def _without_arguments(*args: Any, **_: Any) -> bool:
    return not args or args[0] is None


def _with_one_argument(*args: Any, **_: Any) -> bool:
    return len(args) < 2


def _without_a_seed(_: Any, a: Any = None, *_args: Any, **_kwargs: Any) -> bool:
    return a is None


_CONDITIONS: dict[Condition, _OnlyIf] = {
    "always": None,
    "without_arguments": _without_arguments,
    "with_one_argument": _with_one_argument,
    "without_a_seed": _without_a_seed,
}


def _name_of(owner: Any) -> str:
    if owner is builtins or owner is io:
        return ""
    if isinstance(owner, types.ModuleType):
        return f"{owner.__name__}."
    module = owner.__module__.partition(".")[0]
    return f"{owner.__name__}." if module == owner.__name__ else f"{module}.{owner.__name__}."


def _guard(original: Any, words: str, instead: str, only_if: _OnlyIf) -> Any:
    running, guarded_loop = _running_loop, WorkflowLoop

    def without_arguments() -> Any:
        if running().__class__ is guarded_loop:
            check(words, instead)
        return original()

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if running().__class__ is guarded_loop and (only_if is None or only_if(*args, **kwargs)):
            check(words, instead)
        return original(*args, **kwargs)

    guard = without_arguments if words in _WITHOUT_ARGUMENTS else guarded
    return functools.update_wrapper(guard, original)


def _exchange_code(function: Any, words: str, instead: str, only_if: _OnlyIf) -> None:
    plain: Any = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    plain.__kwdefaults__ = function.__kwdefaults__
    plain.__qualname__ = function.__qualname__
    function.__wrapped__ = plain
    function.__code__ = _guarded_code.__code__
    function.__defaults__ = None
    function.__kwdefaults__ = {
        "_running": _running_loop,
        "_loop_class": WorkflowLoop,
        "_check": check,
        "_words": words,
        "_instead": instead,
        "_only_if": only_if,
        "_plain": plain,
    }


def _guarded_code(
    *args: Any,
    _running: Any,
    _loop_class: Any,
    _check: Any,
    _words: Any,
    _instead: Any,
    _only_if: Any,
    _plain: Any,
    **kwargs: Any,
) -> Any:
    if _running().__class__ is _loop_class and (_only_if is None or _only_if(*args, **kwargs)):
        _check(_words, _instead)
    return _plain(*args, **kwargs)


def _exchange_method(kind: type, name: str, words: str, instead: str) -> None:
    """Exchange a class method of a built-in type, whose names Python does not let a program set."""
    (names,) = gc.get_referents(kind.__dict__)
    original = names[name]

    def guarded(cls: type, *args: Any, **kwargs: Any) -> Any:
        if _running_loop().__class__ is WorkflowLoop:
            check(words, instead)
        return original.__get__(None, cls)(*args, **kwargs)

    guarded.__name__, guarded.__qualname__, guarded.__doc__ = name, f"{kind.__name__}.{name}", original.__doc__
    names[name] = classmethod(guarded)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))
