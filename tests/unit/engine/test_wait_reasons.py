"""Why a run waits: who could take it, and what to start when nobody can."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from holdfast_coordinator.domain.rows import OpenRun, RunState
from holdfast_coordinator.engine.wait_reasons import wait_reason
from holdfast_coordinator.store.control_port import SessionRow
from holdfast_coordinator.store.port import QueuedStep

AT = datetime(2026, 3, 1, tzinfo=UTC)
READY = OpenRun(
    run_id="r1", namespace="default", queue="gpu", workflow="order", state=RunState.READY, last_at=AT, epoch=1
)
SUSPENDED = replace(READY, state=RunState.SUSPENDED, waits="signal paid")
STEP = QueuedStep("cpu", "charge")


def session(queue: str, *workflows: str, steps: tuple[str, ...] = ()) -> SessionRow:
    return SessionRow(f"s-{queue}", "default", queue, "a", 1, "b", "h", 1, 1, AT, AT, workflows, steps)


@pytest.mark.parametrize(
    ("run", "sessions", "step", "said"),
    [
        (READY, [], None, "waits: no worker serves queue 'gpu'; start one that knows the workflow 'order' with"),
        (READY, [session("cpu", "order")], None, "waits: no worker serves queue 'gpu'"),
        (READY, [session("gpu", "other")], None, "none of the 1 worker(s) of queue 'gpu' knows the workflow 'order'"),
        (READY, [session("gpu", "order"), session("gpu")], None, "waits for one of the 1 worker(s) of queue 'gpu'"),
        (SUSPENDED, [], None, "waits for signal paid"),
        (SUSPENDED, [], STEP, "step charge waits: no worker serves queue 'cpu'"),
        (SUSPENDED, [session("cpu")], STEP, "step charge waits: none of the 1 worker(s) of queue 'cpu' knows the step"),
        (SUSPENDED, [session("cpu", steps=("charge",))], STEP, "step charge waits for one of the 1 worker(s)"),
        (replace(SUSPENDED, epoch=0), [], None, "its start is delayed"),
        (replace(READY, state=RunState.STALLED, stall_reason="poison"), [], None, "poison"),
        (replace(READY, state=RunState.LEASED), [session("gpu")], None, ""),
    ],
)
def test_a_run_says_why_it_waits(run: OpenRun, sessions: list[SessionRow], step: QueuedStep | None, said: str) -> None:
    reason = wait_reason(run, sessions, step)
    assert reason.startswith(said) if said.startswith(("waits", "step", "its", "poison")) else said in reason
    assert bool(reason) == bool(said)
