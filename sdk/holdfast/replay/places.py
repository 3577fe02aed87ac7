"""Where workflow code is: the frames of its coroutines, outermost first. Reads frames and runs nothing."""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from holdfast.definitions.functions import DEFINED_AT, innermost

_OWN = os.path.dirname(os.path.dirname(__file__)) + os.sep
_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep


@dataclass(slots=True, frozen=True)
class CodePlace:
    """A line of the user's code. frames: that are entered there, outermost first, each with its line."""

    path: str
    line: int
    frames: tuple[tuple[FrameType, int], ...] = ()

    @property
    def text(self) -> str:
        """As editors and terminals read it: "shop/flows.py:31", relative where it is below the current directory."""
        try:
            relative = os.path.relpath(self.path)
        except ValueError:  # on another drive
            relative = self.path
        return f"{self.path if relative.startswith('..') else relative}:{self.line}"


def place_of_code(
    tasks: "Iterable[asyncio.Task[Any]]",
    asked: object,
    error: BaseException | None = None,
    function: Callable[..., Any] | None = None,
) -> CodePlace | None:
    """Where the code asked for something, or where it waits.

    tasks: of the code, in the order of their creation. asked: what it waits for in the task that is meant; None: in
    the first one. error: raised by what the code called; its frames say it best. function: the last resort.
    """
    raised = list(_users(_frames_of_error(error))) if error is not None else []
    if raised:
        return _place(raised)
    waiting = [(task, frames) for task in tasks if (frames := list(_users(_frames_of(task.get_coro()))))]
    for task, frames in waiting:
        if asked is not None and _waits_for(task, asked):
            return _place(frames)
    if waiting and (asked is None or getattr(asked, "kind", "") != "close"):
        return _place(waiting[0][1])
    return None if function is None else _place_of_function(function)


def _place(frames: list[tuple[FrameType, int]]) -> CodePlace:
    frame, line = frames[-1]
    return CodePlace(frame.f_code.co_filename, line, tuple(frames))


def _place_of_function(function: Callable[..., Any]) -> CodePlace | None:
    inner = innermost(function)
    said = getattr(inner, DEFINED_AT, None)
    if said is not None:
        return CodePlace(*said)
    code = getattr(inner, "__code__", None)
    return None if code is None else CodePlace(code.co_filename, code.co_firstlineno)


def _waits_for(task: "asyncio.Task[Any]", asked: object) -> bool:
    waiter = getattr(task, "_fut_waiter", None)
    # A timer of asyncio's own holds the future that it resolves among the arguments of its callback.
    return waiter is not None and (waiter is asked or waiter in (getattr(asked, "_args", None) or ()))


def _frames_of(coroutine: Any) -> Iterator[tuple[FrameType, int]]:
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        frame = frame or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame, frame.f_lineno
        coroutine = (
            getattr(coroutine, "cr_await", None)
            or getattr(coroutine, "ag_await", None)
            or getattr(coroutine, "gi_yieldfrom", None)
        )


def _frames_of_error(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def _users(frames: Iterable[tuple[FrameType, int]]) -> Iterator[tuple[FrameType, int]]:
    """Those that belong to neither this package nor asyncio: the engine's are of no use to anybody."""
    for frame, line in frames:
        path = frame.f_code.co_filename
        if not path.startswith((_OWN, _ASYNCIO)):
            yield frame, line
