"""What a committed report means for the metrics of steps and their attempts. Only made when there are metrics.

The entry that ends an attempt says when it was scheduled, started and ended, but not the name of its step: that is in
the entry that scheduled it, most often in an earlier report. So the names of open steps are remembered, as far as
this replica has seen them; a run that comes from another replica has steps without a name until they are through.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.journal.kinds import ATTEMPT_ENDS
from holdfast.statuses import AttemptOutcome, Placement, TransitionStatus
from holdfast.traces import parse_traceparent, segment_number, segment_root
from holdfast_coordinator.domain.events import TaskClaimed
from holdfast_coordinator.domain.rows import RunRow
from holdfast_coordinator.domain.transitions import TransitionAnswer
from holdfast_coordinator.engine.attachments import Attachment
from holdfast_coordinator.engine.run_rows import Records
from holdfast_coordinator.metrics.table import UNKNOWN
from holdfast_coordinator.telemetry.spans import time_ns

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics

NAMES_MAX = 50_000
"""So many open steps are remembered by name; the oldest are forgotten first."""
EXEMPLAR_SECONDS = 0.1
SLOW_SECONDS = 1.0
_INLINE = Placement.INLINE.name.lower()
_QUEUED = Placement.QUEUED.name.lower()
_OUTCOMES = {int(outcome): outcome.name.lower() for outcome in AttemptOutcome}
_REPEATED = frozenset({int(AttemptOutcome.FAILED_RETRYABLE), int(AttemptOutcome.TIMED_OUT)})
_COMPLETED = int(AttemptOutcome.COMPLETED)


class StepMeasure:
    """See the module."""

    def __init__(self, metrics: "Metrics", records: Records, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._next_exemplar_at = 0.0
        self._records = records
        self._names: OrderedDict[tuple[str, int], str] = OrderedDict()

    def claimed(self, tasks: Iterable[TaskClaimed]) -> None:
        """Queued attempts are handed out: their reports will not say what step they are of."""
        for claim in tasks:
            self._remember(claim.task.run_id, claim.task.number, claim.task.name)

    def reported(
        self,
        worker: Attachment,
        request: pb.ReportRequest,
        taken: Sequence[TransitionAnswer],
        recorded: Sequence[bool | None],
    ) -> None:  # fmt: skip
        """A report was answered: each of its transitions and attempts was committed, or not; see late_results too."""
        for transition, answer in zip(request.transitions, taken, strict=True):
            if answer.status in (TransitionStatus.COMMITTED, TransitionStatus.COMMITTED_WITH_MAIL):
                self._committed(worker, transition)
        for report, was_recorded in zip(request.attempts, recorded, strict=True):
            if was_recorded:
                self._queued_attempt(worker, report)

    def _committed(self, worker: Attachment, transition: pb.Transition) -> None:
        run_id = transition.run_id
        for entry in transition.entries:
            kind = entry.WhichOneof("body")
            if kind == "step_scheduled":
                self._remember(run_id, entry.step_scheduled.number, entry.step_scheduled.name)
            elif kind in ATTEMPT_ENDS:
                ended = getattr(entry, kind)
                name = self._name(run_id, ended.number, is_over=kind != "attempt_ended")
                if ended.HasField("attempt"):
                    repeated = kind == "attempt_ended" and int(ended.attempt.outcome) in _REPEATED
                    self._attempt(worker, run_id, name, ended.attempt, placement=_INLINE, repeated=repeated)

    def _queued_attempt(self, worker: Attachment, report: pb.AttemptReport) -> None:
        again = report.record.HasField("retry_delay")
        name = self._name(report.run_id, report.step, is_over=not again)
        repeated = again and int(report.record.outcome) in _REPEATED
        self._attempt(worker, report.run_id, name, report.record, placement=_QUEUED, repeated=repeated)

    def _attempt(
        self, worker: Attachment, run_id: str, step: str, record: journal_pb2.AttemptRecord, *,
        placement: str, repeated: bool,
    ) -> None:  # fmt: skip
        of_run = self._records.known(run_id)
        workflow = of_run.workflow if of_run is not None else UNKNOWN
        namespace, metrics = worker.namespace, self._metrics
        seconds = _seconds(record.started_at, record.ended_at)
        trace_id = ""
        if of_run is not None and of_run.trace and self._wants_exemplar(record.outcome, seconds):
            trace_id = _sampled_trace_id(of_run, record.ended_at)
        metrics.attempt_ended(
            namespace,
            workflow,
            step,
            outcome=_OUTCOMES.get(record.outcome, UNKNOWN),
            seconds=seconds,
            trace_id=trace_id,
        )
        metrics.attempt_started(
            namespace,
            worker.queue,
            placement,
            waited_seconds=_seconds(record.eligible_at, record.started_at),
            trace_id=trace_id,
        )
        if repeated:
            metrics.retried(namespace, workflow, step)

    def _wants_exemplar(self, outcome: int, seconds: float) -> bool:
        """Every attempt that failed or was slow is worth a look; of the others a few will do, each costs 8 us."""
        now = self._clock()
        if outcome == _COMPLETED and seconds < SLOW_SECONDS and now < self._next_exemplar_at:
            return False
        self._next_exemplar_at = now + EXEMPLAR_SECONDS
        return True

    def _remember(self, run_id: str, number: int, name: str) -> None:
        self._names[run_id, number] = name
        if len(self._names) > NAMES_MAX:
            self._names.popitem(last=False)

    def _name(self, run_id: str, number: int, *, is_over: bool) -> str:
        key = (run_id, number)
        return (self._names.pop(key, None) if is_over else self._names.get(key)) or UNKNOWN


def _seconds(since: Timestamp, until: Timestamp) -> float:
    return (until.seconds - since.seconds) + (until.nanos - since.nanos) / 1e9 if since.seconds else 0.0


def _sampled_trace_id(run: RunRow, at: Timestamp) -> str:
    """The trace in which the spans of a sampled run are that end now; an empty text when it is not sampled."""
    trace = value_pb2.RunTrace.FromString(run.trace)
    context = parse_traceparent(trace.context.traceparent)
    if context is None or not context.is_sampled:
        return ""
    segment = trace.segment.ToTimedelta()
    # Not at.ToDatetime(), which raises for a time that no calendar has; a worker may write any.
    ended_at = datetime.fromtimestamp(time_ns(at) / 1e9, UTC)
    number = segment_number(run.created_at, ended_at, segment) if segment else 0
    return segment_root(context, run.run_id, number).trace_id.hex()
