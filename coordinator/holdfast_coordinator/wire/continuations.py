"""Makes the journal of a run that continues a closed one: what still holds is copied, what is to run again is left out.

The code replays the copy and asks anew for what is missing: the failed step, steps and children that were under way.
Results that came after the failure, of steps that were called before it or independently of it, are kept: they need no
attempt. Of steps that are to run again nothing is kept.
"""

from collections.abc import Collection, Iterable, Sequence, Set
from datetime import datetime

from holdfast.api.v1 import journal_pb2
from holdfast.api.v1.status_pb2 import RUN_STATUS_COMPLETED
from holdfast.journal.kinds import OF_CHILDREN, OF_STEPS, STEP_ENDS
from holdfast.wire import time_from
from holdfast_coordinator.domain.continuations import Continuation, CopiedRows, RewrittenRow
from holdfast_coordinator.domain.rows import JournalRow

from .entries import join_entries

Entry = journal_pb2.Entry


def continuation(rows: Iterable[JournalRow], origin_run_id: str, again: Collection[str] = ()) -> Continuation:
    """What a continuation of this closed run begins with.

    rows: its whole journal. again: the step ids of steps that run again, whatever came of them.
    """
    rows = list(rows)
    by_row = [list(journal_pb2.JournalRow.FromString(join_entries(row.entries)).entries) for row in rows]
    entries = [entry for of_row in by_row for entry in of_row]
    closing = entries[-1].run_closed
    undone = _numbers_of(entries, again)
    cut = min(_first_to_undo(entries, closing), _first_end(entries, undone))
    head, tail = entries[:cut], entries[cut:-1]
    called = _Calls(head, undone)
    is_kept = [True] * len(head) + [called.is_still_good(entry) for entry in tail] + [False]
    missing = called.unfinished_after([entry for entry, kept in zip(entries, is_kept, strict=True) if kept])
    is_kept = [kept and not missing.concerns(entry) for entry, kept in zip(entries, is_kept, strict=True)]
    journal = [entry for entry, kept in zip(entries, is_kept, strict=True) if kept]
    if journal:
        begun = journal[0].run_started
        begun.origin_run_id = origin_run_id
        # Random numbers and idempotency keys of kept steps stay what they were, also in the continuation of one. What
        # is asked to run again must not be answered by what its idempotency key has done before.
        begun.seed = "" if undone else begun.seed or origin_run_id
    mail_numbers = [entry.mail_consumed.number for entry in journal if entry.HasField("mail_consumed")]
    return Continuation(
        parts=_parts(rows, by_row, is_kept),
        timers=_open_timers(journal),
        signals=[
            entry.mail_undelivered.mail.SerializeToString()
            for entry in entries
            if entry.HasField("mail_undelivered") and entry.mail_undelivered.mail.HasField("signal")
        ],
        published={
            entry.published.key: entry.published.value.SerializeToString()
            for entry in journal
            if entry.HasField("published")
        },
        mail_taken=max(mail_numbers, default=0),
        runs_again=len(undone),
    )


def _numbers_of(entries: Sequence[Entry], step_ids: Collection[str]) -> set[int]:
    """The numbers under which these steps were called or skipped."""
    wanted = set(step_ids)
    found = {entry.step_scheduled.number for entry in entries if entry.step_scheduled.step_id in wanted}
    return (found | {entry.step_skipped.number for entry in entries if entry.step_skipped.step_id in wanted}) - {0}


def _first_end(entries: Sequence[Entry], numbers: Collection[int]) -> int:
    """The place of the first entry that ends one of these steps, or leaves it out."""
    for place, entry in enumerate(entries):
        kind = entry.WhichOneof("body") or ""
        if kind == "step_skipped" or kind in STEP_ENDS:
            if getattr(entry, kind).number in numbers:
                return place
        elif kind == "mail_consumed" and entry.mail_consumed.mail.step_result.number in numbers:
            return place
    return len(entries) - 1


def _first_to_undo(entries: Sequence[Entry], closing: journal_pb2.RunClosed) -> int:
    """The place of the first entry that must not be replayed: the failure that closed the run, or its cancel."""
    step = closing.failure.step.number if closing.failure.HasField("step") else 0
    child = closing.failure.child_run_id
    for place, entry in enumerate(entries):
        kind = entry.WhichOneof("body")
        if kind == "step_failed" and entry.step_failed.number == step:
            return place
        if kind == "mail_consumed":
            mail = entry.mail_consumed.mail
            if mail.HasField("cancel"):
                return place
            if mail.HasField("step_result") and mail.step_result.number == step:
                return place
            if child and mail.HasField("child_closed") and mail.child_closed.run_id == child:
                return place
    return len(entries) - 1


class _Missing:
    """Steps and children whose entries are left out."""

    def __init__(self, steps: set[int], children: set[int]) -> None:
        self._steps = steps
        self._children = children

    def concerns(self, entry: Entry) -> bool:
        kind = entry.WhichOneof("body") or ""
        if kind in OF_STEPS:
            return getattr(entry, kind).number in self._steps
        if kind in OF_CHILDREN:
            return getattr(entry, kind).number in self._children
        match kind:
            case "mail_consumed":
                return entry.mail_consumed.mail.retry_due.number in self._steps
            case "run_stalled" | "run_resumed" | "mail_undelivered":
                return True  # mail that was not delivered comes anew, or its cause does
            case _:
                return False


class _Calls:
    """What the code had called by some place of the journal, and which of it had ended. undone: what runs again."""

    def __init__(self, head: Sequence[Entry], undone: Set[int]) -> None:
        self._undone = undone
        self._steps = {entry.step_scheduled.number for entry in head if entry.HasField("step_scheduled")}
        self._children = {entry.child_started.number for entry in head if entry.HasField("child_started")}
        self._timers = {entry.timer_set.number for entry in head if entry.HasField("timer_set")}
        self._ended_steps: set[int] = set()
        self._ended_children: set[int] = set()
        self._note_ends(head)

    def is_still_good(self, entry: Entry) -> bool:
        """True for what arrived after the failure for something that was called before it, or independently of it."""
        if entry.HasField("step_scheduled") and entry.step_scheduled.independent:
            self._steps.add(entry.step_scheduled.number)
            return True
        if entry.HasField("step_completed"):
            return entry.step_completed.number in self._steps - self._undone
        if not entry.HasField("mail_consumed"):
            return False
        mail = entry.mail_consumed.mail
        match mail.WhichOneof("body"):
            case "signal":
                return True
            case "timer":
                return mail.timer.number in self._timers
            case "step_result":
                return mail.step_result.HasField("result") and mail.step_result.number in self._steps - self._undone
            case "child_closed":
                completed = mail.child_closed.status == RUN_STATUS_COMPLETED
                return completed and mail.child_closed.number in self._children
            case _:
                return False

    def unfinished_after(self, kept: Sequence[Entry]) -> _Missing:
        """What had no end by then, and has none in what is kept."""
        self._note_ends(kept)
        return _Missing(self._steps - self._ended_steps, self._children - self._ended_children)

    def _note_ends(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            kind = entry.WhichOneof("body")
            if kind in STEP_ENDS:
                self._ended_steps.add(getattr(entry, kind).number)
            elif kind == "mail_consumed":
                mail = entry.mail_consumed.mail
                if mail.HasField("step_result"):
                    self._ended_steps.add(mail.step_result.number)
                elif mail.HasField("child_closed"):
                    self._ended_children.add(mail.child_closed.number)
            elif kind == "child_cancelled":
                self._ended_children.add(entry.child_cancelled.number)


def _open_timers(journal: Sequence[Entry]) -> list[tuple[int, datetime]]:
    """Timers that are set and neither fired nor cancelled, with the time at which they were due."""
    timers: dict[int, datetime] = {}
    for entry in journal:
        if entry.HasField("timer_set"):
            timer = entry.timer_set
            due_at = time_from(timer.until) if timer.HasField("until") else time_from(entry.at)
            timers[timer.number] = due_at + timer.delay.ToTimedelta() if timer.HasField("delay") else due_at
        elif entry.HasField("timer_cancelled"):
            timers.pop(entry.timer_cancelled.number, None)
        elif entry.HasField("mail_consumed"):
            timers.pop(entry.mail_consumed.mail.timer.number, None)
    return list(timers.items())


def _parts(
    rows: Sequence[JournalRow], by_row: Sequence[Sequence[Entry]], is_kept: Sequence[bool]
) -> list[RewrittenRow | CopiedRows]:
    """Rows that are kept whole are copied where they are; of others, and of the first, what is kept is written anew."""
    parts: list[RewrittenRow | CopiedRows] = []
    length = place = 0
    for row, entries in zip(rows, by_row, strict=True):
        kept = [entry for entry, stays in zip(entries, is_kept[place : place + len(entries)], strict=True) if stays]
        place += len(entries)
        if not kept:
            continue
        length += len(kept)
        shift = row.seq - length
        if len(kept) < len(entries) or not parts:
            framed = journal_pb2.JournalRow(entries=kept).SerializeToString()
            parts.append(RewrittenRow(framed, len(kept)))
        elif isinstance(parts[-1], CopiedRows) and parts[-1].shift == shift:
            parts[-1].last, parts[-1].rows, parts[-1].count = row.seq, parts[-1].rows + 1, parts[-1].count + len(kept)
        else:
            parts.append(CopiedRows(row.seq, row.seq, shift, 1, len(kept)))
    return parts
