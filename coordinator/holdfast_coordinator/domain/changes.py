"""The difference that a batch makes: one collection per table, written with one statement each."""

from dataclasses import dataclass, field

from .mail import MailMove, MailRow
from .rows import (
    AlarmKind,
    AlarmRow,
    ChildRow,
    DeadLetter,
    JournalCopy,
    JournalRow,
    KeyRow,
    OpenRun,
    ProgressRow,
    PublishedRow,
    RequestRow,
    RunResult,
    RunRow,
    Side,
    TaskRow,
    TaskState,
    TraceMark,
)


@dataclass(slots=True)
class Changes:
    """Rows to insert, update and delete. Keys of dicts are primary keys; a later change of a row replaces it."""

    runs: list[RunRow] = field(default_factory=list)
    """Insert into runs."""
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    """Update runs: these facts are put over the metadata of each, of which what it was at the start is kept."""
    keys: list[KeyRow] = field(default_factory=list)
    """Point these keys, which the batch has reserved or locked, to another run."""
    joins: list[KeyRow] = field(default_factory=list)
    """Insert into run_keys: starts that joined a run, for their repeats."""
    keys_released: list[KeyRow] = field(default_factory=list)
    """Delete these keys, which the batch has reserved, where they still name that run: the start was refused."""
    opened: dict[str, OpenRun] = field(default_factory=dict)
    """Insert into open_runs."""
    updated: dict[str, OpenRun] = field(default_factory=dict)
    """Update open_runs: all that can change."""
    closed: dict[str, RunResult] = field(default_factory=dict)
    """Insert into run_results and delete from open_runs."""
    swept: dict[str, Side] = field(default_factory=dict)
    """Of these closed runs delete all mail and what else `Side` says: alarms, tasks, children, progress.

    Swept before anything else is written, and what this batch has changed of these is not written (queued steps that it
    added are not among its changes); alarms of the outbox kinds (AlarmKind.OUTBOX_CHILD and above) stay.
    """
    requests_of: dict[str, str] = field(default_factory=dict)
    """Of closed runs that are in a chain: the run under which the answers to requests of the chain are kept."""
    journal: list[JournalRow] = field(default_factory=list)
    """Insert into journal."""
    journal_copied: list[JournalCopy] = field(default_factory=list)
    """Insert into journal, from rows that are there."""
    mail_added: list[MailRow] = field(default_factory=list)
    """Insert into mail. A row that is added and taken in one batch stands only in the journal."""
    mail_moved: list[MailMove] = field(default_factory=list)
    """Insert into mail, with the bodies of mail of runs that close here. Before that is swept."""
    mail_taken: list[tuple[str, int]] = field(default_factory=list)
    """Delete from mail: (run id, number)."""
    alarms_set: dict[tuple[str, AlarmKind, int], AlarmRow] = field(default_factory=dict)
    """Insert into alarms, or replace."""
    alarms_cleared: set[tuple[str, AlarmKind, int]] = field(default_factory=set)
    """Delete from alarms; each was read by this batch, so each must be there."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    """Insert into dead_letters."""
    tasks_added: dict[tuple[str, int], TaskRow] = field(default_factory=dict)
    """Insert into step_tasks."""
    tasks_updated: dict[tuple[str, int], TaskRow] = field(default_factory=dict)
    """Update step_tasks: all that can change."""
    tasks_deleted: set[tuple[str, int]] = field(default_factory=set)
    """Delete from step_tasks."""
    children_added: list[ChildRow] = field(default_factory=list)
    """Insert into children."""
    children_closed: set[tuple[str, int]] = field(default_factory=set)
    """Update children: closed."""
    progress: dict[tuple[str, int], ProgressRow] = field(default_factory=dict)
    """Insert into step_progress, or replace."""
    published: dict[tuple[str, str], PublishedRow] = field(default_factory=dict)
    """Insert into published, or replace."""
    requests: list[RequestRow] = field(default_factory=list)
    """Insert into requests."""
    traces_closed: list[TraceMark] = field(default_factory=list)
    """Insert into trace_marks, or say there that the run has closed; how far it was exported stays."""

    @property
    def has_times_to_come(self) -> bool:
        """True when a time is written that the database compares with its clock later on.

        It must be by that clock, and not by an estimate: alarms, deadlines, steps that wait for a claim. The deadline
        of a queued attempt need not: it is looked at a whole TTL later, which no estimate is wrong by.
        """
        return (
            bool(self.alarms_set)
            or any(run.attempt_deadline_at is not None for run in self.updated.values())
            or any(
                task.state is TaskState.READY
                for tasks in (self.tasks_added, self.tasks_updated)
                for task in tasks.values()
            )
        )

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to write."""
        return not any(getattr(self, name) for name in self.__slots__)
