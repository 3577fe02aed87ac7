"""How long a cold replay takes: the pages of a long journal are read, decoded and fed to fresh code.

In memory and without a coordinator; the bytes are those that a worker receives.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from holdfast.api.v1 import journal_pb2, worker_service_pb2
from holdfast.channel.worker_messages import journal_page
from holdfast.codec import Codec
from holdfast.ids import run_id
from holdfast.journal import AttemptRecord, Entry, RunClosed, RunStarted, StepCompleted, StepScheduled
from holdfast.statuses import AttemptOutcome
from holdfast.wire import write_entries
from holdfast.workflow.commands import CallStep, Close
from holdfast.workflow.current_run import RunInfo
from holdfast.workflow.instance import WorkflowInstance

from . import flows

ENTRIES_PER_ROW = 2
ROWS_PER_PAGE = 2_500

_CODEC = Codec()
_WORKFLOW = flows.steps_in_turn.definition
_RUN = RunInfo(run_id("00", "0" * 26), _WORKFLOW.name)


def replay_us_per_step(pages: Sequence[bytes], steps: int) -> float:
    """Microseconds per step of one replay of the journal in `pages`. Must not be called inside a task."""
    started = time.perf_counter()
    instance = _fresh(steps)
    instance.is_replaying = True
    for page in pages:
        for row in journal_page(worker_service_pb2.ReadJournalResponse.FromString(page)).rows:
            for entry in row.entries:
                instance.feed(entry)
    seconds = time.perf_counter() - started
    assert instance.is_closed, instance.waits()
    return seconds / steps * 1e6


def recorded_pages(steps: int) -> list[bytes]:
    """The journal of a run with `steps` steps as a worker writes it, in pages as the coordinator sends them.

    Must not be called inside a task.
    """
    entries = _recorded(steps)
    rows = [entries[first : first + ENTRIES_PER_ROW] for first in range(0, len(entries), ENTRIES_PER_ROW)]
    pages = []
    for first in range(0, len(rows), ROWS_PER_PAGE):
        message = worker_service_pb2.ReadJournalResponse()
        for number, row in enumerate(rows[first : first + ROWS_PER_PAGE], start=first + 1):
            written = journal_pb2.JournalRow(seq=number * ENTRIES_PER_ROW, epoch=1)
            write_entries(written.entries, row)
            message.rows.append(written)
        pages.append(message.SerializeToString())
    return pages


def _recorded(steps: int) -> list[Entry]:
    """Runs the code once, each step ending a millisecond after it began."""
    instance = _fresh(steps)
    at = datetime(2030, 1, 1, tzinfo=UTC)
    entries: list[Entry] = [RunStarted(at, _WORKFLOW.name)]
    instance.feed(entries[0])
    result = _CODEC.encode(flows.PAYLOAD, what="the result")
    while True:
        for command in instance.take_commands():
            if isinstance(command, Close):
                return [*entries, RunClosed(at, command.status, command.result)]
            assert isinstance(command, CallStep), command
            begun, at = at, at + timedelta(milliseconds=1)
            scheduled = StepScheduled(begun, command.number, command.definition.name, command.arguments, started=True)
            attempt = AttemptRecord(1, AttemptOutcome.COMPLETED, begun, begun, begun, at, "session", "build")
            completed = StepCompleted(at, command.number, result, attempt)
            entries += (scheduled, completed)
            instance.feed(completed)


def _fresh(steps: int) -> WorkflowInstance:
    arguments = _CODEC.encode_arguments(_WORKFLOW.signature, (steps, flows.PAYLOAD), {}, what=_WORKFLOW.name)
    return WorkflowInstance(_WORKFLOW, _RUN, arguments, codec=_CODEC)
