"""What is played on a stage, and all spans that the backend then has. golden/NAME.txt shows what they must be."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from difflib import unified_diff
from pathlib import Path
from typing import Any

from opentelemetry import trace

from holdfast import RunFailed, RunTimedOut
from holdfast.client import RunHandle
from tests.support import flows_traces as flows
from tests.support.traces import rules
from tests.support.traces.drawing import drawn
from tests.support.traces.seen import SeenSpan, told
from tests.support.traces.stage import Stage, tracing
from tests.support.watching import until, until_status

Scenario = Callable[[Stage], Awaitable[list[SeenSpan]]]

GOLDEN = Path(__file__).parent / "golden"


def check(name: str, spans: list[SeenSpan]) -> None:
    """Checks the spans of the scenario of this name. HOLDFAST_WRITE_GOLDEN=1 has the drawing written anew."""
    rules.check(spans)
    found = drawn(spans, queue_waits=name == queued_step.__name__)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("HOLDFAST_WRITE_GOLDEN"):
        path.write_text(found)
    wanted = path.read_text()
    assert found == wanted, "\n".join(unified_diff(wanted.splitlines(), found.splitlines(), "golden", "found", n=1))


async def step_that_fails_twice(stage: Stage) -> list[SeenSpan]:
    """The user's spans are below their attempts."""
    with tracing(stage.backend):
        async with stage.worker():
            run = await stage.client.start(stage.here(flows.pays), "o-1")
            assert await run.result(timeout=20) == "o-1"
        return await told(stage.backend, run.run_id, *["ask the bank"] * 3)


async def back_off_by_alarm(stage: Stage) -> list[SeenSpan]:
    """The wait is longer than a worker holds the step: the run is suspended, and an alarm brings it back."""
    async with stage.worker():
        run = await stage.client.start(stage.here(flows.pays_later))
        await until_status(run, "suspended")
        await run.result(timeout=20)
    return await told(stage.backend, run.run_id)


async def step_timeout(stage: Stage) -> list[SeenSpan]:
    async with stage.worker():
        run = await stage.client.start(stage.here(flows.too_slow))
        await _fails(run)
    return await told(stage.backend, run.run_id)


async def queued_step(stage: Stage) -> list[SeenSpan]:
    """It waits until a worker of its queue comes; the user's spans are below its attempts."""
    far = f"{stage.queue}-far"
    with tracing(stage.backend):
        async with stage.worker():
            run = await stage.client.start(stage.here(flows.renders), far)
            await until_status(run, "suspended")
            await asyncio.sleep(0.1)  # waits that are not worth a span are shorter
            async with stage.worker(queue=far):
                assert await run.result(timeout=20) == "picture"
        return await told(stage.backend, run.run_id, "draw", "draw")


async def signal_wait(stage: Stage) -> list[SeenSpan]:
    """One signal is sent from within a trace, a second one never."""
    with tracing(stage.backend):
        async with stage.worker():
            run = await stage.client.start(stage.here(flows.approval))
            await until_status(run, "suspended")
            with flows.user_span("a person clicks"):
                sender = _here()
                await run.signal("approval", "yes")
            assert await run.result(timeout=20) == "yes"
        return [*await told(stage.backend, run.run_id), *await _callers(stage, sender, "signal")]


async def awaited_child(stage: Stage) -> list[SeenSpan]:
    async with stage.worker():
        run = await stage.client.start(stage.here(flows.parent), 20)
        assert await run.result(timeout=20) == 41
    return await told(stage.backend, run.run_id)


async def cancelled_run(stage: Stage) -> list[SeenSpan]:
    async with stage.worker():
        run = await stage.client.start(stage.here(flows.rests))
        await until_status(run, "suspended")
        await run.cancel("changed my mind", wait=True, timeout=20)
    return await told(stage.backend, run.run_id)


async def terminated_run(stage: Stage) -> list[SeenSpan]:
    async with stage.worker():
        run = await stage.client.start(stage.here(flows.rests))
        await until_status(run, "suspended")
        await run.terminate("had enough")
    return await told(stage.backend, run.run_id)


async def timed_out_run(stage: Stage) -> list[SeenSpan]:
    async with stage.worker():
        run = await stage.client.start(stage.here(flows.past_its_deadline))
        with suppress(RunTimedOut):
            await run.result(timeout=20)
    return await told(stage.backend, run.run_id)


async def retried_run(stage: Stage) -> list[SeenSpan]:
    """It fails, and is continued at the failed step by a run of its own."""
    ledger = stage.ledger()
    async with stage.worker():
        run = await stage.client.start(stage.here(flows.boxes), ledger.path)
        await _fails(run)
        ledger.let_go()
        again = await run.retry()
        assert await again.result(timeout=20) == "boxed"
    return [*await told(stage.backend, run.run_id), *await told(stage.backend, again.run_id)]


async def unsampled_run_that_fails(stage: Stage) -> list[SeenSpan]:
    async with stage.worker():
        run = await stage.client.start(stage.here(flows.seldom), stage.ledger().path)
        await _fails(run)
    return await told(stage.backend, run.run_id)


async def spans_in_workflow_code(stage: Stage) -> list[SeenSpan]:
    async with stage.worker():
        run = await stage.client.start(stage.here(flows.checkout))
        assert await run.result(timeout=20) == 20
    return await told(stage.backend, run.run_id)


async def started_within_a_trace(stage: Stage) -> list[SeenSpan]:
    """The run has a trace of its own, which links to whoever started it."""
    with tracing(stage.backend):
        async with stage.worker():
            with flows.user_span("a person orders"):
                caller = _here()
                run = await stage.client.start(stage.here(flows.child), 1)
            await run.result(timeout=20)
        return [*await told(stage.backend, run.run_id), *await _callers(stage, caller, "start run")]


async def joined_to_its_caller(stage: Stage) -> list[SeenSpan]:
    """The run span is below the span of the call that started it."""
    with tracing(stage.backend):
        async with stage.worker():
            with flows.user_span("a person orders"):
                run = await stage.client.start(stage.here(flows.child, trace="join"), 1)
            await run.result(timeout=20)
        return await told(stage.backend, run.run_id, "a person orders", "start run")


async def killed_worker(stage: Stage) -> list[SeenSpan]:
    """One worker is killed in the last step, another one does it again. Both have spans of their own in the trace."""
    ledger = stage.ledger()
    async with stage.worker_process("first") as first:
        run = await stage.client.start(stage.here(flows.ships), ledger.path)
        await ledger.wait_for("pack")
        async with stage.worker_process("second", version=2) as second:
            await second.wait_for_line("ready")
            await _arrived(stage, run, "fold the box")
            await first.kill()
            assert await run.result(timeout=20) == "goods packed"
            return await told(stage.backend, run.run_id, "read the shelf", "fold the box", "fold the box")


SCENARIOS: tuple[Scenario, ...] = (
    step_that_fails_twice,
    back_off_by_alarm,
    step_timeout,
    queued_step,
    signal_wait,
    awaited_child,
    cancelled_run,
    terminated_run,
    timed_out_run,
    retried_run,
    unsampled_run_that_fails,
    spans_in_workflow_code,
    started_within_a_trace,
    joined_to_its_caller,
    killed_worker,
)
"""All of them can be played on one stage, one after the other or at once."""


async def _fails(run: RunHandle[Any]) -> None:
    with suppress(RunFailed):
        await run.result(timeout=20)
    assert await run.status() == "failed"


def _here() -> str:
    """The id of the trace that this code is in."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


async def _callers(stage: Stage, trace_id: str, name: str) -> list[SeenSpan]:
    """The spans of a caller's own trace, once the one around the span of this name has come."""

    async def look() -> list[SeenSpan]:
        return await stage.backend.trace(trace_id)

    return await until(look, lambda spans: len(spans) > 1 and name in {span.name for span in spans})


async def _arrived(stage: Stage, run: RunHandle[Any], name: str) -> None:
    """Waits for a user's span in the trace of a run."""

    async def look() -> set[str]:
        traces = await stage.backend.traces_of(run.run_id)
        return {span.name for trace_id in traces for span in await stage.backend.trace(trace_id)}

    await until(look, lambda names: name in names)
