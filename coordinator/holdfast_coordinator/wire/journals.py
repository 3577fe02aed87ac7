"""Reads the journal where the coordinator itself must look into it: for descriptions and for spans."""

from collections.abc import Iterable

from holdfast.api.v1 import journal_pb2
from holdfast.journal.kinds import STEP_ENDS
from holdfast_coordinator.domain.rows import JournalRow

from .entries import join_entries


def journal_message(row: JournalRow) -> journal_pb2.JournalRow:
    """A journal row as its message."""
    message = journal_pb2.JournalRow.FromString(join_entries(row.entries))
    message.seq = row.seq
    message.epoch = row.epoch
    return message


class StepsSeen:
    """What the end of a journal shows of the steps of its run. It is fed with rows from the last one backward.

    Where steps follow one another, as in a pipeline, that is all there is to know.
    """

    def __init__(self) -> None:
        self._ended: set[int] = set()
        self._open: tuple[int, str] | None = None
        self._passed: int | None = None

    def look(self, rows: Iterable[JournalRow]) -> bool:
        """True when what is before these rows adds nothing."""
        for row in rows:
            for entry in reversed(journal_pb2.JournalRow.FromString(join_entries(row.entries)).entries):
                if self._see(entry):
                    return True
        return False

    @property
    def open_step(self) -> str:
        """The name of the step that was scheduled last of those without a result; "" when no row shows one."""
        return "" if self._open is None else self._open[1]

    @property
    def progress(self) -> int | None:
        """The index of that step, from 0; when none is open, how many are behind the code. None: no row shows it."""
        return self._passed if self._open is None else self._open[0] - 1

    def _see(self, entry: journal_pb2.Entry) -> bool:
        kind = entry.WhichOneof("body")
        if kind == "step_scheduled":
            number = entry.step_scheduled.number
            if number not in self._ended:
                self._open = number, entry.step_scheduled.name
                return True
        elif kind in STEP_ENDS:
            # A step that was cancelled is one that the code did not come past.
            self._end(number := getattr(entry, kind).number, number - (kind == "step_cancelled"))
        elif kind == "mail_consumed" and entry.mail_consumed.mail.HasField("step_result"):
            self._end(number := entry.mail_consumed.mail.step_result.number, number)
        elif kind == "run_started" and self._passed is None:
            self._passed = 0
        return False

    def _end(self, number: int, passed: int) -> None:
        self._ended.add(number)
        self._passed = max(passed, self._passed or 0)
