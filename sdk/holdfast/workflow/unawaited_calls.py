"""Notices what workflow code has called and thrown away without awaiting it.

CPython reports such a coroutine at the moment in which the last reference to it goes, which is the same moment in
every replay. What only the garbage collector finds is left alone: that comes at any time.
"""

import asyncio
import inspect
import os
import sys
import warnings
from asyncio import events
from collections.abc import Callable, Coroutine, Mapping
from types import CodeType, CoroutineType, FrameType
from typing import Any

from holdfast.errors import NotAwaited

CallPlace = tuple[CodeType, int]
"""Where a call stands: the code, and the offset in it. A line is made of it only when it is shown."""

calls: set[CodeType] = set()
"""The coroutines that stand for calls of steps and children: they have `definition` and `place` among their names."""


def _no_frames(_: Any) -> list[FrameType]:
    return []


frames_beside: Callable[[Any], list[FrameType]] = _no_frames
"""The frames of plain code that a coroutine runs on a stack of its own; whoever makes such stacks sets this."""

_OWN = os.path.dirname(os.path.dirname(__file__)) + os.sep
_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep


def place_of(frame: FrameType) -> CallPlace:
    """Where this frame is now."""
    return frame.f_code, frame.f_lasti


def not_awaited(coroutine: Any, *, can_await: bool = True) -> NotAwaited:
    """The error that says which call was not awaited, and where. The coroutine has not been started.

    can_await: the code of the run is `async`.
    """
    frame: FrameType | None = coroutine.cr_frame
    names = frame.f_locals if frame is not None and coroutine.cr_code in calls else {}
    definition, place = names.get("definition"), names.get("place")
    name = definition.name if definition is not None else coroutine.__qualname__.rpartition(".<locals>.")[2]
    code, offset = place or place_of(_users(sys._getframe(1)))
    return NotAwaited(name, filename=code.co_filename, line=_line(code, offset), can_await=can_await)


def close_unawaited(coroutine: Coroutine[Any, Any, Any]) -> NotAwaited:
    """Close a call that stands where its result was meant. Returns the error that says so."""
    error = not_awaited(coroutine)
    coroutine.close()
    return error


def unawaited_among(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NotAwaited | None:
    """The error that explains why these arguments cannot be encoded, where one is a call."""
    for value in (*args, *kwargs.values()):
        if asyncio.iscoroutine(value):
            return close_unawaited(value)
    return None


def held_by(coroutine: Any) -> list[Any]:
    """The calls that this coroutine throws away if it goes no further: its code holds them, not awaited."""
    found: list[Any] = []
    looked_at: list[Any] = []
    while coroutine is not None:
        frame: FrameType | None = getattr(coroutine, "cr_frame", None)
        if frame is not None:
            for one in (frame, *frames_beside(coroutine)):
                free = one.f_code.co_freevars
                looked_at += [value for name, value in one.f_locals.items() if name not in free]
        coroutine = getattr(coroutine, "cr_await", None)
    while looked_at:
        value = looked_at.pop()
        if isinstance(value, CoroutineType):
            if inspect.getcoroutinestate(value) == inspect.CORO_CREATED and value.cr_frame is not None:
                found.append(value)
                looked_at += value.cr_frame.f_locals.values()
        elif isinstance(value, (list, tuple, set)):
            looked_at += [one for one in value if isinstance(one, (CoroutineType, list, tuple))]
        elif isinstance(value, dict):
            looked_at += [one for one in value.values() if isinstance(one, CoroutineType)]
    return found


def report_to_loops() -> None:
    """Give a workflow loop the coroutines that are thrown away in it, in place of Python's warning.

    Its `thrown_away(coroutine)` answers whether there is nothing more to say. Elsewhere Python warns as before.
    """
    warn: Callable[[Any], None] | None = getattr(warnings, "_warn_unawaited_coroutine", None)
    if warn is None:
        return
    references: list[int] = []

    def noticed(coroutine: Any) -> None:
        count = sys.getrefcount(coroutine)
        if not references:
            references.append(count)
            return
        note = getattr(events._get_running_loop(), "thrown_away", None)
        # More references than the caller's: it is part of a cycle that the garbage collector has found.
        if (note is None or count > references[0] or not note(coroutine)) and not _is_of_a_run_that_is_over(coroutine):
            warn(coroutine)

    async def sample() -> None: ...

    warnings._warn_unawaited_coroutine = noticed  # type: ignore[attr-defined]
    sample()  # type: ignore[unused-coroutine]


def _is_of_a_run_that_is_over(coroutine: Any) -> bool:
    return coroutine.cr_code in calls and coroutine.cr_frame.f_locals["self"].is_over


def _users(frame: FrameType) -> FrameType:
    """The innermost frame that is the user's."""
    found: FrameType | None = frame
    while found is not None and found.f_code.co_filename.startswith((_OWN, _ASYNCIO)):
        found = found.f_back
    return found or frame


def _line(code: CodeType, offset: int) -> int:
    for first, end, line in code.co_lines():
        if line is not None and first <= offset < end:
            return line
    return code.co_firstlineno
