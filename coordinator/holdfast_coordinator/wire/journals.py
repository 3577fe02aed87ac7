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


def last_open_step(rows: Iterable[JournalRow], ended: set[int]) -> str | None:
    """The name of the step that was scheduled last of those without a result; None when these rows show none.

    rows: from the end of a journal backward. ended: the steps that have ended in later rows; those of these rows are
    added, so that rows before them can be looked at next.
    """
    for row in rows:
        for entry in reversed(journal_pb2.JournalRow.FromString(join_entries(row.entries)).entries):
            kind = entry.WhichOneof("body")
            if kind == "step_scheduled":
                if entry.step_scheduled.number not in ended:
                    return entry.step_scheduled.name
            elif kind in STEP_ENDS:
                ended.add(getattr(entry, kind).number)
            elif kind == "mail_consumed" and entry.mail_consumed.mail.HasField("step_result"):
                ended.add(entry.mail_consumed.mail.step_result.number)
    return None
