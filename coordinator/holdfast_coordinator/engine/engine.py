"""The engine of one replica: its cells, sessions, matcher and waiters, and the use cases that rpc calls.

Everything it keeps in memory can be lost at any time; what must not be lost is in the cells.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, cast

import structlog

from holdfast.errors import HoldfastError, NamespaceNotFound, RunNotFound, RunNotRetryable
from holdfast.limits import DEFAULT_LIMITS
from holdfast_coordinator.domain.batch import Answer
from holdfast_coordinator.domain.commands import (
    ClaimRuns,
    ClaimTasks,
    Command,
    OfferStalled,
    ReportAttempt,
    StartRun,
    TerminateRun,
    Transition,
)
from holdfast_coordinator.domain.continuing import Continuation, RetryRun
from holdfast_coordinator.domain.events import (
    AlarmSet,
    Event,
    LeaseEnded,
    LeaseReturned,
    MailArrived,
    OutboxDue,
    RunEnded,
    RunLeased,
    RunReady,
    TaskClaimed,
    TaskReady,
)
from holdfast_coordinator.domain.rows import JournalRow, RunRecord, RunResult
from holdfast_coordinator.domain.starts import RetryInstead, Started, TerminateFirst
from holdfast_coordinator.domain.transitions import TransitionAnswer, TransitionStatus
from holdfast_coordinator.store.port import CellStore, ControlStore, RunFilter, RunView, StoreError

from .attachments import Attachment, Handed, Held
from .cells import Cell, Cells
from .matcher import Matcher, QueueKey
from .outbox import Outbox, OutboxCodec
from .records import RecentRecords
from .registry import Registry
from .sessions import Introduction, SessionPolicy, Sessions
from .waiters import Waiters

log = structlog.get_logger(__name__)

TERMINATE_REPEATS_MAX = 5
CLAIM_TIMER_MAX = timedelta(hours=1)
CLAIM_TIMER_MARGIN = timedelta(milliseconds=5)
STALLED_PAGE = 1_000


class EngineCodec(OutboxCodec, Protocol):
    """Reads and writes the protobuf bytes that the engine itself must look into."""

    def continuation(self, rows: Iterable[JournalRow], origin_run_id: str) -> Continuation:
        """What a continuation of a closed run begins with; rows: its whole journal."""


@dataclass(slots=True)
class Delivery:
    """What one poll answer brings, with the records of the leased runs."""

    handed: Handed
    records: dict[str, RunRecord] = field(default_factory=dict)


class Engine:
    """See the module. Built by the app, run by its loops."""

    def __init__(
        self, control: ControlStore, cells: Sequence[tuple[str, CellStore]], *, replica_id: str,
        policy: SessionPolicy, codec: EngineCodec,
    ) -> None:  # fmt: skip
        self.control = control
        self.matcher = Matcher()
        self.matcher.on_room = self._claim_soon
        self.cells = Cells(
            [Cell(name, store, self.matcher, self._committed, self.database_time) for name, store in cells]
        )
        self.waiters = Waiters()
        self._records = RecentRecords()
        self.registry = Registry(control, self.matcher)
        self.sessions = Sessions(
            control,
            self.matcher,
            replica_id=replica_id,
            policy=policy,
            submit=self.cells.submit,
            find_held=self.cells.held_by,
        )
        self.outbox = Outbox(self.cells, codec)
        self._codec = codec
        self.alarm_set = asyncio.Event()
        self._namespaces: set[str] = set()
        self._claiming: set[QueueKey] = set()
        self._claim_again: set[QueueKey] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def database_time(self) -> datetime:
        """The database's time by this replica's estimate."""
        return self.sessions.database_time()

    # Namespaces

    async def check_namespace(self, name: str) -> None:
        """Raises NamespaceNotFound."""
        if name not in self._namespaces:
            self._namespaces = await self.control.namespaces()
            if name not in self._namespaces:
                raise NamespaceNotFound(name)

    # Runs

    async def start_runs(self, starts: Sequence[StartRun]) -> list[Started | HoldfastError]:
        """Starts runs; each succeeds or is refused by itself, in order."""
        answers = await self._submit_each([(start.run_id, start) for start in starts])
        return [await self._settle_start(start, answer) for start, answer in zip(starts, answers, strict=True)]

    async def _submit_each(self, commands: Sequence[tuple[str, Command]]) -> list[Answer]:
        """Submits commands, each with its run id, to their cells at once; the answers in order."""
        if len(self.cells) == 1 and commands:
            return await self.cells.submit(commands[0][0], [command for _, command in commands])
        places: dict[str, list[int]] = {}
        for place, (run_id, _) in enumerate(commands):
            places.setdefault(self.cells.of_run(run_id).name, []).append(place)
        groups = list(places.values())
        answered = await asyncio.gather(
            *(self.cells.submit(commands[group[0]][0], [commands[place][1] for place in group]) for group in groups)
        )
        answers: dict[int, Answer] = {}
        for group, given in zip(groups, answered, strict=True):
            answers.update(zip(group, given, strict=True))
        return [answers[place] for place in range(len(commands))]

    async def _settle_start(self, start: StartRun, answer: Answer) -> Started | HoldfastError:
        """Does what a start asked for first, and repeats it."""
        for _ in range(TERMINATE_REPEATS_MAX):
            match answer:
                case Started(run_id, attached):
                    if not attached:
                        self.waiters.is_open(start.namespace, run_id)
                    return answer
                case TerminateFirst(run_id):
                    text = f"run {start.run_id} takes its id {start.id!r}"
                    (answer,) = await self.cells.submit(run_id, [TerminateRun(run_id, start.run_id, text)])
                    (answer,) = await self.cells.submit(start.run_id, [start])
                case HoldfastError():
                    return answer
                case RetryInstead(run_id):
                    return await self._continue(run_id, start.run_id)
                case _:
                    raise AssertionError(f"a start cannot be answered with {answer!r}")
        return HoldfastError(f"the id {start.id!r} was taken again and again; choose another on_conflict")

    async def retry(self, run_id: str, start_id: str) -> Started:
        """Makes a run that continues a closed one at its failed step. Raises RunNotRetryable, RunAlreadyStarted."""
        answer = await self._continue(run_id, self.cells.beside(run_id, start_id))
        if isinstance(answer, HoldfastError):
            raise answer
        return answer

    async def _continue(self, run_id: str, new_run_id: str) -> Started | HoldfastError:
        """Submits the continuation of a run under a new run id."""
        store = self.cells.of_run(run_id).store
        origin = (await store.records([run_id]))[run_id]
        closed = await store.results([run_id])
        if not closed:
            return RunNotRetryable(run_id, "open")
        rows: list[JournalRow] = []
        more = True
        while more:
            page, more = await store.journal(run_id, rows[-1].seq if rows else 0, DEFAULT_LIMITS.journal_page_bytes)
            rows += page
        begin = self._codec.continuation(rows, run_id)
        (answer,) = await self.cells.submit(run_id, [RetryRun(new_run_id, origin, begin)])
        assert isinstance(answer, Started | HoldfastError), answer
        if isinstance(answer, Started):
            self.waiters.is_open(origin.namespace, answer.run_id)
        return answer

    async def steer(self, run_id: str, command: Command) -> bool:
        """Submits a signal, cancel, terminate or resume; a refusal is raised."""
        return bool(await self.cells.of_run(run_id).writer.submit(command))

    async def wait_for(self, namespace: str, run_ids: Sequence[str], seconds: float) -> list[RunResult]:
        """Runs of the set that are closed; waits until there is one. Raises RunNotFound."""
        waiter = self.waiters.register(namespace, run_ids)
        try:
            unknown = self.waiters.unknown(namespace, run_ids)
            if unknown:
                waiter.closed.extend(await self._closed_of(namespace, unknown))
            if not waiter.closed:
                try:
                    async with asyncio.timeout(seconds):
                        await waiter.news.wait()
                except TimeoutError:
                    return []
            return waiter.closed
        finally:
            self.waiters.unregister(waiter, run_ids)

    async def list_runs(self, wanted: RunFilter) -> list[RunView]:
        """Runs of all cells, newest first."""
        pages = await asyncio.gather(*(cell.store.list_runs(wanted) for cell in self.cells))
        views = sorted(
            (view for page in pages for view in page),
            key=lambda view: (view.record.created_at, view.record.run_id),
            reverse=True,
        )
        return views[: wanted.limit]

    async def _closed_of(self, namespace: str, run_ids: Sequence[str]) -> list[RunResult]:
        closed = [result for result in await self._results(run_ids) if result.namespace == namespace]
        left = set(run_ids) - {result.run_id for result in closed}
        for ids in self._by_cell(sorted(left)):
            missing = set(ids) - await self.cells.of_run(ids[0]).store.existing(namespace, ids)
            if missing:
                raise RunNotFound(min(missing), namespace=namespace)
        for run_id in left:
            self.waiters.is_open(namespace, run_id)
        return closed

    async def _results(self, run_ids: Sequence[str]) -> list[RunResult]:
        pages = [await self.cells.of_run(ids[0]).store.results(ids) for ids in self._by_cell(run_ids)]
        return [result for page in pages for result in page]

    def _by_cell(self, run_ids: Sequence[str]) -> list[list[str]]:
        """Run ids in groups of one cell each."""
        groups: dict[str, list[str]] = {}
        for run_id in run_ids:
            groups.setdefault(self.cells.of_run(run_id).name, []).append(run_id)
        return list(groups.values())

    async def find_closed_elsewhere(self) -> None:
        """Wakes who waits for runs that another replica closed."""
        for result in await self._results(self.waiters.waited_for()):
            self.waiters.has_closed(result)

    # Workers

    async def open_session(self, worker: Introduction) -> tuple[Attachment, list[Held]]:
        """Opens or re-attaches a session; with it what the worker holds no longer. Raises SessionExpired."""
        opened = await self.sessions.open(worker)
        self.registry.registered(worker.namespace, worker.workflows)
        self._spawn(self._offer_stalled(worker))
        return opened

    async def _offer_stalled(self, worker: Introduction) -> None:
        """Offers runs that other builds stalled: the code that fits them may have come with this worker."""
        for cell in self.cells:
            more = True
            while more:
                run_ids = await cell.store.stalled_by_others(
                    worker.namespace, worker.queue, list(worker.workflows), worker.build, STALLED_PAGE
                )
                offered = await cell.writer.submit_all([OfferStalled(run_id, worker.build) for run_id in run_ids])
                more = len(run_ids) == STALLED_PAGE and any(answer is True for answer in offered)

    async def poll(
        self, session_id: str, attach_no: int, *, msg_no: int, free_slots: int, free_runs: int, received: Sequence[Held]
    ) -> Delivery:
        """Waits for work for a session. Raises Reattach."""
        attachment = self.sessions.attached(session_id, attach_no)
        if msg_no <= attachment.msg_no:
            return Delivery(Handed())  # an older poll that arrives late
        attachment.begin_poll(msg_no=msg_no, free_slots=free_slots, free_runs=free_runs, received=received)
        attachment.polling = True
        try:
            self.matcher.has_room(attachment)
            if not attachment.news.is_set():
                try:
                    async with asyncio.timeout(self.sessions.policy.poll_wait.total_seconds()):
                        await attachment.news.wait()
                except TimeoutError:
                    return Delivery(Handed())
        finally:
            if attachment.msg_no == msg_no:
                attachment.polling = False
                attachment.last_poll_at = time.monotonic()
        self.sessions.attached(session_id, attach_no)
        if attachment.msg_no != msg_no:
            return Delivery(Handed())  # a newer poll takes what there is
        return await self._deliver(attachment.take())

    def hand_later(self, session_id: str, attach_no: int, later: Handed) -> None:
        """Keeps for the next poll answer of a session what had no room in this one."""
        attachment = self.matcher.attachment(session_id)
        if attachment is not None and attachment.attach_no == attach_no:
            attachment.put_back(later)

    async def _deliver(self, handed: Handed) -> Delivery:
        """Adds the records of leased runs that the committing batch did not have at hand."""
        delivery = Delivery(handed)
        missing = []
        for lease in handed.leases:
            run_id = lease.run.run_id
            record = lease.record or self._records.get(run_id)
            if record is None:
                missing.append(run_id)
            else:
                delivery.records[run_id] = record
                self._records.put(record)
        for ids in self._by_cell(missing):
            delivery.records |= await self.cells.of_run(ids[0]).store.records(ids)
        return delivery

    async def report(
        self, attachment: Attachment, transitions: Sequence[Transition], attempts: Sequence[ReportAttempt]
    ) -> tuple[list[TransitionAnswer], list[bool]]:
        """Commits what a worker did; answers in order."""
        commands: list[tuple[str, Command]] = [(asked.run_id, asked) for asked in transitions]
        commands += [(asked.run_id, asked) for asked in attempts]
        answers = await self._submit_each(commands)
        taken = [
            await self._recognise_repeat(attachment.namespace, transition, cast(TransitionAnswer, answer))
            for transition, answer in zip(transitions, answers, strict=False)
        ]
        recorded = [answer is True for answer in answers[len(transitions) :]]
        for attempt in attempts:
            self.matcher.attempt_ended(attempt.session_id, (attempt.run_id, attempt.number, attempt.epoch))
        return taken, recorded

    async def _recognise_repeat(
        self, namespace: str, asked: Transition, answer: TransitionAnswer | HoldfastError
    ) -> TransitionAnswer:
        """A transition that came too late may be a repeat of one whose answer was lost. namespace: the worker's."""
        if isinstance(answer, HoldfastError):
            return TransitionAnswer(TransitionStatus.REFUSED, refusal=str(answer))
        if answer.status is TransitionStatus.SUPERSEDED and asked.count:
            store = self.cells.of_run(asked.run_id).store
            repeated = await store.has_transition(asked.run_id, asked.expected_seq, asked.epoch, asked.transition_id)
            if repeated and await store.existing(namespace, [asked.run_id]):
                return TransitionAnswer(TransitionStatus.COMMITTED)
        return answer

    async def read_journal(
        self, attachment: Attachment, run_id: str, epoch: int, after: int, max_bytes: int
    ) -> tuple[list[JournalRow], bool, RunRecord]:
        """A page of the journal of a run that the session holds. Raises RunNotFound."""
        store = self.cells.of_run(run_id).store
        view = await store.view(attachment.namespace, run_id)
        if view is None or view.open is None or (view.open.owner, view.open.epoch) != (attachment.session_id, epoch):
            raise RunNotFound(run_id, namespace=attachment.namespace)
        rows, more = await store.journal(run_id, after, max_bytes)
        return rows, more, view.record

    # After a commit

    def _committed(self, cell: Cell, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case RunLeased():
                    self.matcher.leased(event)
                case LeaseReturned():
                    self.matcher.returned(event)
                case RunEnded(result):
                    self.waiters.has_closed(result)
                case RunReady(namespace, queue, workflow):
                    self.matcher.left_ready((namespace, queue), workflow)
                case TaskReady(namespace, queue, name, wait):
                    self.matcher.left_queued((namespace, queue), name)
                    if wait:
                        self._claim_after(wait, (namespace, queue), name)
                case TaskClaimed():
                    self.matcher.claimed(event)
                case MailArrived():
                    self.matcher.mail_arrived(event)
                case LeaseEnded():
                    self.matcher.ended(event)
                case AlarmSet():
                    self.alarm_set.set()
                case OutboxDue():
                    self._spawn(self.outbox.deliver(event.alarm, event.mail, event.to_run_id))

    # Claims

    def _claim_after(self, wait: timedelta, key: QueueKey, step: str) -> None:
        """Claims when a step that waits for its retry is ready; without this, the next look around would find it.

        Best effort, like every belief: a longest wait keeps the timers few, a margin keeps the claim from being early.
        """
        if wait <= CLAIM_TIMER_MAX:
            loop = asyncio.get_running_loop()
            loop.call_later((wait + CLAIM_TIMER_MARGIN).total_seconds(), self.matcher.step_is_due, key, step)

    def _claim_soon(self, key: QueueKey) -> None:
        """Claims for a queue; one claim per queue is under way at a time."""
        if key in self._claiming:
            self._claim_again.add(key)
            return
        self._claiming.add(key)
        self._spawn(self._claim(key))

    async def _claim(self, key: QueueKey) -> None:
        try:
            again = True
            while again:
                self._claim_again.discard(key)
                found = [await self._claim_in(cell, key) for cell in self.cells]
                again = any(found) or key in self._claim_again
        except (HoldfastError, StoreError) as error:
            log.warning("claim_failed", queue=key[1], error=str(error))
        finally:
            self._claiming.discard(key)

    async def _claim_in(self, cell: Cell, key: QueueKey) -> bool:
        """Claims once in a cell; True when there may be more."""
        namespace, queue = key
        commands: list[ClaimRuns | ClaimTasks] = []
        workflows, runs_free = self.matcher.claimable_runs(key)
        if workflows:
            commands.append(ClaimRuns(namespace, queue, workflows, runs_free))
        steps, slots_free = self.matcher.claimable_tasks(key)
        if steps:
            commands.append(ClaimTasks(namespace, queue, steps, slots_free))
        if not commands:
            return False
        more = False
        for command, found in zip(commands, await cell.writer.submit_all(commands), strict=True):
            if cast(int, found) >= command.limit:
                more = True
            elif isinstance(command, ClaimRuns):
                self.matcher.no_runs_left(key, command.workflows)
            else:
                self.matcher.no_tasks_left(key, command.steps)
        return more

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background_task_failed", error=repr(error), exc_info=error)
