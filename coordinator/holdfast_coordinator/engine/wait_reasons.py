"""Why an open run does not move, as a sentence for people. Pure: it asks nothing."""

from collections.abc import Sequence

from holdfast_coordinator.domain.rows import OpenRun, RunState
from holdfast_coordinator.store.control_port import SessionRow
from holdfast_coordinator.store.port import QueuedStep


def wait_reason(run: OpenRun, sessions: Sequence[SessionRow], step: QueuedStep | None) -> str:
    """What the run waits for; "" while a worker has it.

    sessions: the living ones of its namespace. step: one of its queued steps that no worker has taken.
    """
    match run.state:
        case RunState.STALLED:
            return run.stall_reason or ""
        case RunState.SUSPENDED if run.epoch == 0:
            return "its start is delayed"
        case RunState.SUSPENDED if step is not None:
            known = [one.steps for one in _of(sessions, step.queue)]
            return f"step {step.name} {_unclaimed(step.queue, 'step', step.name, known)}"
        case RunState.SUSPENDED:
            return f"waits for {run.waits}" if run.waits else ""
        case RunState.READY:
            known = [one.workflows for one in _of(sessions, run.queue)]
            return _unclaimed(run.queue, "workflow", run.workflow, known)
        case _:
            return ""


def _of(sessions: Sequence[SessionRow], queue: str) -> list[SessionRow]:
    return [one for one in sessions if one.queue == queue]


def _unclaimed(queue: str, kind: str, name: str, known: Sequence[Sequence[str]]) -> str:
    """known: the names that each session of the queue knows."""
    if not known:
        start = f"start one that knows the {kind} {name!r} with `holdfast worker --queue {queue}`"
        return f"waits: no worker serves queue {queue!r}; {start}"
    able = sum(name in names for names in known)
    if not able:
        return f"waits: none of the {len(known)} worker(s) of queue {queue!r} knows the {kind} {name!r}"
    return f"waits for one of the {able} worker(s) of queue {queue!r} that know the {kind} {name!r}"
