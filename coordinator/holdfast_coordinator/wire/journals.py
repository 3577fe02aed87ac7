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


def open_steps(rows: Iterable[JournalRow], before: dict[int, str]) -> dict[int, str]:
    """Steps without a result after these rows: number -> name, in the order in which they were scheduled.

    before: the open steps before these rows.
    """
    steps = dict(before)
    for row in rows:
        for entry in journal_pb2.JournalRow.FromString(join_entries(row.entries)).entries:
            kind = entry.WhichOneof("body")
            if kind == "step_scheduled":
                steps[entry.step_scheduled.number] = entry.step_scheduled.name
            elif kind in STEP_ENDS:
                steps.pop(getattr(entry, kind).number, None)
            elif kind == "mail_consumed" and entry.mail_consumed.mail.HasField("step_result"):
                steps.pop(entry.mail_consumed.mail.step_result.number, None)
    return steps
