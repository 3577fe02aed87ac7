"""Replicas that export what they commit to one cell: real writer, real tracing, real collector; workers are played."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.v1 import journal_pb2
from holdfast.api.v1.status_pb2 import STEP_PLACEMENT_INLINE
from holdfast.ids import run_id, start_id
from holdfast.statuses import RunStatus, Then, TransitionStatus
from holdfast.wire import time_from
from holdfast_coordinator.domain.asks import CloseAsk, ConsumeMail
from holdfast_coordinator.domain.commands import CommitTransition, SendSignal, StartRun
from holdfast_coordinator.domain.rows import JournalRow, RunRow
from holdfast_coordinator.domain.transitions import TransitionAnswer
from holdfast_coordinator.engine.attachments import Attachment
from holdfast_coordinator.engine.cell_writer import CellWriter
from holdfast_coordinator.engine.commit_notes import OnJournal
from holdfast_coordinator.engine.committed import Committed
from holdfast_coordinator.engine.matcher import Matcher
from holdfast_coordinator.export.relay import RelayLimits
from holdfast_coordinator.export.span_export import SpanExport
from holdfast_coordinator.rpc.collector_client import Collector
from holdfast_coordinator.store.port import CellStore
from holdfast_coordinator.telemetry.identity import IdentityRules, of_start
from holdfast_coordinator.telemetry.otel_variables import Endpoint
from holdfast_coordinator.telemetry.spans import SpanRules
from tests.support.otlp_sink import OtlpSink, ReceivedSpan

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORKER = "s1"
THREE_STEPS = [
    "run accepted", "attempt step-1", "step step-1", "attempt step-2", "step step-2", "attempt step-3", "step step-3",
    "run order",
]  # fmt: skip
"""The spans of a run of three steps, in order of their ends."""
UNREADABLE = b"\xff\xff"
"""What no protobuf message is: the entries of a run whose spans cannot be made."""


def run_named(number: int) -> str:
    """The run id of the run with this number."""
    return run_id("00", start_id(number, bytes(10)))


class Clock:
    """The time of the database, moved by hand."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now

    def pass_time(self, **of_timedelta: float) -> None:
        """Moves the time on."""
        self.now += timedelta(**of_timedelta)


class Played:
    """A run as its worker sees it: where its journal ends. Whatever happens takes a second, of its own time."""

    def __init__(self, number: int, clock: Clock) -> None:
        self.run_id = run_named(number)
        self.seq = 1
        self.steps = 0
        self._number = number
        self._clock = clock
        self._at = clock.now

    def start(self, *, sampled: bool = True, rules: IdentityRules | None = None) -> StartRun:
        """Its start."""
        identity = of_start(
            rules or IdentityRules(), self.run_id, "default", "order", drawn=self._number.to_bytes(16), sampled=sampled
        )
        return StartRun(
            self.run_id, "default", "order", "default", b"", b"hash", trace=identity.trace, traced=identity.side
        )

    def step(self, name: str = "", *, then: Then = Then.CONTINUE) -> CommitTransition:
        """One step, from its schedule to its result."""
        self.steps += 1
        name = name or f"step-{self.steps}"
        scheduled = journal_pb2.StepScheduled(
            number=self.steps, name=name, placement=STEP_PLACEMENT_INLINE, started=True
        )
        begun, ended = self._tick(), self._tick()
        record = journal_pb2.AttemptRecord(
            attempt=1, outcome=1, scheduled_at=begun, eligible_at=begun, started_at=begun, ended_at=ended,  # type: ignore[arg-type]  # completed
            session_id=WORKER, build="b1",
        )  # fmt: skip
        completed = journal_pb2.StepCompleted(number=self.steps, attempt=record)
        entries = [
            journal_pb2.Entry(at=begun, step_scheduled=scheduled),
            journal_pb2.Entry(at=ended, step_completed=completed),
        ]
        waits = "signal go" if then is Then.SUSPEND else ""
        return self._transition([_framed(*entries)], 2, then=then, waits=waits)

    def awaited_signal(self, number: int) -> list[CommitTransition]:
        """A signal that comes while the code waits for it with a limit, and does not end the wait; then that ends."""
        mail = {"number": number, "signal": {"name": "go"}}
        bodies: list[dict[str, Any]] = [
            {"timer_set": {"number": 1_000 + number, "signal": "go", "delay": {"seconds": 60}}},
            {"mail_consumed": {"number": number, "mail": mail}},
            {"timer_cancelled": {"number": 1_000 + number}},
        ]
        return [
            self._transition([_framed(journal_pb2.Entry(at=self._tick(), **body))], 1) for body in bodies
        ]  # each comes to rest: what is in one row belongs together, and what is in two does not

    def consumed(self, number: int) -> CommitTransition:
        """A piece of mail that waits reaches its code."""
        at = time_from(self._tick())
        return self._transition([ConsumeMail(number, at)], 1)

    def unreadable(self) -> CommitTransition:
        """What a broken worker might write."""
        return self._transition([UNREADABLE], 1)

    def close(self, status: RunStatus = RunStatus.COMPLETED) -> CommitTransition:
        """Its end."""
        closed = journal_pb2.RunClosed(status=status.number)  # type: ignore[arg-type]  # the same numbers
        if status is not RunStatus.COMPLETED:
            closed.failure.error_type = "CardDeclined"
        entry = _framed(journal_pb2.Entry(at=self._tick(), run_closed=closed))
        return self._transition([], 1, asks=[CloseAsk(status, None, None, entry)], then=Then.CLOSE)

    def _transition(self, journal: list[bytes | ConsumeMail], count: int, **more: Any) -> CommitTransition:
        values = {"asks": [], "mail_seen": 0, "then": Then.CONTINUE, **more}
        made = CommitTransition(self.run_id, WORKER, 1, self.seq, self.seq + 100, count, journal, **values)
        self.seq += count
        return made

    def _tick(self) -> Timestamp:
        self._at = max(self._at, self._clock.now) + timedelta(seconds=1)
        at = Timestamp()
        at.FromDatetime(self._at)
        return at


class Replica:
    """A writer of the cell, and what exports its spans once `running` is entered. dropped: what was given up, and why.

    hears: False for one that is killed between its commits and their export.
    """

    def __init__(
        self, store: CellStore, address: str, clock: Clock, *, hears: bool = True, limits: RelayLimits | None = None,
        **options: Any,
    ) -> None:  # fmt: skip
        self.dropped: list[tuple[int, str]] = []
        self.collector = Collector(Endpoint(address, timeout_seconds=2))
        self.tracing = SpanExport(
            {"00": store}, self.collector, SpanRules(), clock=clock, collector=address,
            limits=limits or RelayLimits(), dropped=lambda count, reason: self.dropped.append((count, reason)),
            **options,
        )  # fmt: skip
        self.writer = writer_of(store, clock, self.tracing.tracer.committed if hears else None)

    async def commit(self, *commands: StartRun | CommitTransition | SendSignal) -> None:
        """Commits, one after the other."""
        await commit(self.writer, *commands)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Replica"]:
        """Commits and exports for as long as the block runs."""
        async with self.committing(), self.tracing.running():
            yield self

    @asynccontextmanager
    async def committing(self) -> AsyncIterator["Replica"]:
        """Commits only; the relay takes its turns when the test says so."""
        async with writing(self.writer):
            yield self
        # Not sooner: what is left is exported when `running` ends, and that is before this.
        await self.collector.close()


def writer_of(store: CellStore, clock: Clock, on_journal: OnJournal | None) -> CellWriter:
    """A writer whose one session takes every run."""
    matcher = Matcher()
    session = Attachment(
        WORKER, 1, namespace="default", queue="default", workflows=["order"], steps=[], build="b1"
    )  # fmt: skip
    session.begin_poll(msg_no=1, free_slots=1_000, free_runs=1_000, received=[])
    matcher.attach(session)
    # A claim has found nothing: from now on what is started is handed to the session at once.
    matcher.take_backlog(("default", "default"))
    matcher.end_claim(("default", "default"), (), ())

    def tell(committed: Committed) -> None:
        if on_journal is not None and committed.rows:
            on_journal(committed.rows, committed.runs)

    return CellWriter(store, matcher, tell, clock, with_rows=on_journal is not None)


@asynccontextmanager
async def writing(writer: CellWriter) -> AsyncIterator[None]:
    """Has the writer commit for as long as the block runs."""
    task = asyncio.create_task(writer.run())
    try:
        yield
    finally:
        writer.close()
        await task


async def commit(writer: CellWriter, *commands: StartRun | CommitTransition | SendSignal) -> None:
    """Commits, one after the other; all must be taken."""
    for command in commands:
        async with asyncio.timeout(10):
            answer = await writer.submit(command)
        assert not isinstance(answer, TransitionAnswer) or answer.status is TransitionStatus.COMMITTED, answer


class Heard:
    """What a writer has told of: an `OnJournal` that remembers."""

    def __init__(self) -> None:
        self.rows: list[JournalRow] = []
        self.records: list[RunRow] = []

    def __call__(self, rows: Sequence[JournalRow], records: Sequence[RunRow]) -> None:
        self.rows += rows
        self.records += records


async def marks_left(store: CellStore) -> int:
    """How many closed runs have a mark."""
    return await store.marks_waiting(T0 + timedelta(days=3_650), 10_000)


async def until(is_so: Callable[[], Awaitable[object]], seconds: float = 10) -> None:
    """Waits until a database shows what is expected."""
    async with asyncio.timeout(seconds):
        while not await is_so():  # noqa: ASYNC110  # a database tells nobody
            await asyncio.sleep(0.01)


async def none_left(store: CellStore) -> bool:
    """Whether no closed run has a mark."""
    return await marks_left(store) == 0


async def is_true(fact: object) -> bool:
    """For `until`: something that is known without asking."""
    return bool(fact)


async def killed_after(store: CellStore, clock: Clock, runs: Sequence[Played]) -> None:
    """Runs that a replica closed, a second apart, which was killed before it exported anything."""
    writer = writer_of(store, clock, None)
    async with writing(writer):
        for run in runs:
            await commit(writer, run.start(), run.close())
            clock.pass_time(seconds=1)


def spans_of(sink: OtlpSink, number: int) -> dict[str, ReceivedSpan]:
    """The spans of a run that came, by id; what came twice is the same to the byte."""
    found: dict[str, ReceivedSpan] = {}
    for span in sink.of_run(run_named(number)):
        assert found.setdefault(span.span_id, span).raw == span.raw, span.name
    return found


def names(sink: OtlpSink, number: int) -> list[str]:
    """The names of the spans of a run that came, without those that came twice, in order of their ends."""
    return [span.name for span in sorted(spans_of(sink, number).values(), key=lambda span: (span.end_ns, span.name))]


def _framed(*entries: journal_pb2.Entry) -> bytes:
    return journal_pb2.JournalRow(entries=entries).SerializeToString()
