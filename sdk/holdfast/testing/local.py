"""`run_local`: one run from start to end inside a test, and what is left of it to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from holdfast.authoring.workflows import Workflow
from holdfast.codec import Codec
from holdfast.codec.failures import as_run_failed
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.durations import Duration, parse_duration
from holdfast.errors import HoldfastError
from holdfast.journal import Arguments, Entry, Failure, Published, Signal
from holdfast.statuses import RunStatus
from holdfast.testing.local_engine import NO_DEPS, LocalEngine
from holdfast.worker.guards import Guards
from holdfast.workflow.current_run import RunInfo

_T = TypeVar("_T")

LocalSignal = tuple[str, Any] | tuple[str, Any, Duration]
"""A name and a payload, and, where given, how long after the start it arrives."""


class RunNotFinished(HoldfastError):
    """A local run waits for something that never comes, so it has no result."""

    def __init__(self, workflow: str, waits: Sequence[str]) -> None:
        super().__init__(
            f"the run of {workflow} has no result: it waits for {', '.join(waits) or 'nothing that can happen'}; "
            "give run_local the signals that it needs"
        )
        self.workflow = workflow
        self.waits = tuple(waits)


@dataclass(frozen=True, slots=True)
class LocalRun(Generic[_T]):
    """A run that ended, or that waits for what never comes: then it is suspended and `waits` says for what.

    result: the decoded result, None without one. history: its journal. took: how long it took by its own,
    virtual clock. Of a run that continues as new all of it is of the last run.
    arguments: what it was started with, still encoded. info: what its code can read of it. definition: its workflow.
    published: what it has published last, by key.
    """

    run_id: str
    workflow: str
    status: RunStatus
    result: _T | None
    failure: Failure | None
    history: tuple[Entry, ...]
    waits: tuple[str, ...]
    took: timedelta
    published: Mapping[str, Any]
    arguments: Arguments = field(repr=False)
    info: RunInfo = field(repr=False)
    definition: WorkflowDefinition = field(repr=False)

    def value(self) -> _T:
        """The result. Raises RunFailed, RunCancelled or RunTimedOut as a client would, and RunNotFinished."""
        if self.status is RunStatus.COMPLETED:
            return self.result  # type: ignore[return-value]
        if not self.status.is_closed:
            raise RunNotFinished(self.workflow, self.waits)
        raise as_run_failed(self.run_id, self.status, self.failure)


async def run_local(
    workflow: Workflow[Any, _T],
    *args: Any,
    signals: Sequence[LocalSignal] = (),
    deps: Any = NO_DEPS,
    guards: Guards = "on",
    **kwargs: Any,
) -> LocalRun[_T]:
    """Runs a workflow in process, with its real steps, and returns how it ended.

    Waits for timers and retries are skipped as soon as no step is running. Steps run as on a worker, plain
    functions in threads; child runs run along.
    signals: what arrives, in this order: ("approval", payload) at the start, ("approval", payload, "1h") later.
    deps: what `Context.deps` gives. guards: "off" lets workflow code call what a replay cannot repeat.
    Raises ArgumentsRejected or PayloadNotSerializable when the arguments cannot start a run.
    """
    codec = Codec()
    engine = LocalEngine(codec=codec, deps=deps, guards=guards)
    run = engine.start(workflow.definition, args, kwargs)
    for name, payload, *after in signals:
        signal = Signal(name, codec.encode(payload, what=f"the payload of signal {name!r}"))
        engine.post_later(run, signal, parse_duration(after[0]) if after else timedelta(0))
    async with engine:
        await engine.run_until_idle(run)
    run = run.newest
    closed = run.closed
    definition = workflow.definition
    result = None
    if closed is not None and closed.result is not None:
        what = f"the result of workflow {definition.name}"
        result = codec.decode(closed.result, definition.signature.result, what=what)
    return LocalRun(
        run_id=run.run_id,
        workflow=definition.name,
        status=RunStatus.SUSPENDED if closed is None else closed.status,
        result=result,
        failure=None if closed is None else closed.failure,
        history=tuple(run.history),
        waits=tuple(run.waits),
        took=run.history[-1].at - run.history[0].at,
        published={
            entry.key: codec.decode(entry.value, Any, what=f"what was published as {entry.key!r}")
            for entry in run.history
            if isinstance(entry, Published)
        },
        arguments=run.arguments,
        info=run.info,
        definition=definition,
    )
