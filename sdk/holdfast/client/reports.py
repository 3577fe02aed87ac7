"""How each task of a run stands, made of its journal. Needs none of the code of the run. Pure.

A step that was called or skipped is a task; one that the code has not come to yet is not in the journal, and not here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from holdfast import journal
from holdfast.client.descriptions import RunDescription, shown_value
from holdfast.client.history import History
from holdfast.client.notebooks import html_table
from holdfast.client.story import StepStory, story_of
from holdfast.codec import Codec
from holdfast.journal import Failure
from holdfast.statuses import RunStatus, StepStatus


@dataclass(slots=True, frozen=True)
class TaskReport:
    """One task. name: of a graph's task that; else the step_id of the call, else the name of the step.

    step, number: the step it is. attempt: the last one, from 1; 0 before the first, and of what was skipped. Of a
    queued step that is known when it has ended. started_at: of the first attempt. Times are aware UTC.
    failure: of the step, or of its last attempt while it waits for a retry. result: with JSON's own types.
    """

    name: str
    step: str
    number: int
    status: StepStatus
    attempt: int
    scheduled_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    failure: Failure | None
    result: Any

    @property
    def error(self) -> str | None:
        """Why it did not complete, as "ValueError: kaput" or "UPSTREAM_FAILED: task fetch failed"; else None."""
        failure = self.failure
        return None if failure is None else f"{failure.error_type}: {failure.message}".rstrip(": ")


@dataclass(slots=True, frozen=True)
class RunReport:
    """All tasks of a run at one moment, in the order in which they were called or skipped.

    The run of a graph fails if any of its tasks failed or was skipped. It completes when all have completed.
    """

    run_id: str
    id: str | None
    workflow: str
    status: RunStatus
    metadata: dict[str, str]
    tasks: tuple[TaskReport, ...]

    @property
    def progress(self) -> int:
        """The index, from 0, of the first task that has not completed; how many there are when all have.

        Of a pipeline it is how many of its steps are done.
        """
        places = (place for place, task in enumerate(self.tasks) if task.status is not StepStatus.COMPLETED)
        return next(places, len(self.tasks))

    def __getitem__(self, name: str) -> TaskReport:
        """The task of this name, the last one where there are several. Raises KeyError naming those there are."""
        for task in reversed(self.tasks):
            if task.name == name:
                return task
        raise KeyError(f"run {self.run_id} has come to no task {name!r}, but to {', '.join(self._names()) or 'none'}")

    def __iter__(self) -> Iterator[TaskReport]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def _names(self) -> Sequence[str]:
        return [task.name for task in self.tasks]

    def _repr_html_(self) -> str:
        names = ("name", "status", "attempt", "started_at", "finished_at", "error")
        return html_table(names, [[getattr(task, name) for name in names] for task in self.tasks])


def report_of(run: RunDescription, history: History, codec: Codec) -> RunReport:
    """The report of a run. A result that cannot be read here is shown as a text that says so."""
    closed = history[-1].entry if len(history) else None
    return RunReport(
        run_id=run.run_id,
        id=run.id,
        workflow=run.workflow,
        # The journal was read last, so it may be ahead of the description.
        status=closed.status if isinstance(closed, journal.RunClosed) else run.status,
        metadata=dict(run.metadata),
        tasks=tuple(_task(step, codec) for step in story_of(history) if isinstance(step, StepStory)),
    )


def _task(step: StepStory, codec: Codec) -> TaskReport:
    last = max(step.attempts, default=0)
    waits = step.status is StepStatus.WAITING_RETRY
    return TaskReport(
        name=step.step_id or step.name,
        step=step.name,
        number=step.number,
        status=step.status,
        attempt=last,
        scheduled_at=step.scheduled_at,
        started_at=step.attempts[min(step.attempts)].started_at if step.attempts else None,
        finished_at=step.closed_at,
        failure=step.attempts[last].failure if waits and last else step.failure,
        result=None if step.result is None else shown_value(step.result, codec),
    )
