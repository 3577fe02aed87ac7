"""What a user's `logging` says of the run and the attempt that it comes from, and its silence in replays.

While a worker runs, `logging.Logger.handle` is wrapped: the one place that all records pass on their way to whatever
filters and handlers the program has. A factory of records would be too early: attributes that it sets make
`extra={"attempt": 2}` an error, and it cannot drop a record.
"""

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from opentelemetry.trace import get_current_span

from holdfast.logs import NO_FACTS
from holdfast.workflow.current_run import WorkflowRuntime, current_runtime


class AttemptFacts(NamedTuple):
    """Whose attempt this is."""

    run_id: str
    workflow: str
    step: str
    number: int
    step_id: str
    attempt: int

    def __str__(self) -> str:
        return f"step {self.step} ({self.number}) of run {self.run_id}"


current_attempt: ContextVar[AttemptFacts | None] = ContextVar("holdfast_current_attempt", default=None)
"""The attempt that the running code belongs to; None in workflow code and everywhere else."""


def attempt_of(task: asyncio.Task[Any]) -> AttemptFacts | None:
    """The attempt that began this task, itself or by a task of its own. Called from any thread."""
    # Task.get_context came with Python 3.12; the garbage collector sees what a task refers to in all of them.
    contexts = [one for one in gc.get_referents(task) if isinstance(one, contextvars.Context)]
    return contexts[0].get(current_attempt) if contexts else None


_lock = threading.Lock()
_users = 0
_is_in_place = False
_handle_before: Any = None


@contextmanager
def facts_in_logs() -> Iterator[None]:
    """All records have the attributes of NO_FACTS in this block, and workflow code that is replayed logs nothing.

    What a call gives as `extra` goes first. Blocks may overlap, also in several threads.
    """
    _install()
    try:
        yield
    finally:
        _uninstall()


def _install() -> None:
    global _users, _is_in_place, _handle_before
    with _lock:
        _users += 1
        if not _is_in_place:
            _handle_before, _is_in_place = logging.Logger.handle, True
            logging.Logger.handle = _handle  # type: ignore[assignment,method-assign]


def _uninstall() -> None:
    global _users, _is_in_place
    with _lock:
        _users -= 1
        # It may have been wrapped since; then it stays where it is, and does nothing without users.
        if _users == 0 and logging.Logger.handle is _handle:
            logging.Logger.handle = _handle_before  # type: ignore[method-assign]
            _is_in_place = False


def _handle(logger: logging.Logger, record: logging.LogRecord) -> None:
    if _users:
        attempt = current_attempt.get()
        runtime = current_runtime.get() if attempt is None else None
        if runtime is not None and runtime.is_replaying:
            return
        values = record.__dict__
        for name, value in _facts(attempt, runtime).items():
            values.setdefault(name, value)
    if not _users or not record.name.startswith("holdfast."):
        _handle_before(logger, record)
        return
    try:
        _handle_before(logger, record)
    except Exception as error:  # noqa: BLE001 - a stream that a step has closed, or a filter that fails
        # Whoever logs here is about something else, which must not break off for it.
        _write_plainly(record, error)


def _write_plainly(record: logging.LogRecord, error: Exception) -> None:
    line = f"{record.levelname.lower()} {record.name} {record.getMessage()} (not logged: {error!r})\n"
    with contextlib.suppress(OSError):
        os.write(2, line.encode(errors="replace"))


def _facts(attempt: AttemptFacts | None, runtime: WorkflowRuntime | None) -> Mapping[str, Any]:
    if attempt is not None:
        facts = NO_FACTS | {
            "run_id": attempt.run_id,
            "workflow_name": attempt.workflow,
            "step_name": attempt.step,
            "step_number": attempt.number,
            "step_id": attempt.step_id or str(attempt.number),
            "attempt": attempt.attempt,
        }
    elif runtime is not None:
        facts = NO_FACTS | {"run_id": runtime.info.run_id, "workflow_name": runtime.info.workflow}
    else:
        return NO_FACTS
    span = get_current_span().get_span_context()
    if span.is_valid:
        facts["trace_id"] = f"{span.trace_id:032x}"
        facts["span_id"] = f"{span.span_id:016x}"
    return facts
