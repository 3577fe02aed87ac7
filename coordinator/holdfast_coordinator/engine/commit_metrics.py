"""What is committed, as the metrics of a replica. Only made when there are metrics.

The entry that ends an attempt says when it was scheduled, started and ended, but not the name of its step: that is in
the entry that scheduled it, most often in an earlier report. So the names of open steps are remembered, as far as
this replica has seen them; a run that comes from another replica has steps without a name until they are through.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast.statuses import AttemptOutcome, Placement
from holdfast_coordinator.domain.commands import CommitTransition, ReportAttempt
from holdfast_coordinator.domain.events import LeaseLost, TaskClaimed
from holdfast_coordinator.domain.rows import RunResult
from holdfast_coordinator.metrics.table import UNKNOWN
from holdfast_coordinator.telemetry.identity import sampled_trace_id
from holdfast_coordinator.wire.reported_attempts import AttemptEnd, ScheduledStep, queued_end, schedules_and_ends

from .committed import Committed
from .facts import REASONS
from .matcher import Matcher
from .run_rows import Records

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics

NAMES_MAX = 50_000
"""How many open steps are remembered by name; the oldest are forgotten first."""
EXEMPLAR_SECONDS = 0.1
SLOW_SECONDS = 1.0
_INLINE = Placement.INLINE.name.lower()
_QUEUED = Placement.QUEUED.name.lower()
_OUTCOMES = {int(outcome): outcome.name.lower() for outcome in AttemptOutcome}
_REPEATED = frozenset({int(AttemptOutcome.FAILED_RETRYABLE), int(AttemptOutcome.TIMED_OUT)})
_COMPLETED = int(AttemptOutcome.COMPLETED)


class CommitMetrics:
    """See the module."""

    def __init__(
        self, metrics: "Metrics", records: Records, matcher: Matcher, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._records = records
        self._matcher = matcher
        self._clock = clock
        self._next_exemplar_at = 0.0
        self._names: OrderedDict[tuple[str, int], str] = OrderedDict()

    def committed(self, committed: Committed) -> None:
        """Runs were made, and reports recorded: each of their attempts counts once, however often it is reported."""
        for record in committed.runs:
            self._metrics.run_started(record.namespace, record.workflow)
        for event in committed.events:
            if type(event) is TaskClaimed:
                # Its report will not say what step it is of.
                self._remember(event.task.run_id, event.task.number, event.task.name)
        for report in committed.reports:
            if type(report) is CommitTransition:
                self._transition(report)
            elif type(report) is ReportAttempt:
                self._ended(report, queued_end(report), _QUEUED)

    def lost(self, event: LeaseLost) -> None:
        """A run or a queued attempt was taken from its session."""
        self._metrics.lease_lost("attempt" if event.number else "run", REASONS[event.reason])

    def closed(self, result: RunResult) -> None:
        """A run has ended."""
        record = self._records.known(result.run_id)
        self._metrics.run_closed(result.namespace, record.workflow if record is not None else UNKNOWN, result.status)

    def _transition(self, asked: CommitTransition) -> None:
        for one in schedules_and_ends(asked):
            if isinstance(one, ScheduledStep):
                self._remember(asked.run_id, one.number, one.name)
            else:
                self._ended(asked, one, _INLINE)

    def _ended(self, report: CommitTransition | ReportAttempt, end: AttemptEnd, placement: str) -> None:
        run_id, outcome, metrics = report.run_id, end.outcome, self._metrics
        step = self._name(run_id, end.number, is_over=end.is_last)
        if outcome is None:
            return
        of_run = self._records.known(run_id)
        workflow = of_run.workflow if of_run is not None else UNKNOWN
        # A session may have left between its report and the commit.
        worker = self._matcher.attachment(report.session_id)
        namespace, queue = (worker.namespace, worker.queue) if worker is not None else (UNKNOWN, UNKNOWN)
        trace_id = ""
        if of_run is not None and of_run.trace and self._wants_exemplar(outcome, end.ran_seconds):
            trace_id = sampled_trace_id(of_run, end.ended_ns)
        metrics.attempt_ended(
            namespace,
            workflow,
            step,
            outcome=_OUTCOMES.get(outcome, UNKNOWN),
            seconds=end.ran_seconds,
            trace_id=trace_id,
        )
        metrics.attempt_started(namespace, queue, placement, waited_seconds=end.waited_seconds, trace_id=trace_id)
        if not end.is_last and outcome in _REPEATED:
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
