"""Notes each late result: by a log event, a count, and a span below the attempt when its run is sampled.

A late result is the report of an attempt that was taken from its worker meanwhile. It was refused and nothing was
recorded; what is noted of it is noted here, once and best effort, after the worker had its answer.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from holdfast.statuses import AttemptOutcome, Placement, TransitionStatus
from holdfast_coordinator.domain.commands import CommitTransition, ReportAttempt
from holdfast_coordinator.domain.rows import RunRow
from holdfast_coordinator.domain.transitions import TransitionAnswer
from holdfast_coordinator.store.control_port import ControlStore
from holdfast_coordinator.store.port import CellStore, StoreError
from holdfast_coordinator.telemetry.late_result_span import LateResult, attempt_span_of, late_result_span
from holdfast_coordinator.telemetry.run_spans import DEFAULT_RULES
from holdfast_coordinator.telemetry.spans import Span, SpanRules
from holdfast_coordinator.wire.reported_attempts import is_in_journal, is_in_mail, queued_result, results

from .attachments import Attachment
from .cells import Cells
from .run_rows import Records

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics

log = structlog.get_logger(__name__)

WAITING_MAX = 1_000
"""How many late results wait to be noted; with more, the newest are only counted."""

PAGE_BYTES = 1024 * 1024
CLOSE_SECONDS = 1.0
_INLINE = Placement.INLINE.name.lower()
_QUEUED = Placement.QUEUED.name.lower()
_LOST = int(AttemptOutcome.LOST)

Emit = Callable[[Span], None]
"""Exports a span that is no part of a run's skeleton. Never waits, never fails."""


@dataclass(slots=True, frozen=True)
class _Report:
    """A late result, and who reported it. asked: the transition whose entry it was, or the report of a queued attempt.

    worker: None when its session is gone, which has to be found out.
    """

    late: LateResult
    worker: Attachment | None
    asked: CommitTransition | ReportAttempt

    @property
    def placement(self) -> str:
        return _INLINE if isinstance(self.asked, CommitTransition) else _QUEUED


class LateResults:
    """See the module. clock: the database's time. emit: None while tracing is off. rules: those of exported spans."""

    def __init__(
        self, cells: Cells, records: Records, control: ControlStore, *, clock: Callable[[], datetime],
        metrics: "Metrics | None" = None, emit: Emit | None = None, rules: SpanRules = DEFAULT_RULES,
    ) -> None:  # fmt: skip
        self._cells = cells
        self._records = records
        self._control = control
        self._clock = clock
        self._metrics = metrics
        self._emit = emit
        self._rules = rules
        self._waiting: deque[_Report] = deque()
        self._noting: asyncio.Task[None] | None = None

    def answered(
        self, worker: Attachment, transitions: Sequence[CommitTransition], taken: Sequence[TransitionAnswer],
        attempts: Sequence[ReportAttempt], recorded: Sequence[bool | None],
    ) -> None:  # fmt: skip
        """Reports were answered: what of them was refused because it came too late is noted soon."""
        for transition, answer in zip(transitions, taken, strict=True):
            if answer.status is TransitionStatus.SUPERSEDED:
                self._put(_of_transition(worker, transition))
        if False in recorded:
            for report, was_recorded in zip(attempts, recorded, strict=True):
                if was_recorded is False:
                    self._put([_of_attempt(worker, report)])

    def unattached(self, transitions: Sequence[CommitTransition], attempts: Sequence[ReportAttempt]) -> None:
        """Reports came from a session that is not attached here: what they bring is late if the session is dead."""
        for transition in transitions:
            self._put(_of_transition(None, transition))
        self._put([_of_attempt(None, report) for report in attempts])

    async def close(self) -> None:
        """Notes what still waits, for a moment, and then no more."""
        if self._noting is not None:
            await asyncio.wait([self._noting], timeout=CLOSE_SECONDS)
            self._noting.cancel()

    def _put(self, reports: Iterable[_Report]) -> None:
        for report in reports:
            if len(self._waiting) < WAITING_MAX:
                self._waiting.append(report)
            else:
                self._count(report)
        if self._waiting and (self._noting is None or self._noting.done()):
            self._noting = asyncio.get_running_loop().create_task(self._note_all(), name="late results")

    async def _note_all(self) -> None:
        """One after the other: a thousand at once must not take the database from the work that is not late."""
        while self._waiting:
            await self._note_if_late(self._waiting.popleft())

    async def _note_if_late(self, report: _Report) -> None:
        late = report.late
        try:
            record = (await self._records.of([late.run_id])).get(late.run_id)
            if record is None or not await self._is_late(report, record):
                return
            self._note(report, record)
        except StoreError:
            self._count(report)  # its database does not answer, and is not waited for
        except Exception:
            # What a worker wrote may be any numbers. All others are noted all the same.
            log.exception("late_result_not_noted", run_id=late.run_id, step=late.step)

    async def _is_late(self, report: _Report, record: RunRow) -> bool:
        """False for the repeat of a report that was recorded, and for a worker that has no business with the run."""
        store = self._cells.of_run(record.run_id).store
        worker, asked = report.worker, report.asked
        if worker is not None:
            if worker.namespace != record.namespace:
                return False
        elif not await self._control.dead_or_unknown([asked.session_id]):
            return False  # it attaches again, and reports again
        if isinstance(asked, ReportAttempt):
            return not await _is_recorded(store, asked)
        if worker is not None:
            return True  # the engine has looked
        key = (asked.expected_seq, asked.epoch, asked.transition_id)
        return not await store.has_transition(record.run_id, *key)

    def _count(self, report: _Report) -> None:
        if self._metrics is not None and report.worker is not None:
            self._metrics.late_result(report.worker.namespace, report.placement)

    def _note(self, report: _Report, record: RunRow) -> None:
        late = report.late
        if self._metrics is not None:
            self._metrics.late_result(record.namespace, report.placement)
        parent = attempt_span_of(record, late)
        position = {} if parent is None else {"trace_id": parent.trace_id.hex(), "span_id": parent.span_id.hex()}
        log.info(
            "late_result",
            run_id=late.run_id,
            workflow=record.workflow,
            step=late.step,
            attempt=late.attempt.attempt,
            outcome=late.outcome,
            placement=report.placement,
            session_id=report.asked.session_id,
            epoch=late.epoch,
            **position,
        )
        if parent is not None and parent.is_sampled and self._emit is not None:
            at, span_id = self._clock(), secrets.token_bytes(8)
            self._emit(late_result_span(record, late, parent, at=at, span_id=span_id, rules=self._rules))


def _of_transition(worker: Attachment | None, asked: CommitTransition) -> Iterator[_Report]:
    """What a worker has found out by running something, and not the losses that it only notes down."""
    for step, attempt in results(asked):
        if attempt.outcome != _LOST:
            yield _Report(LateResult(asked.run_id, step, asked.epoch, attempt), worker, asked)


def _of_attempt(worker: Attachment | None, asked: ReportAttempt) -> _Report:
    return _Report(LateResult(asked.run_id, asked.number, asked.epoch, queued_result(asked)), worker, asked)


async def _is_recorded(store: CellStore, asked: ReportAttempt) -> bool:
    """Whether this very record of a queued attempt is in the mail or the journal of its run. Raises StoreError."""
    run_id, record = asked.run_id, asked.record
    if any(is_in_mail(record, mail) for mail in await store.mail_after(run_id, 0)):
        return True
    seq, more = 0, True
    while more:
        rows, more = await store.journal(run_id, seq, PAGE_BYTES)
        for row in rows:
            seq = row.seq
            if is_in_journal(record, row):
                return True
            await asyncio.sleep(0)
    return False
