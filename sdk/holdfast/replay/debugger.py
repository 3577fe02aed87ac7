"""A debugger in the frames of workflow code that waits: it looks at real values, and goes on by entries."""

import pdb
from types import FrameType, TracebackType
from typing import Any

from holdfast.replay.places import CodePlace
from holdfast.replay.replaying import HistoryReplay, ReplayMismatch


class _CodeDebugger(pdb.Pdb):
    """pdb, whose stack is that of a coroutine and what it awaits. wanted: the entry to go on to; None: nowhere."""

    def __init__(self, replay: HistoryReplay, place: CodePlace) -> None:
        super().__init__(nosigint=True)
        self.prompt = "(replay) "
        self.wanted: int | None = None
        self._replay = replay
        self._place = place

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        """The frames of the code, outermost first; the innermost is where it waits."""
        frames = list(self._place.frames)
        return frames, len(frames) - 1

    def _go_to(self, entry: int) -> bool:
        self.wanted = entry
        return True

    def do_next(self, arg: str) -> bool:
        """n(ext): feed the next entry, and stop again."""
        return self._go_to(self._replay.fed + 1)

    def do_continue(self, arg: str) -> bool:
        """c(ont(inue)): feed the rest, and stop where the code differs."""
        return self._go_to(len(self._replay.stored.entries))

    def do_entry(self, arg: str) -> bool | None:
        """entry NUMBER: feed the entries up to this one, and stop again."""
        if not arg.isdecimal() or int(arg) <= self._replay.fed:
            self.error(f"entry takes a number above {self._replay.fed}; entries are not taken back")
            return None
        return self._go_to(int(arg))

    def do_quit(self, arg: str) -> bool:
        """q(uit): leave the debugger."""
        self.wanted = None
        return True

    do_n = do_s = do_step = do_next
    do_c = do_cont = do_continue
    do_q = do_exit = do_EOF = do_quit


def debug(replay: HistoryReplay, where: str, place: CodePlace | None = None) -> None:
    """Stops in the code of a replay; returns when the user leaves, or the code has ended.

    where: the code is, in words. place: it; else that where the code waits. Raises ReplayMismatch when the user goes on
    to where the code differs, after it was stopped there too.
    """
    mismatch: ReplayMismatch | None = None
    while True:
        place = place or replay.place()
        if place is None or not place.frames:
            print(f"the code has ended, {where}")
            break
        print(f"the code waits, {where}; n feeds the next entry, `entry NUMBER` more of them, u and d change the frame")
        debugger = _CodeDebugger(replay, place)
        frame: Any = place.frames[-1][0]
        debugger.interaction(frame, None)
        if debugger.wanted is None or mismatch is not None:
            break
        place = None
        try:
            replay.feed(min(debugger.wanted, len(replay.stored.entries)))
        except ReplayMismatch as found:
            mismatch = found
            print(found)
            place, where = found.code_place, f"where it differs, at entry {found.entry}"
            continue
        where = f"after entry {replay.fed} of {len(replay.stored.entries)}"
        if replay.fed == len(replay.stored.entries) and replay.place() is None:
            print(f"the code has ended, {where}")
            break
    if mismatch is not None:
        raise mismatch
