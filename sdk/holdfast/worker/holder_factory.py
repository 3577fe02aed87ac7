"""Makes the holder of a newly leased run: its code, its progress, and what ties them to the crew."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from holdfast.channel.leases import Lease
from holdfast.codec import Codec
from holdfast.definitions.definitions import StepDefinition, WorkflowDefinition
from holdfast.journal import Arguments
from holdfast.limits import Limits
from holdfast.worker.declared_signals import DeclaredSignals
from holdfast.worker.holder import RunHolder
from holdfast.worker.lifecycle import LifecycleEvent, RunEvents
from holdfast.worker.ports import Crew
from holdfast.worker.step_progress import RunProgress, WorkerIdentity
from holdfast.worker.trace_context import RunPosition, enter_untraced_code
from holdfast.workflow.current_run import RunInfo
from holdfast.workflow.instance import WorkflowInstance


@dataclass(slots=True, frozen=True)
class CrewOptions:
    """What a worker was given to work with."""

    namespace: str = "default"
    queue: str = "default"
    slots: int = 100
    runs_max: int = 1_000
    cached_runs_max: int = 1_000
    retry_hold: timedelta = timedelta(seconds=1)
    build: str = ""
    is_guarded: bool = False
    lifecycle: "Callable[[LifecycleEvent], None] | None" = None
    """Takes what happens to the runs of this worker; None where nobody asks for it."""


class HolderFactory:
    """Makes holders from the workflows and steps of this worker."""

    def __init__(
        self,
        options: CrewOptions,
        workflows: Mapping[str, WorkflowDefinition],
        steps: Mapping[str, StepDefinition],
        codec: Codec,
        *,
        crew: Crew,
        declared_signals: DeclaredSignals,
    ) -> None:
        self._options = options
        self._workflows = workflows
        self._steps = steps
        self._codec = codec
        self._crew = crew
        self._declared_signals = declared_signals

    def __call__(self, lease: Lease, arguments: Arguments, worker: WorkerIdentity, limits: Limits) -> RunHolder:
        """A holder that has replayed nothing yet. Raises KeyError for a workflow that is not known here."""
        options = self._options
        info = RunInfo(
            lease.run_id,
            lease.workflow,
            lease.id,
            lease.queue or options.queue,
            options.namespace,
            lease.parent_run_id,
            lease.created_at,
            lease.metadata,
        )
        definition = self._workflows[lease.workflow]
        position = RunPosition.of(lease.trace, lease.run_id, lease.created_at)
        prepare = enter_untraced_code if position is None else position.enter_code
        return RunHolder(
            lease,
            instance=WorkflowInstance(
                definition,
                info,
                arguments,
                codec=self._codec,
                limits=limits,
                prepare=prepare,
                declare_signal=partial(self._declared_signals.declare, lease.workflow),
                is_guarded=options.is_guarded,
            ),
            progress=RunProgress(self._steps, worker=worker, retry_hold=options.retry_hold),
            crew=self._crew,
            build=options.build,
            limits=limits,
            position=position,
            events=None if options.lifecycle is None else RunEvents(lease, options.lifecycle),
        )
