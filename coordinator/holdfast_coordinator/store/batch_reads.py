"""From what a batch must see to statements, and from their answers to the snapshot it decides on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.commands import ClaimRuns, ClaimTasks
from holdfast_coordinator.domain.mail import MailRow
from holdfast_coordinator.domain.rows import AlarmKind, KeyRow
from holdfast_coordinator.domain.snapshot import MailWanted, Reads, Snapshot, time_of_batch

from . import row_loaders, statements_claims, statements_reads
from .database_connection import BEGIN, Answer, Row, StatementCall
from .floors import Position

MAIL_NUMBER_MAX = 2**62

Floor = Callable[[ClaimRuns | ClaimTasks, tuple[str, ...]], list[Position]]
"""Where a claim begins, for each of its names."""


class CellReads:
    """The statements that lock and read in one cell."""

    def __init__(self, schema: str) -> None:
        self.lock_runs = statements_reads.lock_runs(schema)
        self.mail_between = statements_reads.mail_between(schema)
        self.mail_of_runs = statements_reads.mail_of_runs(schema)
        self.lock_tasks = statements_reads.lock_tasks(schema)
        self.open_children = statements_reads.open_children(schema)
        self.open_children_by_key = statements_reads.open_children_by_key(schema)
        self.lock_alarms = statements_reads.lock_alarms(schema)
        self.reserve_keys = statements_reads.reserve_keys(schema)
        self.lock_keys = statements_reads.lock_keys(schema)
        self.statuses_of_keys = statements_reads.statuses_of_keys(schema)
        self.earlier_starts = statements_reads.earlier_starts(schema)
        self.answers_of_requests = statements_reads.answers_of_requests(schema)
        self.results_of_runs = statements_reads.results_of_runs(schema)
        self.claim_runs = statements_claims.claim_runs(schema)
        self.claim_tasks = statements_claims.claim_tasks(schema)
        self.clock = statements_reads.clock()


@dataclass(slots=True)
class ReadPlan:
    """The calls of the first round trip of a transaction, and who takes each answer."""

    calls: list[StatementCall] = field(default_factory=list)
    takers: list[Callable[[list[Row]], None]] = field(default_factory=list)

    def add(self, call: StatementCall, take: Callable[[list[Row]], None]) -> None:
        """One more call. `take` gets its rows when all calls have succeeded, in the order of the calls."""
        self.calls.append(call)
        self.takers.append(take)

    def add_first(self, call: StatementCall, take: Callable[[list[Row]], None]) -> None:
        """A call that comes right after BEGIN, so that what is read sees what it did."""
        self.calls.insert(1, call)
        self.takers.insert(1, take)


def plan_reads(statements: CellReads, reads: Reads, snapshot: Snapshot, floor: Floor) -> ReadPlan:
    """The calls that read what `reads` names into `snapshot`. It is complete after take_answers."""
    plan = ReadPlan()
    plan.add(BEGIN(), lambda rows: None)
    _plan_runs(plan, statements, reads, snapshot)
    if reads.keys:
        _plan_keys(plan, statements, reads.keys, snapshot)
    if reads.starts:

        def take_existing(rows: list[Row]) -> None:
            snapshot.existing = {started: (namespace, digest, run) for started, namespace, digest, run in rows}

        run_ids = sorted(reads.starts)
        namespaces = [reads.starts[run_id] for run_id in run_ids]
        plan.add(statements.earlier_starts(run_ids, namespaces), take_existing)
    if reads.requests:
        pairs = sorted(reads.requests)

        def take_requests(rows: list[Row]) -> None:
            snapshot.requests = {(run_id, request_id): answer for run_id, request_id, answer, _ in rows}

        plan.add(statements.answers_of_requests([p[0] for p in pairs], [p[1] for p in pairs]), take_requests)
    if reads.results:

        def take_results(rows: list[Row]) -> None:
            snapshot.results = {result.run_id: result for result in map(row_loaders.result, rows)}

        plan.add(statements.results_of_runs(sorted(reads.results)), take_results)
    _plan_claims(plan, statements, reads, snapshot, floor)

    def take_clock(rows: list[Row]) -> None:
        ((now,),) = rows
        snapshot.now = time_of_batch(now, snapshot.runs.values())

    plan.add(statements.clock(), take_clock)
    return plan


def take_answers(plan: ReadPlan, answers: list[Answer]) -> None:
    """Fills the snapshot of a plan."""
    for take, answer in zip(plan.takers, answers, strict=True):
        take(answer.rows)


def _plan_runs(plan: ReadPlan, statements: CellReads, reads: Reads, snapshot: Snapshot) -> None:
    if reads.lock_runs:
        run_ids = sorted(reads.lock_runs)

        def take_runs(rows: list[Row]) -> None:
            for run_id, *row in rows:
                run = row_loaders.if_joined(row_loaders.open_run, row)
                if run is None:
                    snapshot.locked.runs.add(run_id)
                else:
                    snapshot.runs[run_id] = run

        plan.add(statements.lock_runs(run_ids), take_runs)
    if reads.mail:
        _plan_mail(plan, statements, reads.mail, snapshot)
    if reads.tasks or reads.tasks_of:
        keys = sorted(reads.tasks)

        def take_tasks(rows: list[Row]) -> None:
            for run_id, number, *row in rows:
                task = row_loaders.if_joined(row_loaders.task, row)
                if task is None:
                    snapshot.locked.tasks.add((run_id, number))
                else:
                    snapshot.tasks[run_id, number] = task

        call = statements.lock_tasks([key[0] for key in keys], [key[1] for key in keys], sorted(reads.tasks_of))
        plan.add(call, take_tasks)

    def take_children(rows: list[Row]) -> None:
        for child in map(row_loaders.child, rows):
            snapshot.children.setdefault(child.run_id, []).append(child)

    if reads.children_of:
        plan.add(statements.open_children(sorted(reads.children_of)), take_children)
    by_key = sorted(key for key in reads.children if key[0] not in reads.children_of)
    if by_key:
        call = statements.open_children_by_key([key[0] for key in by_key], [key[1] for key in by_key])
        plan.add(call, take_children)
    if reads.alarms:
        alarms = sorted(reads.alarms)

        def take_alarms(rows: list[Row]) -> None:
            for run_id, kind, ref, *row in rows:
                key = (run_id, AlarmKind(kind), ref)
                alarm = row_loaders.if_joined(row_loaders.alarm, row)
                if alarm is None:
                    snapshot.locked.alarms.add(key)
                else:
                    snapshot.alarms[key] = alarm

        plan.add(statements.lock_alarms(*(list(part) for part in zip(*alarms, strict=True))), take_alarms)


def _plan_mail(plan: ReadPlan, statements: CellReads, mail: dict[str, MailWanted], snapshot: Snapshot) -> None:
    """What is journaled, and what is sent: of each run in its order, each piece once."""

    def take_mail(load: Callable[[Row], MailRow], rows: list[Row]) -> None:
        for run_id, pieces in row_loaders.mail_by_run(map(load, rows)).items():
            by_number = {piece.number: piece for piece in (*snapshot.mail.get(run_id, ()), *pieces)}
            snapshot.mail[run_id] = [by_number[number] for number in sorted(by_number)]

    ordered = sorted(mail.items())
    between = [
        (run_id, *((0, MAIL_NUMBER_MAX) if wanted.all else (wanted.first, wanted.last)))
        for run_id, wanted in ordered
        if wanted.all or wanted.last
    ]
    pages = [(run_id, wanted.after) for run_id, wanted in ordered if wanted.after is not None and not wanted.all]
    if between:
        journaled = statements.mail_between(*map(list, zip(*between, strict=True)))
        plan.add(journaled, partial(take_mail, row_loaders.mail_to_journal))
    if pages:
        plan.add(
            statements.mail_of_runs(*map(list, zip(*pages, strict=True))), partial(take_mail, row_loaders.mail_row)
        )


def _plan_keys(plan: ReadPlan, statements: CellReads, keys: list[KeyRow], snapshot: Snapshot) -> None:
    wanted: dict[tuple[str, str, str], KeyRow] = {}
    for key in keys:
        wanted.setdefault((key.namespace, key.kind, key.key), key)
    owners = {(*name, key.run_id) for key in keys for name in [(key.namespace, key.kind, key.key)]}
    names = sorted(wanted)
    columns = [[name[place] for name in names] for place in range(3)]

    def take_reserved(rows: list[Row]) -> None:
        snapshot.keys_reserved = {(namespace, kind, key) for namespace, kind, key in rows}

    def take_keys(rows: list[Row]) -> None:
        for namespace, kind, key, *row in rows:
            name = (namespace, kind, key)
            held = row_loaders.if_joined(row_loaders.key, row)
            if held is None:
                snapshot.locked.keys.add(name)
                continue
            others = {owner for *of, owner in owners if tuple(of) == name} - {held.run_id}
            if name not in snapshot.keys_reserved and others:
                snapshot.keys[name] = held
        snapshot.key_statuses = dict.fromkeys(key.run_id for key in snapshot.keys.values())

    def take_statuses(rows: list[Row]) -> None:
        for run_id, status in rows:
            if run_id in snapshot.key_statuses:
                snapshot.key_statuses[run_id] = RunStatus.of_number(status)

    reserved = [wanted[name] for name in names]
    plan.add(
        statements.reserve_keys(
            *columns,
            [key.run_id for key in reserved],
            [key.call_digest for key in reserved],
            [key.workflow for key in reserved],
            [key.signature_digest for key in reserved],
        ),
        take_reserved,
    )
    plan.add(statements.lock_keys(*columns), take_keys)
    plan.add(statements.statuses_of_keys(*columns), take_statuses)


def _plan_claims(plan: ReadPlan, statements: CellReads, reads: Reads, snapshot: Snapshot, floor: Floor) -> None:
    seen_runs: set[str] = set()
    seen_tasks: set[tuple[str, int]] = set()

    def take_runs(rows: list[Row]) -> None:
        claimed = []
        for row in rows:
            run, record = row_loaders.claimed_run(row)
            # Rows that an earlier claim of this batch has locked are not skipped: the lock is our own.
            if run.run_id not in seen_runs:
                seen_runs.add(run.run_id)
                claimed.append((snapshot.runs.setdefault(run.run_id, run), record))
        snapshot.claimed_runs.append(claimed)

    def take_tasks(rows: list[Row]) -> None:
        claimed = []
        found = 0
        for *row, found in rows:  # noqa: B007 - the same in every row
            task = row_loaders.task(row)
            key = (task.run_id, task.number)
            if key not in seen_tasks:
                seen_tasks.add(key)
                claimed.append(snapshot.tasks.setdefault(key, task))
        snapshot.claimed_tasks.append(claimed)
        snapshot.tasks_left.append(found > len(rows))

    for claim in reads.claim_runs:
        _plan_claim(plan, statements.claim_runs, claim, claim.workflows, floor, take_runs)
    for step_claim in reads.claim_tasks:
        _plan_claim(plan, statements.claim_tasks, step_claim, step_claim.steps, floor, take_tasks)


def _plan_claim(
    plan: ReadPlan,
    statement: Callable[..., StatementCall],
    claim: ClaimRuns | ClaimTasks,
    names: tuple[str, ...],
    floor: Floor,
    take: Callable[[list[Row]], None],
) -> None:
    positions = floor(claim, names)
    values: list[object] = [
        claim.namespace,
        claim.queue,
        list(names),
        [priority for priority, _ in positions],
        [ready_at for _, ready_at in positions],
        claim.limit,
    ]
    if isinstance(claim, ClaimRuns):
        values.append(list(claim.not_builds or ("",) * len(names)))
    plan.add(statement(*values), take)
