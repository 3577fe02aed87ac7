"""The invariants of docs/ARCHITECTURE.md as named checkers: pure functions over the rows of one cell.

Used after every step of the random tests of the core, and by end-to-end tests on rows read from Postgres. Each yields a
sentence per violation. They never change what they are given.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.api.v1 import journal_pb2
from holdfast.ids import successor_run_id
from holdfast.journal import RunClosed
from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.mail import MailRow
from holdfast_coordinator.domain.rows import (
    AlarmKind,
    AlarmRow,
    ChildRow,
    JournalRow,
    KeyRow,
    MailConsumedEntry,
    MailUndeliveredEntry,
    OpenRun,
    RunResult,
    RunRow,
    RunState,
    TaskRow,
    TaskState,
)
from holdfast_coordinator.domain.states import RUN_FIELDS, TASK_FIELDS, Holding


@dataclass(slots=True)
class CellRows:
    """All rows of a cell. Journals in order of `seq`, mail in order of `number`; both by run id."""

    runs: Mapping[str, RunRow] = field(default_factory=dict)
    open_runs: Mapping[str, OpenRun] = field(default_factory=dict)
    results: Sequence[RunResult] = ()
    journals: Mapping[str, Sequence[JournalRow]] = field(default_factory=dict)
    mail: Mapping[str, Sequence[MailRow]] = field(default_factory=dict)
    alarms: Mapping[tuple[str, AlarmKind, int], AlarmRow] = field(default_factory=dict)
    tasks: Mapping[tuple[str, int], TaskRow] = field(default_factory=dict)
    children: Mapping[tuple[str, int], ChildRow] = field(default_factory=dict)
    keys: Mapping[tuple[str, str, str], KeyRow] = field(default_factory=dict)


Checker = Callable[[CellRows], Iterator[str]]
StepChecker = Callable[[CellRows, CellRows], Iterator[str]]


def check(rows: CellRows) -> None:
    """Fails with every violation there is in the rows."""
    broken = [f"{checker.__name__}: {text}" for checker in CHECKERS for text in checker(rows)]
    assert not broken, "\n".join(broken)


def check_step(before: CellRows, after: CellRows) -> None:
    """Fails with every violation there is in the way from one state of the rows to a later one."""
    broken = [f"{checker.__name__}: {text}" for checker in STEP_CHECKERS for text in checker(before, after)]
    assert not broken, "\n".join(broken)


# What holds at any time


def journals_are_dense(rows: CellRows) -> Iterator[str]:
    """Entry numbers are 1..n without gaps, and an open run knows its n."""
    for run_id, journal in rows.journals.items():
        expected = 0
        for row in journal:
            expected += row.count
            if row.count < 1 or row.seq != expected:
                yield f"{run_id}: a row of {row.count} entries ends at {row.seq}, not at {expected}"
        run = rows.open_runs.get(run_id)
        if run is not None and run.length != expected:
            yield f"{run_id}: is {run.length} entries long, its journal has {expected}"
    for run_id in rows.runs.keys() - rows.journals.keys():
        yield f"{run_id}: has no journal"


def transitions_are_recorded_once(rows: CellRows) -> Iterator[str]:
    """A repeat of a transition leaves no second journal row."""
    for run_id, journal in rows.journals.items():
        ids = Counter((row.epoch, row.transition_id) for row in journal if row.transition_id)
        for (epoch, transition_id), count in ids.items():
            if count > 1:
                yield f"{run_id}: transition {transition_id} of epoch {epoch} is there {count} times"


def runs_are_open_or_closed(rows: CellRows) -> Iterator[str]:
    """Every run is open or has exactly one result, never both; nothing else is open or has a result."""
    results = Counter(result.run_id for result in rows.results)
    for run_id in rows.runs.keys() | rows.open_runs.keys() | results.keys():
        if run_id not in rows.runs:
            yield f"{run_id}: is open or closed, but was never started"
        if results[run_id] + (run_id in rows.open_runs) != 1:
            yield f"{run_id}: open {run_id in rows.open_runs}, {results[run_id]} results"


def closed_journals_end_with_the_close(rows: CellRows) -> Iterator[str]:
    """RunClosed is the last entry of a closed run, and of no other."""
    closed = {result.run_id for result in rows.results}
    for run_id, journal in rows.journals.items():
        kinds = [kind for row in journal for kind, _ in _entries(row)]
        closes = kinds.count("run_closed")
        if closes != (run_id in closed) or (closes and kinds[-1] != "run_closed"):
            yield f"{run_id}: closed {run_id in closed}, {closes} RunClosed entries, the last entry is {kinds[-1:]}"


def open_runs_are_in_one_place(rows: CellRows) -> Iterator[str]:
    """Ready, leased, suspended with something that will wake it, paused, or stalled with a reason."""
    for run_id, run in rows.open_runs.items():
        yield from _held(run_id, run, RUN_FIELDS)
        if run.state is RunState.SUSPENDED:
            yield from _sleeping(rows, run)


def _held(name: object, row: OpenRun | TaskRow, fields: Mapping[str, Holding[Any]]) -> Iterator[str]:
    """A row has what its state has, and nothing else."""
    for column, held in fields.items():
        value = getattr(row, column)
        if (value is None and held.always and row.state in held.states) or (
            value is not None and row.state not in held.states
        ):
            yield f"{name}: {row.state.name} with {column} {value}"


def _sleeping(rows: CellRows, run: OpenRun) -> Iterator[str]:
    if run.epoch == 0:
        if (run.run_id, AlarmKind.START, 0) not in rows.alarms:
            yield f"{run.run_id}: waits for its start without an alarm"
    elif rows.mail.get(run.run_id):
        yield f"{run.run_id}: sleeps although it has mail"
    elif not run.waits:
        yield f"{run.run_id}: waits for nothing"


def mail_is_taken_once_and_in_order(rows: CellRows) -> Iterator[str]:
    """Mail in the journal is numbered 1..k in its order, mail that waits goes on from there.

    Of a run that has continued as new some is missing, which the run that goes on has.
    """
    for run_id, journal in rows.journals.items():
        taken = [number for row in journal for _, number in _entries(row) if number]
        waiting = [mail.number for mail in rows.mail.get(run_id, ())]
        numbers = [*taken, *waiting]
        if _has_gone_on(rows, run_id):  # the run that goes on has what is missing here
            if numbers != sorted(set(numbers)):
                yield f"{run_id}: mail {taken} in the journal is not in order"
        elif numbers != list(range(1, len(numbers) + 1)):
            yield f"{run_id}: mail {taken} in the journal, {waiting} waits"
        run = rows.open_runs.get(run_id)
        if run is not None and (run.mail_taken, run.mail_next) != (len(taken), len(taken) + len(waiting) + 1):
            yield f"{run_id}: has taken {run.mail_taken} and numbers {run.mail_next} next; {taken}, {waiting}"


def rows_of_runs_belong_to_open_runs(rows: CellRows) -> Iterator[str]:
    """Alarms (but deliveries to other runs), mail, queued steps and children end with their run."""
    alarms = {key for key in rows.alarms if key[1] < AlarmKind.OUTBOX_CHILD}
    for key in (
        *alarms,
        *rows.tasks,
        *rows.children,
        *((run_id, "mail") for run_id, mail in rows.mail.items() if mail),
    ):
        if key[0] not in rows.open_runs:
            yield f"{key} belongs to a run that is not open"


def queued_attempts_are_counted(rows: CellRows) -> Iterator[str]:
    """A claimed step has an owner and a start; every earlier attempt is kept; losses stay within the recoveries."""
    for key, task in rows.tasks.items():
        claimed = task.state is TaskState.CLAIMED
        yield from _held(key, task, TASK_FIELDS)
        if len(task.attempts_ended) != task.attempt - claimed:
            yield f"{key}: {task.state.name} in attempt {task.attempt}, {len(task.attempts_ended)} have ended"
        if task.recoveries is not None and task.losses > task.recoveries:
            yield f"{key}: was lost {task.losses} times, {task.recoveries} are allowed"


def ids_name_one_open_run(rows: CellRows) -> Iterator[str]:
    """An id has at most one open run and stands for it; every key stands for a run of its namespace."""
    named = [record for run_id, record in rows.runs.items() if run_id in rows.open_runs and record.id is not None]
    for name, count in Counter((record.namespace, "id", record.id) for record in named).items():
        if count > 1:
            yield f"{name} has {count} open runs"
    for record in named:
        key = rows.keys.get((record.namespace, "id", record.id or ""))
        if key is None or key.run_id != record.run_id:
            yield f"{record.run_id}: its id {record.id} stands for {key}"
    for name, key in rows.keys.items():
        holder = rows.runs.get(key.run_id)
        if holder is None or holder.namespace != key.namespace:
            yield f"{name} stands for {key.run_id}, which is not there"


def attempts_are_watched(rows: CellRows) -> Iterator[str]:
    """The alarm of a leased run is due no later than the deadline of its attempts."""
    for run_id, run in rows.open_runs.items():
        if run.attempt_deadline_at is not None:
            alarm = rows.alarms.get((run_id, AlarmKind.ATTEMPT_DEADLINE, 0))
            if alarm is None or alarm.due_at > run.attempt_deadline_at:
                yield f"{run_id}: attempts end at {run.attempt_deadline_at}, the alarm is {alarm}"


def parents_will_hear_of_their_children(rows: CellRows) -> Iterator[str]:
    """A child that its parent awaits is open, about to be started, or about to be told of."""
    for (run_id, number), child in rows.children.items():
        promised = (run_id, AlarmKind.OUTBOX_CHILD, number) in rows.alarms or any(
            one in rows.open_runs or (one, AlarmKind.OUTBOX_CHILD_CLOSED, 0) in rows.alarms
            for one, record in rows.runs.items()
            if child.child_run_id in (one, record.chain_run_id)
        )
        if not child.closed and not promised:
            yield f"{run_id}: nobody will tell of child {number}, {child.child_run_id}"


def chains_go_on(rows: CellRows) -> Iterator[str]:
    """A run that has continued as new has one run that goes on, of its chain, workflow, id, parent and deadline."""
    for result in rows.results:
        if result.status is not RunStatus.CONTINUED_AS_NEW:
            continue
        before, after = rows.runs[result.run_id], rows.runs.get(successor_run_id(result.run_id))
        if after is None:
            yield f"{result.run_id}: nothing goes on"
        elif _of_chain(before) != _of_chain(after):
            yield f"{result.run_id}: {_of_chain(before)} goes on as {_of_chain(after)}"


def _of_chain(record: RunRow) -> tuple[object, ...]:
    return (
        record.chain_run_id or record.run_id, record.namespace, record.workflow, record.queue, record.id, record.depth,
        record.parent_run_id, record.parent_number, record.deadline_at,
    )  # fmt: skip


def _has_gone_on(rows: CellRows, run_id: str) -> bool:
    return successor_run_id(run_id) in rows.runs


def namespaces_are_apart(rows: CellRows) -> Iterator[str]:
    """All rows of a run are in the namespace of the run."""
    named: list[OpenRun | RunResult | TaskRow] = [*rows.open_runs.values(), *rows.results, *rows.tasks.values()]
    for row in named:
        record = rows.runs.get(row.run_id)
        if record is not None and record.namespace != row.namespace:
            yield f"{row.run_id}: of {record.namespace}, but {type(row).__name__} of {row.namespace}"


CHECKERS: tuple[Checker, ...] = (
    journals_are_dense,
    transitions_are_recorded_once,
    runs_are_open_or_closed,
    closed_journals_end_with_the_close,
    open_runs_are_in_one_place,
    mail_is_taken_once_and_in_order,
    rows_of_runs_belong_to_open_runs,
    queued_attempts_are_counted,
    ids_name_one_open_run,
    attempts_are_watched,
    parents_will_hear_of_their_children,
    chains_go_on,
    namespaces_are_apart,
)


# What holds from one time to a later one


def closed_runs_never_change(before: CellRows, after: CellRows) -> Iterator[str]:
    """Result and journal of a closed run stay as they are."""
    later = {result.run_id: result for result in after.results}
    for result in before.results:
        run_id = result.run_id
        if later.get(run_id) != result:
            yield f"{run_id}: its result was {result}, now {later.get(run_id)}"
        if list(after.journals.get(run_id, ())) != list(before.journals.get(run_id, ())):
            yield f"{run_id}: its journal has changed after the close"


def journals_only_grow(before: CellRows, after: CellRows) -> Iterator[str]:
    """What was recorded stays recorded; a run once started is never forgotten."""
    for run_id, journal in before.journals.items():
        if list(after.journals.get(run_id, ()))[: len(journal)] != list(journal):
            yield f"{run_id}: recorded entries have changed"
    for run_id, record in before.runs.items():
        later = after.runs.get(run_id)
        if later is None or _without_metadata(later) != _without_metadata(record):
            yield f"{run_id}: what it was started with has changed"


def _without_metadata(record: RunRow) -> RunRow:
    """A record without what the code of its run may change."""
    return replace(record, metadata=record.started_with, metadata_at_start=None)


def epochs_never_decrease(before: CellRows, after: CellRows) -> Iterator[str]:
    """A lease or a claim that has passed to another owner has a higher epoch."""
    for run_id, run in before.open_runs.items():
        later = after.open_runs.get(run_id)
        if later is not None and (later.epoch < run.epoch or (_moved(run, later) and later.epoch == run.epoch)):
            yield f"{run_id}: epoch {run.epoch} of {run.owner}, then {later.epoch} of {later.owner}"
    for key, task in before.tasks.items():
        now = after.tasks.get(key)
        if now is not None and (now.epoch < task.epoch or (_moved(task, now) and now.epoch == task.epoch)):
            yield f"{key}: epoch {task.epoch} of {task.owner}, then {now.epoch} of {now.owner}"


def _moved(before: OpenRun | TaskRow, after: OpenRun | TaskRow) -> bool:
    return after.owner is not None and before.owner != after.owner


STEP_CHECKERS: tuple[StepChecker, ...] = (closed_runs_never_change, journals_only_grow, epochs_never_decrease)


def _entries(row: JournalRow) -> Iterator[tuple[str, int]]:
    """The entries of a journal row: their kind, and the number of the mail that they carry or 0."""
    for part in row.entries:
        match part:
            case bytes():
                for entry in journal_pb2.JournalRow.FromString(part).entries:
                    kind = entry.WhichOneof("body") or ""
                    carries_mail = kind in ("mail_consumed", "mail_undelivered")
                    yield kind, getattr(entry, kind).number if carries_mail else 0
            case MailConsumedEntry(mail=mail):
                yield "mail_consumed", mail.number
            case MailUndeliveredEntry(mail=mail):
                yield "mail_undelivered", mail.number
            case RunClosed():
                yield "run_closed", 0
            case _:
                yield type(part).__name__, 0
