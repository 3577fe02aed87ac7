"""What a worker's log says of failures: one line for each attempt and each run that failed, and for each
signal that did not fit. It decides nothing."""

import logging
from datetime import timedelta

from holdfast.durations import format_duration
from holdfast.journal import AttemptRecord, Failure, RunClosed, SignalSetAside
from holdfast.statuses import AttemptOutcome, RunStatus
from holdfast.worker.pending_entries import PendingEntries

log = logging.getLogger("holdfast.worker")

MESSAGE_CHARACTERS_MAX = 500
_FAILED = frozenset({AttemptOutcome.FAILED_RETRYABLE, AttemptOutcome.FAILED_FINAL, AttemptOutcome.TIMED_OUT})


def log_failed_attempt(record: AttemptRecord, *, run_id: str, workflow: str, step: str, number: int) -> None:
    """A warning for an attempt that failed or ran into its timeout, with what follows; nothing for other outcomes."""
    if record.outcome not in _FAILED or record.failure is None:
        return
    follows = "for good" if record.retry_delay is None else f"attempt {record.attempt + 1} {_after(record.retry_delay)}"
    log.warning(
        "run %s (%s): step %s (%d), attempt %d failed with %s; %s",
        run_id, workflow, step, number, record.attempt, _one_line(record.failure), follows,
    )  # fmt: skip


def log_closed_run(closed: RunClosed, *, run_id: str, workflow: str) -> None:
    """An error for a run that failed; nothing for other ends."""
    if closed.status is RunStatus.FAILED and closed.failure is not None:
        log.error("run %s (%s) failed with %s", run_id, workflow, _one_line(closed.failure))


def log_signal_set_aside(entry: SignalSetAside, *, run_id: str, workflow: str) -> None:
    """A warning for a signal that does not fit what the code waits for."""
    log.warning(
        "run %s (%s): signal %s was set aside and the run waits on: %s", run_id, workflow, entry.name, entry.problem
    )


def log_long_journal(journal: PendingEntries, *, run_id: str, workflow: str) -> None:
    """A warning for a run whose journal has become long."""
    log.warning(
        "run %s (%s): its journal has become long, %d entries and about %d bytes; let the run go on as a new one with "
        "continue_as_new, before it fails at a limit",
        run_id, workflow, journal.journal_entries, journal.journal_bytes,
    )  # fmt: skip


def _after(delay: timedelta) -> str:
    milliseconds = timedelta(milliseconds=1)
    return f"in {format_duration(max(delay // milliseconds, 1) * milliseconds)}" if delay else "at once"


def _one_line(failure: Failure) -> str:
    message = " ".join(failure.message.split())
    cut = message if len(message) <= MESSAGE_CHARACTERS_MAX else f"{message[:MESSAGE_CHARACTERS_MAX]}..."
    return f"{failure.error_type}: {cut}" if cut else failure.error_type
