"""Every metric as data: name, kind, unit, labels, buckets and a sentence. docs/telemetry.md shows the same table."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

USER_LABELS = frozenset({"namespace", "queue", "workflow", "step"})
"""Labels whose values users choose: beyond SERIES_MAX label sets of a metric they all become OTHER."""
OTHER = "other"
UNKNOWN = "unknown"
"""Stands for a name that this replica has not seen; see rpc.measuring."""
SERIES_MAX = 200
"""Label sets that one metric has at most, besides those in which the users' names have become OTHER."""
LABEL_LENGTH_MAX = 120

FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds, for what this replica does itself."""
WORK = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""Seconds, for what users' code does, and for waits that depend on it."""
COUNTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


class Kind(StrEnum):
    """What may be done with a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(slots=True, frozen=True)
class Instrument:
    """One metric. unit: as UCUM writes it; the name ends in its long form where there is one."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = "1"
    buckets: tuple[float, ...] = ()


STEP_DURATION = Instrument(
    "holdfast_step_duration_seconds", Kind.HISTOGRAM,
    "How long an attempt of a step ran, by how it ended; without attempts that their worker did not live to report.",
    ("namespace", "workflow", "step", "outcome"), "s", WORK,
)  # fmt: skip
SCHEDULE_TO_START = Instrument(
    "holdfast_schedule_to_start_seconds", Kind.HISTOGRAM,
    "How long an attempt that could start waited until it did.",
    ("namespace", "queue", "placement"), "s", WORK,
)  # fmt: skip
RETRIES = Instrument(
    "holdfast_retries_total", Kind.COUNTER,
    "Attempts of steps that failed or timed out and are to be repeated.",
    ("namespace", "workflow", "step"),
)  # fmt: skip
RUNS_STARTED = Instrument(
    "holdfast_runs_started_total", Kind.COUNTER,
    "Runs that were created, children too.",
    ("namespace", "workflow"),
)  # fmt: skip
RUNS_CLOSED = Instrument(
    "holdfast_runs_closed_total", Kind.COUNTER,
    "Runs that ended, by their final status.",
    ("namespace", "workflow", "status"),
)  # fmt: skip
LATE_RESULTS = Instrument(
    "holdfast_late_results_total", Kind.COUNTER,
    "Results of attempts that were refused because the lease or the claim had moved on.",
    ("namespace", "placement"),
)  # fmt: skip
LEASES_LOST = Instrument(
    "holdfast_leases_lost_total", Kind.COUNTER,
    "Leases of runs and claims of queued attempts that this replica took from a session: its worker was lost, it was "
    "overdue, the session was closed, or what was handed out never arrived.",
    ("held", "reason"),
)  # fmt: skip
ALARM_LATENESS = Instrument(
    "holdfast_alarm_lateness_seconds", Kind.HISTOGRAM,
    "How long after its time an alarm of a run was recorded: timers, retries, delayed starts, deadlines.",
    ("alarm",), "s", FAST,
)  # fmt: skip
COMMIT_SECONDS = Instrument(
    "holdfast_commit_seconds", Kind.HISTOGRAM,
    "How long a batch of commands took to be committed, by the way it took: append, start, known or locked.",
    ("path",), "s", FAST,
)  # fmt: skip
COMMIT_BATCH_SIZE = Instrument(
    "holdfast_commit_batch_size", Kind.HISTOGRAM,
    "How many commands were committed together.",
    ("path",), "1", COUNTS,
)  # fmt: skip
COMMITS_FAILED = Instrument(
    "holdfast_commits_failed_total", Kind.COUNTER,
    "Batches that could not be committed, or of which it is not known; their callers were asked to repeat.",
)  # fmt: skip
POOL_WAIT = Instrument(
    "holdfast_pool_wait_seconds", Kind.HISTOGRAM,
    "How long a read of a cell, or a statement of the control schema, waited for a connection.",
    ("pool",), "s", FAST,
)  # fmt: skip
SESSIONS = Instrument(
    "holdfast_sessions", Kind.GAUGE,
    "Sessions of workers that are attached to this replica.",
    ("namespace", "queue"),
)  # fmt: skip
POLLS_WAITING = Instrument(
    "holdfast_polls_waiting", Kind.GAUGE,
    "Sessions whose poll waits at this replica for work.",
    ("namespace", "queue"),
)  # fmt: skip
QUEUE_DEPTH = Instrument(
    "holdfast_queue_depth", Kind.GAUGE,
    "Runs and queued steps that are ready and not taken; counted up to 10,000 for each name and priority.",
    ("namespace", "queue", "work"),
)  # fmt: skip
QUEUE_OLDEST_AGE = Instrument(
    "holdfast_queue_oldest_age_seconds", Kind.GAUGE,
    "How long the oldest ready run or queued step has been waiting.",
    ("namespace", "queue", "work"), "s",
)  # fmt: skip
OPEN_RUNS = Instrument(
    "holdfast_open_runs", Kind.GAUGE,
    "Open runs by state: ready, leased, stalled, waiting (suspended or paused); an estimate beyond 10,000 of a state.",
    ("state",),
)  # fmt: skip
DELIVERIES_FAILED = Instrument(
    "holdfast_deliveries_failed_total", Kind.COUNTER,
    "Attempts that failed to start, cancel or end a child, to bring its end to its parent, or to fire an alarm of a "
    "run; each is tried again later.",
    ("alarm",),
)  # fmt: skip
DEAD_LETTERS = Instrument(
    "holdfast_dead_letters", Kind.GAUGE,
    "Deliveries and alarms that were given up after 20 attempts, counted up to 10,000; `holdfast runs show` of their "
    "run says what and why.",
)  # fmt: skip
SPANS_EXPORTED = Instrument(
    "holdfast_spans_exported_total", Kind.COUNTER,
    "Spans that the collector has taken; after a crash some of them twice.",
)  # fmt: skip
SPANS_DROPPED = Instrument(
    "holdfast_spans_dropped_total", Kind.COUNTER,
    "Spans that were not exported at once (queue_full: the relay exports them later) or that the collector refused, "
    "and runs whose spans the relay gave up (refused_run, too_old, too_many).",
    ("reason",),
)  # fmt: skip
RELAY_BACKLOG = Instrument(
    "holdfast_relay_backlog", Kind.GAUGE,
    "Runs whose spans are left to the relay because they were not exported when they should have been.",
)  # fmt: skip

HELD = ("run", "attempt")
LOST = ("lost", "overdue", "undelivered", "closed_session")
"""What is taken from a session, and why: the labels of LEASES_LOST."""

TABLE = (
    QUEUE_DEPTH, QUEUE_OLDEST_AGE, SCHEDULE_TO_START, STEP_DURATION, RETRIES, LEASES_LOST, LATE_RESULTS,
    OPEN_RUNS, RUNS_STARTED, RUNS_CLOSED, ALARM_LATENESS, COMMIT_SECONDS, COMMIT_BATCH_SIZE, COMMITS_FAILED,
    DELIVERIES_FAILED, DEAD_LETTERS, POOL_WAIT, SESSIONS, POLLS_WAITING, SPANS_EXPORTED, SPANS_DROPPED, RELAY_BACKLOG,
)  # fmt: skip
OF_CELLS = frozenset({QUEUE_DEPTH.name, QUEUE_OLDEST_AGE.name, OPEN_RUNS.name, DEAD_LETTERS.name, RELAY_BACKLOG.name})


GaugeValues = Mapping[tuple[str, ...], float]
"""Values of a gauge by their label values, in the order of its labels."""


class SpansDropped(StrEnum):
    """Why spans are not exported. The last three count runs: not all of their spans were built."""

    QUEUE_FULL = "queue_full"
    REFUSED = "refused"
    REFUSED_RUN = "refused_run"
    TOO_OLD = "too_old"
    TOO_MANY = "too_many"
