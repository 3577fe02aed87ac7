"""One worker's session with the coordinator: opening, polling, reporting, reading journals. All its I/O but heartbeats.

What comes goes to the crew, what the crew reports goes out. Exactly one report is in flight, and it is
repeated as it is until it is answered or the session is dead: only an answer says what was committed.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from holdfast.channel.leases import (
    AttemptReportResult,
    Held,
    Introduction,
    JournalBeginning,
    Lease,
    OpenedSession,
    Pulse,
    ReportAnswer,
    TransitionResult,
)
from holdfast.channel.repeatable_calls import repeat_wait
from holdfast.channel.worker_calls import WorkerCalls
from holdfast.errors import (
    ArgumentsRejected,
    CoordinatorUnavailable,
    HoldfastError,
    InvalidRequest,
    PayloadTooLarge,
    Refused,
)
from holdfast.session_refusals import ReattachRequired, ReplicaAway, SessionExpired
from holdfast.statuses import TransitionStatus
from holdfast.worker.busy_parts import BusyReports
from holdfast.worker.clock import SessionClock, boot_seconds
from holdfast.worker.crew import Report, WorkCrew
from holdfast.worker.heartbeat import Attached, Heartbeat
from holdfast.worker.progress_sender import ProgressSender
from holdfast.worker.session_tasks import SessionTasks

log = logging.getLogger("holdfast.worker")

JOURNALS_PER_CALL = 200
"""Decoded and fed to their code they hold up the loop for some ten milliseconds."""
JOURNALS_AT_ONCE = 16
"""Journals that are read page by page beside each other. The coordinator takes in calls one after the other, a turn of
its loop for each: behind a thousand reads of journals heartbeats waited until their sessions were dead."""
ROOM_DELAY_SECONDS = 0.002
"""How long freed slots are gathered before an open poll that said "none" is overtaken by another."""


class Session:
    """See the module. `run` works until `stop`."""

    def __init__(
        self,
        calls: WorkerCalls,
        introduction: Introduction,
        *,
        crew: WorkCrew,
        tasks: SessionTasks,
        heartbeat: Heartbeat,
        clock: SessionClock,
        on_reach: Callable[[bool], None] | None = None,
    ) -> None:
        self.is_attached = asyncio.Event()
        self._heartbeat = heartbeat
        self._tasks = tasks
        self._on_reach = on_reach
        self._calls = calls
        self._introduction = introduction
        self._crew = crew
        self._clock = clock
        self._opened: OpenedSession | None = None
        self._opening = asyncio.Lock()
        self._msg_no = 0
        self._received: list[Held] = []
        self._polls: set[asyncio.Task[None]] = set()
        self._journals: set[asyncio.Task[None]] = set()
        self._journals_at_once = asyncio.Semaphore(JOURNALS_AT_ONCE)
        self._recovering: set[asyncio.Task[None]] = set()
        self._room_offered = 0
        self._room_timer: asyncio.TimerHandle | None = None
        self._busy = BusyReports()
        self._in_reach = False
        self._is_closing = False
        self.progress = ProgressSender(calls, crew, tasks, attached=self._attached, recover=self._recover)
        self._poll_failed = False
        self._poll_answered = asyncio.Event()

    async def _attached(self) -> OpenedSession:
        """Waits until the session is attached."""
        await self.is_attached.wait()
        assert self._opened is not None
        return self._opened

    # Opening

    async def open(self) -> None:
        """Opens the session; waits for the coordinator as long as it takes."""
        async with self._opening:
            await self._open("")

    async def _open(self, session_id: str) -> None:
        retry = 0
        while True:
            sent = boot_seconds()
            held = self._crew.held if session_id else ()
            try:
                opened = await self._calls.open_session(self._introduction, session_id=session_id, held=held)
                break
            except SessionExpired:
                self._died()
                session_id = ""
            except CoordinatorUnavailable as error:
                if isinstance(error, ReplicaAway):
                    self._calls.move()
                if retry % 10 == 0:
                    log.warning("waiting for the coordinator: %s", error)
                await asyncio.sleep(repeat_wait(retry, jitter=random.random()))
                retry += 1
            except HoldfastError as error:
                if self._opened is None:
                    raise
                # It was welcome before. To give up here would leave a worker that lives and works no more.
                log.error("the session is not opened again: %s", error)
                await asyncio.sleep(repeat_wait(10, jitter=random.random()))
        self._clock.acknowledged(opened.database_time, sent=sent, received=boot_seconds(), ttl=opened.ttl)
        if session_id and opened.session_id != session_id:
            self._drop_everything()
        self._opened = opened
        self._received = []
        self._crew.session_opened(opened.session_id, opened.limits)
        self._crew.ended_elsewhere(opened.ended)
        self._crew.sure_again()
        attached = Attached(opened.session_id, opened.attach_no, opened.heartbeat_interval, opened.ttl, opened.address)
        self._heartbeat.attached(attached, self)
        self.is_attached.set()
        self._poll_failed = False
        self._say_reach(True)

    async def _recover(self, error: HoldfastError, attach_no: int) -> None:
        """After a refusal of the attachment or the session: opens it again, once for all who noticed.

        Elsewhere, when the replica is away: nothing is given up, the next one gets all that is held.
        """
        async with self._opening:
            opened = self._opened
            if opened is None or opened.attach_no != attach_no:
                return
            self.is_attached.clear()
            self._say_reach(False)
            if isinstance(error, SessionExpired):
                self._died()
                await self._open("")
                return
            if isinstance(error, ReplicaAway):
                log.info("moving to another replica: %s", error)
                self._calls.move()
            await self._open(opened.session_id)

    def _died(self) -> None:
        log.warning("the session was declared dead; its work goes to others")
        self._drop_everything()

    def _drop_everything(self) -> None:
        self._heartbeat.detached()
        self._received = []
        self._crew.drop_everything()

    def expired(self, attached: Attached) -> None:
        """To a heartbeat the session is dead. It may have gone astray: the session itself asks, with all it holds."""
        self._recover_soon(ReattachRequired(attached.session_id), attached)

    def silent(self, attached: Attached) -> None:
        """No heartbeat was acknowledged for long: this session goes to another replica while it still lives."""
        self._recover_soon(ReplicaAway("it acknowledges no heartbeats", address=attached.replica), attached)

    def _recover_soon(self, error: HoldfastError, attached: Attached) -> None:
        # A heartbeat may still be on its way when the session is closed: nothing is opened again after that.
        if not self._opening.locked() and not self._is_closing:
            recovering = asyncio.get_running_loop().create_task(self._recover(error, attached.attach_no))
            self._recovering.add(recovering)
            recovering.add_done_callback(self._recovering.discard)
            recovering.add_done_callback(_log_failure)

    def pulse(self, pulse: Pulse) -> None:
        """A heartbeat was answered."""
        if not self._poll_failed:
            # Heartbeats have a channel of their own: a worker whose polls fail gets no work, whatever they say.
            self._say_reach(True)
        self._crew.ended_elsewhere(pulse.ended)
        self._crew.sure_again()

    def _say_reach(self, in_reach: bool) -> None:
        """Reports a change: whether work of the coordinator reaches this session."""
        if in_reach != self._in_reach:
            self._in_reach = in_reach
            if self._on_reach is not None:
                self._on_reach(in_reach)

    # Polling

    async def poll_on(self) -> None:
        """Keeps a poll open. One with no room is overtaken by another when there is room again."""
        try:
            while True:
                await self.is_attached.wait()
                self._poll_answered.clear()
                poll = asyncio.create_task(self._poll())
                self._polls.add(poll)
                poll.add_done_callback(self._polls.discard)
                poll.add_done_callback(_log_failure)
                await self._poll_answered.wait()
        finally:
            for poll in self._polls:
                poll.cancel()

    async def _poll(self) -> None:
        opened = self._opened
        assert opened is not None
        self._msg_no += 1
        msg_no = self._msg_no
        received, self._received = self._received, []
        self._room_offered = self._crew.free_slots
        self._poll_failed = False
        try:
            work = await self._calls.poll(
                opened.session_id,
                opened.attach_no,
                msg_no,
                free_slots=self._room_offered,
                free_runs=self._crew.free_runs,
                received=received,
                wait=opened.poll_wait,
            )
            if self._opened is opened:
                # What is dropped here is missing from what the session says it holds, and goes to others.
                self._received += self._crew.work_arrived(work.granted_to(opened.attach_no))
        except (ReattachRequired, SessionExpired, ReplicaAway) as error:
            await self._recover(error, opened.attach_no)
        except (HoldfastError, ValueError) as error:
            if not isinstance(error, CoordinatorUnavailable):
                log.error("polling for work failed: %s", error)
            # Whether the coordinator took note of what was received is not known: it is said once more.
            self._received = received + self._received
            self._poll_failed = True
            self._say_reach(False)
            await asyncio.sleep(repeat_wait(3, jitter=random.random()))
        finally:
            if msg_no == self._msg_no:
                self._poll_answered.set()

    def room_changed(self) -> None:
        """There may be free slots again: an open poll that promised few of them is overtaken."""
        few = self._crew.options.slots // 4
        if self._room_offered > few or self._room_timer is not None:
            return
        if self._crew.free_slots > self._room_offered:
            loop = asyncio.get_running_loop()
            self._room_timer = loop.call_later(ROOM_DELAY_SECONDS, self._overtake)

    def _overtake(self) -> None:
        self._room_timer = None
        if self._crew.free_slots > self._room_offered:
            self._poll_answered.set()

    # Reporting

    async def report_on(self) -> None:
        """Sends reports, one at a time; what accumulates meanwhile goes with the next."""
        while True:
            await self._tasks.next_report()
            loop = asyncio.get_running_loop()
            while (report := self._busy.with_due(self._crew.take_report(), loop.time())) is not None:
                answer = await self._answer_to(report)
                if answer is not None:
                    answer = self._busy.keep_busy(report, answer, loop.time(), jitter=random.random())
                    self._crew.report_answered(answer)
                else:
                    self._busy.clear()
                self.room_changed()
                if not self._tasks.has_report:
                    # Whoever was given news by the answer gets its turn before the next report is made.
                    await asyncio.sleep(0)
            again_at = self._busy.next_at()
            if again_at is not None:
                loop.call_at(again_at, self._tasks.report_soon)

    async def _answer_to(self, report: Report) -> ReportAnswer | None:
        """The answer to a report; None when the session died before it came."""
        retry = 0
        first = self._opened
        while True:
            await self.is_attached.wait()
            opened = self._opened
            assert opened is not None
            if first is None or opened.session_id != first.session_id:
                return None
            try:
                if self._crew.declared_signals:
                    # First: once it is on record that a run waits, a signal that does not fit is to be refused.
                    await self._register_signals(opened)
                return await self._calls.report(
                    opened.session_id, opened.attach_no, report.transitions, report.attempts
                )
            except (ReattachRequired, SessionExpired, ReplicaAway) as error:
                await self._recover(error, opened.attach_no)
            except CoordinatorUnavailable:
                await asyncio.sleep(repeat_wait(retry, jitter=random.random()))
                retry += 1
            except HoldfastError as error:
                return await self._answers_one_by_one(report, error)

    async def _register_signals(self, opened: OpenedSession) -> None:
        """Says as what the code here takes signals. Where that is not wanted the coordinator takes any."""
        signals = self._crew.declared_signals.new
        try:
            await self._calls.register_signals(opened.session_id, opened.attach_no, signals)
        except (ReattachRequired, SessionExpired, CoordinatorUnavailable):
            raise
        except HoldfastError as error:
            log.warning("signals are not checked before they reach the code: %s", error)
        self._crew.declared_signals.told(signals)

    async def _answers_one_by_one(self, report: Report, error: HoldfastError) -> ReportAnswer | None:
        """After a refusal of a whole report: finds the part that it was for, so that the others succeed."""
        if len(report.transitions) + len(report.attempts) == 1:
            log.error("a report was refused: %s", error)
            # A stalled run waits for a person, so only what the run itself has made stalls it. All else says that the
            # lease is lost, or nothing of it: then it is given up, and another session gets the run.
            status = TransitionStatus.REFUSED if _is_of_the_run(error) else TransitionStatus.SUPERSEDED
            return ReportAnswer(
                tuple(TransitionResult(one.run_id, status, refusal=str(error)) for one in report.transitions),
                tuple(AttemptReportResult(one.run_id, one.step, False) for one in report.attempts),
            )
        transitions: list[TransitionResult] = []
        attempts: list[AttemptReportResult] = []
        parts = [Report((one,), ()) for one in report.transitions]
        parts += [Report((), (one,)) for one in report.attempts]
        for part in parts:
            answer = await self._answer_to(part)
            if answer is None:
                return None
            transitions += answer.transitions
            attempts += answer.attempts
        return ReportAnswer(tuple(transitions), tuple(attempts))

    # Journals

    async def read_on(self) -> None:
        """Reads journals of leased runs for the crew: all that are wanted with one call, then what is left of each."""
        while True:
            leases = await self._tasks.next_journals(JOURNALS_PER_CALL)
            found = {one.run_id: one for one in await self._beginnings(leases)}
            for place, lease in enumerate(leases):
                beginning = found.get(lease.run_id)
                if beginning is None:
                    self._tasks.read_again(leases[place:])
                    break
                rows = beginning.rows
                if not rows or lease.arguments is None:
                    self._read_soon(lease, after=0)
                elif self._crew.runs.rows_arrived(lease, rows, lease.arguments, more=beginning.more) and beginning.more:
                    self._read_soon(lease, after=rows[-1].seq)

    async def _beginnings(self, leases: Sequence[Lease]) -> Sequence[JournalBeginning]:
        """How journals begin; without rows where one has to be read alone. At least the first of them."""
        retry = 0
        while True:
            await self.is_attached.wait()
            opened = self._opened
            assert opened is not None
            try:
                return await self._calls.read_journals(opened.session_id, opened.attach_no, leases)
            except (ReattachRequired, SessionExpired, ReplicaAway) as error:
                await self._recover(error, opened.attach_no)
            except CoordinatorUnavailable:
                await asyncio.sleep(repeat_wait(retry, jitter=random.random()))
                retry += 1
            except HoldfastError as error:
                # Also of a coordinator that is older than this worker, and has no such call.
                log.debug("journals are read one by one: %s", error)
                return [JournalBeginning(lease.run_id, lease.epoch, (), more=True) for lease in leases]

    def _read_soon(self, lease: Lease, *, after: int) -> None:
        reading = asyncio.get_running_loop().create_task(self._read(lease, after))
        self._journals.add(reading)
        reading.add_done_callback(self._journals.discard)
        reading.add_done_callback(_log_failure)

    async def _read(self, lease: Lease, after: int) -> None:
        """Reads a journal page by page, beside a few others."""
        async with self._journals_at_once:
            await self._read_pages(lease, after)

    async def _read_pages(self, lease: Lease, after: int) -> None:
        retry = 0
        while True:
            await self.is_attached.wait()
            opened = self._opened
            assert opened is not None
            try:
                page = await self._calls.read_journal(
                    opened.session_id, opened.attach_no, lease.run_id, lease.epoch, after=after
                )
            except (ReattachRequired, SessionExpired, ReplicaAway) as error:
                await self._recover(error, opened.attach_no)
                continue
            except CoordinatorUnavailable:
                await asyncio.sleep(repeat_wait(retry, jitter=random.random()))
                retry += 1
                continue
            except (HoldfastError, ValueError) as error:
                log.error("the journal of run %s cannot be read: %s", lease.run_id, error)
                self._crew.runs.journal_unreadable(lease)
                return
            # Only the first page brings the arguments: with them the crew begins to rebuild the run.
            arguments = None if after else page.arguments or lease.arguments
            if not self._crew.runs.rows_arrived(lease, page.rows, arguments, more=page.more):
                return
            if not page.more:
                return
            after = page.rows[-1].seq

    # The end

    async def close(self, *, lost: Iterable[Held] = (), within: timedelta = timedelta(seconds=2)) -> None:
        """Says good-bye, as well as it can. lost: what of the work has ended this worker."""
        self._is_closing = True
        for task in (*self._journals, *self._recovering):
            task.cancel()
        if self._room_timer is not None:
            self._room_timer.cancel()
        if self._opened is None:
            return
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._calls.close_session(self._opened.session_id, self._opened.attach_no, lost=lost)
        except (HoldfastError, TimeoutError) as error:
            log.warning("the session was not closed, it ends by its time limit: %s", error)


def _is_of_the_run(error: HoldfastError) -> bool:
    """True when a report is refused for what is in it."""
    if isinstance(error, Refused):
        return error.reason in _REFUSED_CONTENT
    return isinstance(error, InvalidRequest | ArgumentsRejected | PayloadTooLarge)


_REFUSED_CONTENT = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED"})
"""What gRPC itself says of messages that are too large or make no sense."""


def _log_failure(task: asyncio.Task[None]) -> None:
    """Says at once what went wrong in a task that is not awaited."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("an error inside the worker; it goes on", exc_info=error)
