"""The engine of one replica: its cells, sessions, matcher and waiters, and the use cases that rpc calls.

Everything it keeps in memory can be lost at any time; what must not be lost is in the cells.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol, assert_never, cast

import structlog

from holdfast.errors import (
    CoordinatorOverloaded,
    CoordinatorUnavailable,
    HoldfastError,
    NamespaceNotFound,
    RunBusy,
    RunNotFound,
)
from holdfast.statuses import TransitionStatus
from holdfast_coordinator.domain.batch import Answer
from holdfast_coordinator.domain.commands import Command, CommitTransition, OfferStalled, ReportAttempt, StartRun
from holdfast_coordinator.domain.events import (
    AlarmSet,
    LeaseEnded,
    LeaseLost,
    LeaseReturned,
    MailArrived,
    OutboxDue,
    ResumedRun,
    RunEnded,
    RunLeased,
    RunReady,
    StalledRun,
    TaskClaimed,
    TaskReady,
)
from holdfast_coordinator.domain.rows import AlarmKind, JournalRow, RunResult, RunRow
from holdfast_coordinator.domain.starts import Started
from holdfast_coordinator.domain.transitions import TransitionAnswer, answer_of_refusal
from holdfast_coordinator.store.control_port import ControlStore
from holdfast_coordinator.store.port import CellStore, RunSelection, RunView, StoreError
from holdfast_coordinator.telemetry.identity import Origins
from holdfast_coordinator.telemetry.run_spans import DEFAULT_RULES
from holdfast_coordinator.telemetry.spans import SpanRules

from .attachments import NO_MAIL, Attachment, Handed, Held
from .background_tasks import Background
from .cell_writer import COMMAND_SECONDS
from .cells import Cell, Cells
from .claims import Claims
from .commit_metrics import CommitMetrics
from .committed import Committed, Report
from .database_clock import DatabaseClock, boot_seconds
from .doorbell import Doorbell, Rung
from .facts import Facts
from .held_work import HeldWork
from .late_results import Emit, LateResults
from .matcher import Matcher
from .other_replicas import Elsewhere
from .outbox import Outbox, OutboxCodec
from .registry import Registry
from .run_rows import Records
from .sessions import SessionOpening, SessionPolicy, Sessions
from .start_requests import ContinuationCodec, Starts
from .stepped_clock import SteppedClock
from .unknown_grants import UnknownGrants
from .waiters import Waiters

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics

OnJournal = Callable[[Sequence[JournalRow], Sequence[RunRow]], None]

log = structlog.get_logger(__name__)

LEASE_END_SECONDS = 1.0
"""How long the end of a lease waits for a row that is locked; then the next look at the session ends it."""
REPORT_PARKED_SECONDS = 0.02
"""How long the other runs of a report wait for one whose row is locked; it is reported again by itself."""
POLL_BYTES_MAX = 4 * 1024 * 1024
"""How much an answer to a poll brings; the rest comes with the next one."""
STALLED_PAGE = 1_000
OFFER_AGAIN_SECONDS = 1.0


class EngineCodec(OutboxCodec, ContinuationCodec, Protocol):
    """Reads the protobuf bytes that the engine itself must look into."""


@dataclass(slots=True)
class Delivery:
    """What one poll answer brings, with the records of the leased runs, and of traced runs of queued attempts."""

    handed: Handed
    records: dict[str, RunRow] = field(default_factory=dict)


class Engine:
    """See the module. Built by the app, run by its loops.

    origins: gives new runs their traces. on_journal: takes the journal rows of sampled runs, of each run in order, and
    the records of new runs. emit: exports other spans. All three are None when tracing is off. span_rules: of what is
    exported. metrics: None when they are off, and then nothing is measured anywhere. clock: of the database, made for
    others too; else one of its own.
    """

    def __init__(
        self, control: ControlStore, cells: Sequence[tuple[str, CellStore]], *, replica_id: str,
        policy: SessionPolicy, codec: EngineCodec, origins: Origins | None = None,
        on_journal: OnJournal | None = None, emit: Emit | None = None, span_rules: SpanRules = DEFAULT_RULES,
        metrics: "Metrics | None" = None, clock: DatabaseClock | None = None,
    ) -> None:  # fmt: skip
        self._clock = clock or DatabaseClock(policy.ttl)
        self.control = control
        self.origins = origins
        self.metrics = metrics
        self.matcher = Matcher(silent_max_seconds=policy.away_after.total_seconds())
        self.cells = Cells(
            [
                Cell(
                    name,
                    store,
                    self.matcher,
                    self._committed,
                    self._clock.now,
                    with_rows=on_journal is not None,
                    metrics=metrics,
                )
                for name, store in cells
            ]
        )
        self._background = Background()
        self._claims = Claims(self.cells, self.matcher, self._background)
        self.matcher.on_room = self._claims.claim_soon
        self.doorbell = Doorbell(replica_id)
        self.held_work = HeldWork(self.cells, self.matcher)
        self.waiters = Waiters()
        self.elsewhere = Elsewhere(self.cells, self.matcher, self.waiters, self._clock.now)
        self._starts = Starts(self.cells, self.waiters, codec, origins)
        self.records = Records(self.cells)
        self.late_results = LateResults(
            self.cells, self.records, control, clock=self._clock.now, metrics=metrics, emit=emit, rules=span_rules
        )
        self._facts = Facts(self.records)
        self._on_journal = on_journal
        self._measures = CommitMetrics(metrics, self.records, self.matcher) if metrics is not None else None
        self.registry = Registry(control, self.matcher)
        self.unknown_grants = UnknownGrants(self.cells, self.matcher)
        self.stepped_clock = SteppedClock(control, self.cells)
        self.sessions = Sessions(
            control,
            self.matcher,
            replica_id=replica_id,
            policy=policy,
            submit=partial(self.cells.submit, parked_seconds=LEASE_END_SECONDS),
            find_held=self.cells.held_by,
            spawn=self._background.spawn,
            on_step=self.stepped_clock.stepped,
            database_clock=self._clock,
        )
        self.outbox = Outbox(self.cells, self.records, self.registry, codec, origins, metrics)
        self._namespaces: set[str] = set()

    async def close(self) -> None:
        """Ends what runs beside the calls; what is cut off is done again by a loop of this replica or another."""
        await self.late_results.close()
        await self._background.close()

    def database_time(self) -> datetime:
        """The database's time by this replica's estimate."""
        return self._clock.now()

    # Namespaces

    async def check_namespace(self, name: str) -> None:
        """Raises NamespaceNotFound."""
        if name not in self._namespaces:
            self._namespaces = await self.control.namespaces()
            if name not in self._namespaces:
                raise NamespaceNotFound(name)

    # Runs

    async def start_runs(
        self, starts: Sequence[StartRun], *, seconds: float = COMMAND_SECONDS
    ) -> list[Started | HoldfastError]:
        """Starts runs; each succeeds or is refused by itself, in order. seconds: how long they may wait."""
        return await self._starts.start_runs(starts, seconds=seconds)

    async def retry(self, run_id: str, start_id: str, *, seconds: float = COMMAND_SECONDS) -> Started:
        """Makes a run that continues a closed one at its failed step. Raises RunNotRetryable, RunAlreadyStarted."""
        answer = await self._starts.continue_run(run_id, self.cells.beside(run_id, start_id), seconds=seconds)
        if isinstance(answer, HoldfastError):
            raise answer
        return answer

    async def steer(self, run_id: str, command: Command, *, seconds: float = COMMAND_SECONDS) -> bool:
        """Submits a signal, cancel, terminate or resume; a refusal is raised. seconds: how long it may wait."""
        return bool(await self.cells.of_run(run_id).writer.submit(command, seconds=seconds))

    async def wait_for(self, namespace: str, run_ids: Sequence[str], seconds: float) -> list[RunResult]:
        """Runs of the set that are closed; waits until there is one. Raises RunNotFound."""
        run_ids = list(dict.fromkeys(run_ids))
        # First: what closes while the store is asked is noticed in memory.
        waiter = self.waiters.register(namespace, run_ids)
        try:
            unknown = self.waiters.unknown(namespace, run_ids)
            if unknown:
                for result in await self._closed_of(namespace, unknown):
                    waiter.notify(result)
            if not waiter.closed:
                try:
                    async with asyncio.timeout(seconds):
                        await waiter.news.wait()
                except TimeoutError:
                    return []
            return list(waiter.closed.values())
        finally:
            self.waiters.unregister(waiter, run_ids)

    def end_waits(self) -> None:
        """Answers all who wait for runs, so that they go on with another replica; for when this one stops."""
        self.waiters.wake_all()

    async def list_runs(self, wanted: RunSelection) -> list[RunView]:
        """Runs of all cells, newest first."""
        pages = await asyncio.gather(*(cell.store.clients.list_runs(wanted) for cell in self.cells))
        views = sorted(
            (view for page in pages for view in page),
            key=lambda view: (view.record.created_at, view.record.run_id),
            reverse=True,
        )
        return views[: wanted.limit]

    async def _closed_of(self, namespace: str, run_ids: Sequence[str]) -> list[RunResult]:
        closed = [result for result in await self._results(run_ids) if result.namespace == namespace]
        left = set(run_ids) - {result.run_id for result in closed}
        for cell, ids in self.cells.by_cell(sorted(left)):
            missing = set(ids) - await cell.store.clients.existing(namespace, ids)
            if missing:
                raise RunNotFound(min(missing), namespace=namespace)
        for run_id in left:
            self.waiters.is_open(namespace, run_id)
        return closed

    async def _results(self, run_ids: Sequence[str]) -> list[RunResult]:
        pages = [await cell.store.clients.results(ids) for cell, ids in self.cells.by_cell(run_ids)]
        return [result for page in pages for result in page]

    # Workers

    async def open_session(self, worker: SessionOpening) -> tuple[Attachment, list[Held]]:
        """Opens or re-attaches a session; with it what the worker holds no longer. Raises SessionExpired."""
        opened = await self.sessions.open(worker)
        self.registry.registered(worker.namespace, worker.workflows)
        self._background.spawn(self._offer_stalled(worker, opened[0]))
        return opened

    async def _offer_stalled(self, worker: SessionOpening, attachment: Attachment) -> None:
        """Offers runs that other builds stalled: the code that fits them may have come with this worker."""
        while self.matcher.attachment(attachment.session_id) is attachment:
            try:
                for cell in self.cells:
                    await self._offer_stalled_in(cell, worker)
                return
            except (HoldfastError, StoreError) as error:
                # Again, while the worker is here: its coming is the only thing that makes these runs move.
                log.warning("stalled_not_offered", session_id=attachment.session_id, error=str(error))
                await asyncio.sleep(OFFER_AGAIN_SECONDS)

    async def _offer_stalled_in(self, cell: Cell, worker: SessionOpening) -> None:
        more = True
        while more:
            run_ids = await cell.store.stalled_by_others(
                worker.namespace, worker.queue, list(worker.workflows), worker.build, STALLED_PAGE
            )
            offered = await cell.writer.submit_all(
                [OfferStalled(run_id, worker.build) for run_id in run_ids], parked_seconds=LEASE_END_SECONDS
            )
            more = len(run_ids) == STALLED_PAGE and any(answer is True for answer in offered)

    async def poll(
        self, session_id: str, attach_no: int, *, msg_no: int, free_slots: int, free_runs: int,
        received: Sequence[Held], mail_seen: Mapping[Held, int] = NO_MAIL,
    ) -> Delivery:  # fmt: skip
        """Waits for work for a session. received, mail_seen: what has come. Raises ReattachRequired."""
        attachment = self.sessions.attached(session_id, attach_no)
        if msg_no <= attachment.msg_no:
            return Delivery(Handed())  # an older poll that arrives late
        if mail_seen:
            attachment.mail_seen(mail_seen)
        attachment.begin_poll(msg_no=msg_no, free_slots=free_slots, free_runs=free_runs, received=received)
        try:
            self.matcher.has_room(attachment)
            if not attachment.news.is_set():
                try:
                    async with asyncio.timeout(self.sessions.policy.poll_wait.total_seconds()):
                        await attachment.news.wait()
                except TimeoutError:
                    return Delivery(Handed())
        finally:
            attachment.end_poll(msg_no, boot_seconds())
        self.sessions.attached(session_id, attach_no)
        if attachment.msg_no != msg_no:
            return Delivery(Handed())  # a newer poll takes what there is
        handed = attachment.take()
        try:
            if handed.unread:
                await self.held_work.read_mail(attachment, handed)
            wanted = [lease.record or lease.run.run_id for lease in handed.leases]
            if self.origins is not None:
                wanted += [claim.task.run_id for claim in handed.tasks]
            records, is_cut = await self.records.first_of(wanted, POLL_BYTES_MAX)
            if is_cut:
                self._leave_for_next_poll(attachment, handed, records)
            return Delivery(handed, records)
        except BaseException:  # also a worker that has gone: it polls again
            attachment.put_back(handed)
            raise

    def _leave_for_next_poll(self, attachment: Attachment, handed: Handed, records: Mapping[str, RunRow]) -> None:
        """Takes out of an answer the runs whose arguments were not read for it, because the others are large."""
        later = Handed()
        later.leases = [lease for lease in handed.leases if lease.run.run_id not in records]
        handed.leases = [lease for lease in handed.leases if lease.run.run_id in records]
        if self.origins is not None:
            later.tasks = [claim for claim in handed.tasks if claim.task.run_id not in records]
            handed.tasks = [claim for claim in handed.tasks if claim.task.run_id in records]
        attachment.put_back(later)

    def hand_later(self, session_id: str, attach_no: int, later: Handed) -> None:
        """Keeps for the next poll answer of a session what had no room in this one."""
        attachment = self.matcher.attachment(session_id)
        if attachment is not None and attachment.attach_no == attach_no:
            attachment.put_back(later)

    async def report(
        self, attachment: Attachment, transitions: Sequence[CommitTransition], attempts: Sequence[ReportAttempt]
    ) -> tuple[list[TransitionAnswer], list[bool | None]]:
        """Commits what a worker did; answers in order, of an attempt whether it was recorded, None when it is busy."""
        commands: list[Report] = [*transitions, *attempts]
        answers: list[Answer]
        try:
            answers = await self.cells.submit_each(commands, parked_seconds=REPORT_PARKED_SECONDS)
        except CoordinatorOverloaded:  # nothing of it was taken, and nothing but time is lost
            answers = [RunBusy(asked.run_id) for asked in commands]
        taken = [
            answer
            if type(answer) is TransitionAnswer and answer.status is not TransitionStatus.SUPERSEDED
            else await self._recognise_repeat(attachment.namespace, transition, cast(TransitionAnswer, answer))
            for transition, answer in zip(transitions, answers, strict=False)
        ]
        recorded = [None if isinstance(answer, RunBusy) else answer is True for answer in answers[len(transitions) :]]
        for attempt, was_recorded in zip(attempts, recorded, strict=True):
            if was_recorded is not None:
                self.matcher.attempt_ended(attempt.session_id, (attempt.run_id, attempt.number, attempt.epoch))
        self.late_results.answered(attachment, transitions, taken, attempts, recorded)
        return taken, recorded

    async def _recognise_repeat(
        self, namespace: str, asked: CommitTransition, answer: TransitionAnswer | HoldfastError
    ) -> TransitionAnswer:
        """A transition that came too late may be a repeat of one whose answer was lost. namespace: the worker's."""
        if isinstance(answer, RunBusy):
            return TransitionAnswer(TransitionStatus.BUSY)
        if isinstance(answer, CoordinatorUnavailable):
            raise answer  # its outcome is unknown: the report is repeated
        if isinstance(answer, HoldfastError):
            return answer_of_refusal(answer)
        if answer.status is TransitionStatus.SUPERSEDED and asked.count:
            store = self.cells.of_run(asked.run_id).store
            repeated = await store.has_transition(asked.run_id, asked.expected_seq, asked.epoch, asked.transition_id)
            if repeated and await store.existing(namespace, [asked.run_id]):
                return TransitionAnswer(TransitionStatus.COMMITTED)
        return answer

    async def read_journal(
        self, attachment: Attachment, run_id: str, epoch: int, after: int, max_bytes: int
    ) -> tuple[list[JournalRow], bool, RunRow]:
        """A page of the journal of a run that the session holds. Raises RunNotFound."""
        store = self.cells.of_run(run_id).store
        view = await store.view(attachment.namespace, run_id)
        if view is None or view.open is None or (view.open.owner, view.open.epoch) != (attachment.session_id, epoch):
            raise RunNotFound(run_id, namespace=attachment.namespace)
        attachment.unacknowledged.pop((run_id, 0, epoch), None)  # who reads its journal has it
        rows, more = await store.journal(run_id, after, max_bytes)
        return rows, more, view.record

    async def look_at(self, rung: Rung) -> None:
        """Looks at what other replicas rang for. Raises StoreError."""
        for namespace, queue, workflow in rung.runs_ready:
            self.matcher.left_ready((namespace, queue), workflow)
        for namespace, queue, step in rung.steps_ready:
            self.matcher.left_queued((namespace, queue), step)
        if rung.held:
            await self.held_work.look(rung.held)
        if rung.closed:
            await self.elsewhere.closed(rung.closed)

    # After a commit

    def _committed(self, cell: Cell, committed: Committed) -> None:
        self._act_on(cell, committed)
        # Afterwards: whatever workers have written, and this makes of it, what has to happen has happened.
        self._note(committed)

    def _act_on(self, cell: Cell, committed: Committed) -> None:
        """Work and mail go to sessions here, or other replicas are rung for."""
        for event in committed.events:
            match event:
                case RunLeased() | TaskClaimed():
                    if not self.matcher.handed_over(event):
                        self._background.spawn(self.sessions.end_undelivered(event))
                case LeaseReturned():
                    self.matcher.returned(event)
                case RunEnded(result):
                    self.waiters.has_closed(result)
                    self.doorbell.closed(result.run_id)
                case RunReady(namespace, queue, workflow):
                    self.matcher.left_ready((namespace, queue), workflow)
                    self.doorbell.run_ready((namespace, queue, workflow))
                case TaskReady(namespace, queue, name, wait):
                    if wait:
                        self._claims.claim_after(wait, (namespace, queue), name)
                    else:
                        self.matcher.left_queued((namespace, queue), name)
                        self.doorbell.step_ready((namespace, queue, name))
                case MailArrived():
                    if not self.matcher.mail_arrived(event):
                        self.doorbell.held(event.session_id, event.run_id)
                case LeaseEnded():
                    if not self.matcher.ended(event):
                        self.doorbell.held(event.session_id, event.run_id)
                case LeaseLost() | StalledRun() | ResumedRun():
                    pass  # only noted
                case AlarmSet(alarm):
                    watch = cell.alarms if alarm.kind < AlarmKind.OUTBOX_CHILD else cell.outbox
                    watch.alarm_set(alarm.due_at)
                case OutboxDue():
                    self._background.spawn(self.outbox.deliver(event.alarm, event.mail, event.to_run_id))
                case _:
                    assert_never(event)

    def _note(self, committed: Committed) -> None:
        """Log lines, metrics and spans of it."""
        measures = self._measures
        for event in committed.events:
            match event:
                case RunEnded(result):
                    self._facts.closed(result)
                    if measures is not None:
                        measures.closed(result)
                case LeaseLost():
                    self._facts.lost(event)
                    if measures is not None:
                        measures.lost(event)
                case StalledRun():
                    self._facts.stalled(event)
                case ResumedRun():
                    self._facts.resumed(event)
                case _:
                    pass
        if committed.rows and self._on_journal is not None:
            self._on_journal(committed.rows, committed.runs)
        if measures is not None:
            measures.committed(committed)
