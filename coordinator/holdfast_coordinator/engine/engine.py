"""The engine of one replica: its cells, sessions, matcher and waiters, and the use cases that rpc calls.

Everything it keeps in memory can be lost at any time; what must not be lost is in the cells.
"""

import asyncio
from collections.abc import Awaitable, Collection, Coroutine, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from holdfast.errors import (
    CoordinatorOverloaded,
    CoordinatorUnavailable,
    HoldfastError,
    NamespaceNotFound,
    RunBusy,
    RunNotFound,
)
from holdfast.limits import DEFAULT_LIMITS
from holdfast.statuses import TransitionStatus
from holdfast_coordinator.domain.batch import Answer
from holdfast_coordinator.domain.commands import Command, CommitTransition, ReportAttempt, SaveProgress, StartRun
from holdfast_coordinator.domain.rows import JournalRow, RunResult, RunRow
from holdfast_coordinator.domain.starts import Started
from holdfast_coordinator.domain.transitions import TransitionAnswer, answer_of_refusal
from holdfast_coordinator.store.control_port import ControlStore
from holdfast_coordinator.store.port import CellStore, RunSelection, RunView
from holdfast_coordinator.telemetry.identity import Origins
from holdfast_coordinator.telemetry.run_spans import DEFAULT_RULES
from holdfast_coordinator.telemetry.spans import SpanRules

from .attachments import Attachment, Held
from .background_tasks import Background, set_within
from .cell_writer import COMMAND_SECONDS
from .cells import Cell, Cells
from .chains import Chains, ToChain
from .claims import Claims
from .commit_effects import CommitEffects
from .commit_metrics import CommitMetrics
from .commit_notes import CommitNotes, OnJournal
from .committed import Committed
from .database_clock import DatabaseClock
from .doorbell import SEVERAL, Doorbell, Rung
from .facts import Facts
from .held_work import HeldWork
from .late_results import Emit, LateResults
from .matcher import Matcher
from .other_replicas import Elsewhere
from .outbox import Outbox, OutboxCodec
from .polls import Polls
from .registry import Registry
from .run_rows import Records
from .sessions import SessionOpening, SessionPolicy, Sessions
from .signal_checks import SignalChecks
from .stalled_offers import StalledOffers
from .start_requests import ContinuationCodec, Starts
from .stepped_clock import SteppedClock
from .unknown_grants import UnknownGrants
from .waiters import Waiters

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics

LEASE_END_SECONDS = 1.0
"""How long the end of a lease waits for a row that is locked; then the next look at the session ends it."""
REPORT_PARKED_SECONDS = 0.02
"""How long the other runs of a report wait for one whose row is locked; it is reported again by itself."""

Reported = tuple[list[TransitionAnswer], list[bool | None]]
"""The answers to a report in order: of its transitions, and of each attempt whether it was recorded, None when busy."""


class EngineCodec(OutboxCodec, ContinuationCodec, Protocol):
    """Reads the protobuf bytes that the engine itself must look into."""


class Engine:
    """See the module. Built by the app, run by its loops.

    origins: gives new runs their traces. on_journal: takes the journal rows of sampled runs, of each run in order, and
    the records of new runs. emit: exports other spans. All three are None when tracing is off. span_rules: of what is
    exported. metrics: None when they are off, and then nothing is measured anywhere. clock: of the database, made for
    others too; else one of its own. nesting_max: how many runs may be above a child.
    """

    def __init__(
        self, control: ControlStore, cells: Sequence[tuple[str, CellStore]], *, replica_id: str,
        policy: SessionPolicy, codec: EngineCodec, origins: Origins | None = None,
        on_journal: OnJournal | None = None, emit: Emit | None = None, span_rules: SpanRules = DEFAULT_RULES,
        metrics: "Metrics | None" = None, clock: DatabaseClock | None = None,
        nesting_max: int = DEFAULT_LIMITS.nesting,
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
        measures = CommitMetrics(metrics, self.records, self.matcher) if metrics is not None else None
        self._notes = CommitNotes(Facts(self.records), measures, on_journal)
        self.registry = Registry(control, self.matcher)
        self.signal_checks = SignalChecks(control, self.matcher)
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
            has_turn=partial(self.doorbell.has_turn, every=policy.ttl, of=SEVERAL),
        )
        self.polls = Polls(
            self.cells, self.sessions, self.matcher, self.held_work, self.records, is_traced=origins is not None
        )
        self.chains = Chains(self.cells, self.records, origins)
        self._stalled_offers = StalledOffers(self.cells, self.matcher)
        self.outbox = Outbox(
            self.cells, self.chains, self.records, self.registry, codec, origins, metrics, nesting_max=nesting_max
        )
        self._effects = CommitEffects(
            self.matcher, self.sessions, self._claims, self.waiters, self.outbox, self.doorbell, self._background
        )
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

    async def retry(
        self, run_id: str, start_id: str, *, by_id: bool = False, seconds: float = COMMAND_SECONDS,
        status: str = "open", again: Collection[str] = (),
    ) -> Started:  # fmt: skip
        """Makes a run that continues a closed one at its failed step. by_id, status, again: see Starts.retry.

        Raises RunNotRetryable, RunAlreadyStarted.
        """
        new_run_id = self.cells.beside(run_id, start_id)
        answer = await self._starts.retry(run_id, new_run_id, seconds=seconds, by_id=by_id, status=status, again=again)
        if isinstance(answer, HoldfastError):
            raise answer
        return answer

    async def steer(self, run_id: str, command: Command, *, seconds: float = COMMAND_SECONDS) -> bool:
        """Submits a signal, cancel, terminate or resume; a refusal is raised. seconds: how long it may wait.

        What is sent to a run that has continued as new reaches the newest run of its chain.
        """
        if isinstance(command, ToChain):
            return bool(await self.chains.submit(command, seconds=seconds))
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
                await set_within(waiter.news, seconds)
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
        self._background.spawn(self._stalled_offers.offer(worker, opened[0]))
        return opened

    def report(
        self, attachment: Attachment, transitions: Sequence[CommitTransition], attempts: Sequence[ReportAttempt]
    ) -> Coroutine[None, None, Reported]:
        """Submits what a worker did, and returns what waits until it is committed."""
        answering: Awaitable[list[Answer]]
        if any(one.successor is not None for one in transitions):
            answering = self._report_with_chains(transitions, attempts)
        else:
            answering = self.cells.submit_each([*transitions, *attempts], parked_seconds=REPORT_PARKED_SECONDS)
        return self._reported(answering, attachment, transitions, attempts)

    async def _report_with_chains(
        self, transitions: Sequence[CommitTransition], attempts: Sequence[ReportAttempt]
    ) -> list[Answer]:
        await self.chains.prepare([one for one in transitions if one.successor is not None])
        return await self.cells.submit_each([*transitions, *attempts], parked_seconds=REPORT_PARKED_SECONDS)

    async def _reported(
        self, answering: Awaitable[list[Answer]], attachment: Attachment, transitions: Sequence[CommitTransition],
        attempts: Sequence[ReportAttempt],
    ) -> Reported:  # fmt: skip
        try:
            answers = await answering
        except CoordinatorOverloaded:  # nothing of it was taken, and nothing but time is lost
            answers = [RunBusy(asked.run_id) for parts in (transitions, attempts) for asked in parts]
        taken = cast(list[TransitionAnswer], answers[: len(transitions)])
        for place, answer in enumerate(taken):
            if type(answer) is not TransitionAnswer or answer.status is TransitionStatus.SUPERSEDED:
                taken[place] = await self._recognise_repeat(attachment.namespace, transitions[place], answer)
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

    def save_progress(self, saves: Sequence[SaveProgress]) -> Awaitable[list[Answer]]:
        """Keeps what running attempts have saved: of each True, False when it has moved on, or RunBusy."""
        return self.cells.submit_each(saves, parked_seconds=REPORT_PARKED_SECONDS)

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

    async def read_journals(
        self, attachment: Attachment, leases: Sequence[tuple[str, int]], max_bytes: int
    ) -> list[tuple[list[JournalRow], bool]]:
        """How the journals of leases, as (run id, epoch), begin, each with whether more follows; [] of one not held.

        Of the first of them, as far as there is room; at least of one. Raises RunNotFound for what is no run id.
        """
        epochs = dict(leases)
        rows: dict[str, tuple[list[JournalRow], bool]] = {}
        unread: set[str] = set()
        for cell, run_ids in self.cells.by_cell(epochs):
            of_cell = [(run_id, epochs[run_id]) for run_id in run_ids]
            found = await cell.store.journal_beginnings(attachment.session_id, of_cell, max_bytes)
            rows.update(found.rows)
            while found.is_cut and run_ids[-1] not in found.rows:
                unread.add(run_ids.pop())
        beginnings: list[tuple[list[JournalRow], bool]] = []
        size = 0
        for run_id, epoch in leases:
            if run_id in unread or size > max_bytes:  # what each cell has may be too much together
                break
            beginning = rows.get(run_id, ([], False))
            if beginning[0]:
                attachment.unacknowledged.pop((run_id, 0, epoch), None)  # who reads its journal has it
                size += sum(row.stored_bytes for row in beginning[0])
            beginnings.append(beginning)
        return beginnings

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
        self._effects.act_on(cell, committed)
        # Afterwards: whatever workers have written, and this makes of it, what has to happen has happened.
        self._notes.note(committed)
