"""The workflow code of a graph: calls each task as a step once what it depends on is done.

It is code like a user's, on whatever runs workflows: the order in which it calls steps depends on their outcomes only.
Each call has the name of its task as `step_id`, so that recorded results are found again when the graph has changed,
and is independent of whatever happens to tasks that it does not depend on.
"""

import heapq
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdfast.authoring.primitives import unguarded
from holdfast.authoring.steps import Step
from holdfast.definitions.definitions import StepOverrides
from holdfast.errors import StepFailed
from holdfast.graphs.plan import Plan, PlannedTask
from holdfast.workflow.current_run import runtime_here

if TYPE_CHECKING:
    from asyncio import TaskGroup

UPSTREAM_FAILED = "UPSTREAM_FAILED"
"""The type of the failure of a task that was skipped, in the journal and in reports."""


async def run_plan(plan: Plan, inputs: Mapping[str, Any], max_parallel: int | None) -> dict[str, Any]:
    """Runs all tasks, at most `max_parallel` at once; returns the results of the leaves by name.

    What depends on a failed task is skipped; the others run to their ends. Then the failure is raised, or all of them
    as a group, in the order in which they came.
    """
    return await _GraphRun(plan, inputs, max_parallel).to_end()


class _GraphRun:
    def __init__(self, plan: Plan, inputs: Mapping[str, Any], max_parallel: int | None) -> None:
        self._plan = plan
        self._inputs = inputs
        self._free = len(plan.tasks) if max_parallel is None else max_parallel
        self._missing = {task.name: len(task.deps) for task in plan.tasks}
        self._ready = [task.place for task in plan.tasks if not task.deps]
        self._results: dict[str, Any] = {}
        self._skipped: set[str] = set()
        self._failures: list[Exception] = []
        self._group: TaskGroup

    async def to_end(self) -> dict[str, Any]:
        from asyncio import TaskGroup

        async with TaskGroup() as self._group:
            self._start_ready()
        if len(self._failures) == 1:
            raise self._failures[0]
        if self._failures:
            raise ExceptionGroup(f"{len(self._failures)} tasks of graph {self._plan.graph} failed", self._failures)
        return {name: self._results[name] for name in self._plan.leaves}

    def _start_ready(self) -> None:
        while self._ready and self._free:
            task = self._plan.tasks[heapq.heappop(self._ready)]
            self._free -= 1
            self._group.create_task(self._run(task), name=task.name)

    async def _run(self, task: PlannedTask) -> None:
        try:
            result = await self._call(task)
        except Exception as error:  # noqa: BLE001 - whatever a step raises, or its call; it is raised at the end
            self._failures.append(error)
            self._skip(task, error)
        else:
            self._results[task.name] = result
            self._release_children(task)
        self._free += 1
        self._start_ready()

    def _call(self, task: PlannedTask) -> Any:
        filling = task.filling
        arguments = {name: self._inputs[name] for name in filling.from_inputs}
        arguments |= {name: self._results[name] for name in filling.from_tasks}
        if filling.takes_upstream:
            arguments["upstream"] = {name: self._results[name] for name in filling.deps}
        return Step(task.step, StepOverrides(step_id=task.name, independent=True))(**arguments)

    def _release_children(self, task: PlannedTask) -> None:
        for name in self._plan.children[task.name]:
            self._missing[name] -= 1
            if not self._missing[name]:
                heapq.heappush(self._ready, self._plan.by_name[name].place)

    def _skip(self, failed: PlannedTask, error: Exception) -> None:
        """Leaves out what depends on a failed task, and the task itself where it could not even be called."""
        runtime = runtime_here()
        if runtime is None:
            return
        from holdfast.codec.failures import capture
        from holdfast.journal import Failure

        if not isinstance(error, StepFailed):
            with unguarded():  # a traceback shows lines of source files
                failure = capture(error)
            runtime.skip_step(failed.step, failed.name, failure)
        upstream = Failure(UPSTREAM_FAILED, f"task {failed.name} failed")
        for task in self._plan.descendants(failed.name):
            if task.name not in self._skipped:
                self._skipped.add(task.name)
                runtime.skip_step(task.step, task.name, upstream)
