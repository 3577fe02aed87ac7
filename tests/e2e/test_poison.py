"""Poison never spreads: what one run or step does ends itself, and neither its worker nor the runs beside it."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast.client import Client, RunHandle
from holdfast.errors import RunFailed
from holdfast.journal import AttemptEnded, Mail, MailConsumed, StepCompleted, StepResult
from holdfast.statuses import AttemptOutcome
from tests.support import flows_poison as flows
from tests.support.ledger import Ledger
from tests.support.processes import Process
from tests.support.watching import kinds, until, until_status

from .conftest import Coordinator, WorkerProcessFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_poison"
QUICK = ("--loop-blocked-max", "1500ms")
STOP_SECONDS = 3.0


async def goes_on(client: Client, ledger: Ledger, queue: str, worker: Process) -> None:
    """Sees that this worker still runs what comes."""
    run = await client.start(flows.innocent.with_options(queue=queue), ledger.path)
    assert await run.result(timeout=10) == worker.pid


async def outcomes(run: RunHandle[Any]) -> list[AttemptOutcome]:
    """How the attempts of a run with one step have ended."""
    found: list[AttemptOutcome] = []
    for entry in [one.entry for one in await run.history()]:
        match entry:
            case AttemptEnded() | StepCompleted():
                found.append(entry.attempt.outcome)
            case MailConsumed(mail=Mail(body=StepResult(attempts=attempts))):
                found += [attempt.outcome for attempt in attempts]
    return found


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "SystemExit", "GeneratorExit"])
async def test_what_ends_programs_fails_the_run_that_raised_it_and_no_worker(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str, error: str
) -> None:
    async with process_worker(MODULE) as worker:
        run = await client.start(flows.raises.with_options(queue=queue), ledger.path, error)
        with pytest.raises(RunFailed, match=error):
            await run.result(timeout=10)
        await goes_on(client, ledger, queue, worker)


@pytest.mark.parametrize("how", ["exit", "interrupt", "callback"])
async def test_a_step_whose_task_ends_programs_ends_no_worker(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str, how: str
) -> None:
    async with process_worker(MODULE) as worker:
        run = await client.start(flows.has_a_step_that_exits.with_options(queue=queue), how)
        if how == "callback":
            await run.result(timeout=10)
        else:
            with pytest.raises(RunFailed, match="SystemExit" if how == "exit" else "KeyboardInterrupt"):
                await run.result(timeout=10)
        await goes_on(client, ledger, queue, worker)
        assert worker.output.count("it goes on") == 1


@pytest.mark.feature("F159")
async def test_code_that_never_pauses_stalls_its_run_and_the_others_go_on(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE) as worker:
        run = await client.start(flows.spins.with_options(queue=queue), ledger.path)
        await until_status(run, "stalled")
        assert "its code does not pause" in str((await run.describe()).reason)
        # The step before it is on record, and is not done again.
        assert (await kinds(run))[1:] == ["StepScheduled", "StepCompleted", "RunStalled"]
        await goes_on(client, ledger, queue, worker)
        await run.terminate()


async def test_code_that_computes_for_ever_is_interrupted_and_stalls_its_run(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE, options=QUICK) as worker:
        run = await client.start(flows.computes_for_ever.with_options(queue=queue), ledger.path)
        await until_status(run, "stalled")
        assert "its code does not pause: it held its worker for" in str((await run.describe()).reason)
        await goes_on(client, ledger, queue, worker)
        await run.terminate()


async def test_a_step_that_computes_on_the_loop_is_interrupted_and_fails(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE, options=QUICK) as worker:
        run = await client.start(flows.has_a_step_that_computes.with_options(queue=queue), ledger.path)
        with pytest.raises(RunFailed, match="put blocking work into a plain function"):
            await run.result(timeout=20)
        assert ledger.counts == {f"computes {worker.pid}": 1}
        await goes_on(client, ledger, queue, worker)


@pytest.mark.feature("F159")
async def test_runs_beside_code_that_cannot_be_interrupted_go_to_another_worker(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE, options=QUICK) as blocked:
        innocent = await client.start(flows.waits.with_options(queue=queue), ledger.path)
        await ledger.wait_for(f"waits {blocked.pid}")
        guilty = await client.start(flows.blocks_in_c.with_options(queue=queue), ledger.path)
        await blocked.wait_for_line(r"has not come back for . s: 2 run\(s\)")
        await until(guilty.describe, lambda run: run.losses == 1)
        assert (await innocent.describe()).losses == 0
        await guilty.terminate()
        ledger.let_go()
        async with process_worker(MODULE, options=QUICK) as other:
            assert await innocent.result(timeout=20) == other.pid


@pytest.mark.parametrize("where", ["step", "queued step", "task of a step"])
async def test_a_step_that_waits_in_c_on_the_loop_is_lost_itself_and_what_is_beside_it_is_handed_back(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str, where: str
) -> None:
    """It had blocked one worker after the other, and no loss of it was ever counted."""
    async with process_worker(MODULE, options=QUICK) as blocked:
        beside = [
            await client.start(flow.with_options(queue=queue), ledger.path)
            for flow in (flows.waits, flows.waits_in_the_queue)
        ]
        await ledger.wait_for(f"waits {blocked.pid}", 2)
        guilty = await client.start(flows.has_a_step_that_waits_in_c.with_options(queue=queue), ledger.path, where)
        await blocked.wait_for_line(r"has not come back for . s")
        ledger.let_go()
        async with process_worker(MODULE, options=QUICK) as other:
            with pytest.raises(RunFailed, match="the worker was lost 1 time"):
                await guilty.result(timeout=20)
            assert [await run.result(timeout=20) for run in beside] == [other.pid] * 2
            assert ledger.counts[f"holds {blocked.pid}"] == 1
            assert not ledger.counts[f"holds {other.pid}"]
            for run in beside:
                assert await outcomes(run) == [AttemptOutcome.HANDED_BACK, AttemptOutcome.COMPLETED]
            await goes_on(client, ledger, queue, other)
        assert f"It is held by step wait_in_c (1) of run {guilty.run_id}" in blocked.output


CODE = ("raise_signal", "kill", "pthread_kill", "interrupt_main")
PLACES = {
    "workflow": CODE,
    "unguarded": CODE,
    "async step": (*CODE, "stop", "default executor", "handler", "ignore", "default", "closerange", "recursion"),
    "plain step": (*CODE, "closerange", "recursion"),
    "thread": CODE,
}


@pytest.mark.parametrize("where", PLACES)
async def test_code_that_asks_its_process_to_end_fails_alone_and_neither_worker_nor_neighbour_notices(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str, where: str
) -> None:
    """Ten workers in a row had drained as if an operator had asked, with no loss counted."""
    async with process_worker(MODULE) as worker:
        beside = await client.start(flows.waits.with_options(queue=queue), ledger.path)
        await ledger.wait_for(f"waits {worker.pid}")
        for how in PLACES[where]:
            run = await client.start(flows.ends_everything.with_options(queue=queue), ledger.path, how, where)
            with pytest.raises(RunFailed, match="would be for all that run in this process"):
                await run.result(timeout=10)
            assert f"refused to {'run' if where in ('workflow', 'unguarded') else 'step'}" in worker.output
        await goes_on(client, ledger, queue, worker)
        ledger.let_go()
        assert await beside.result(timeout=10) == worker.pid
        assert (await beside.describe()).losses == 0
        assert ledger.counts[f"waits {worker.pid}"] == 1
        worker.send(signal.SIGTERM)
        assert await worker.wait(seconds=10) == 0


async def test_a_step_that_cancels_all_tasks_cancels_its_own_alone(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    """Four workers had ended with a CancelledError, and the run beside it had lost its step with each."""
    async with process_worker(MODULE) as worker:
        beside = await client.start(flows.waits.with_options(queue=queue), ledger.path)
        await ledger.wait_for(f"waits {worker.pid}")
        run = await client.start(flows.cancels_all_tasks.with_options(queue=queue))
        assert await run.result(timeout=10) == 2
        await goes_on(client, ledger, queue, worker)
        ledger.let_go()
        assert await beside.result(timeout=10) == worker.pid
        assert ledger.counts[f"waits {worker.pid}"] == 1


async def test_an_alarm_that_goes_off_after_its_step_ends_no_worker(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE, "tests.support.without_uvloop") as worker:
        run = await client.start(flows.sets_an_alarm.with_options(queue=queue))
        await run.result(timeout=10)
        await goes_on(client, ledger, queue, worker)
        assert "TimeoutError('the alarm of a step') to end this process; it goes on" in worker.output


async def test_a_worker_whose_streams_were_closed_by_a_step_goes_on(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE) as worker:
        run = await client.start(flows.closes_the_streams.with_options(queue=queue))
        with pytest.raises(RunFailed, match="it has closed the streams"):
            await run.result(timeout=10)
        await goes_on(client, ledger, queue, worker)


async def stop_twice(worker: Process) -> int:
    """Two SIGTERMs; the exit code. Fails when the worker is there for longer than it may be."""
    worker.send(signal.SIGTERM)
    await asyncio.sleep(0.3)
    assert not worker.has_ended
    worker.send(signal.SIGTERM)
    asked_at = time.monotonic()
    code = await worker.wait(seconds=20)
    assert time.monotonic() - asked_at < STOP_SECONDS
    return code


@pytest.mark.feature("F159")
@pytest.mark.parametrize("how", ["to_thread", "ignores cancel", "plain", "computes", "interpreter"])
async def test_a_second_signal_ends_a_worker_whatever_it_does_and_its_runs_go_on_elsewhere(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str, how: str
) -> None:
    async with process_worker(MODULE) as worker:
        beside = await client.start(flows.waits.with_options(queue=queue), ledger.path)
        await ledger.wait_for(f"waits {worker.pid}")
        run = await client.start(flows.hangs.with_options(queue=queue), ledger.path, how)
        await ledger.wait_for(f"hangs {worker.pid}")
        code = await stop_twice(worker)
        assert code == {"computes": 70, "interpreter": -signal.SIGKILL}.get(how, 0)
    await run.terminate()
    ledger.let_go()
    async with process_worker(MODULE) as other:
        assert await beside.result(timeout=10) == other.pid


@pytest.mark.feature("F159")
async def test_a_plain_step_past_its_timeout_does_not_keep_its_slot(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE, options=["--concurrency", "2"]) as worker:
        runs = [await client.start(flows.overstays.with_options(queue=queue), ledger.path) for _ in range(4)]
        outcomes = await client.wait_many(runs, return_exceptions=True, timeout=20)
        assert all("Timeout after 0.3s" in str(outcome) for outcome in outcomes)
        await goes_on(client, ledger, queue, worker)
        worker.send(signal.SIGTERM)
        assert await worker.wait(seconds=10) == 0


async def test_a_step_that_holds_the_interpreter_for_longer_than_a_session_lives_is_executed_once(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str, coordinator: Coordinator
) -> None:
    async with process_worker(MODULE) as worker, process_worker(MODULE) as other:
        await asyncio.gather(worker.wait_for_line("ready"), other.wait_for_line("ready"))
        run = await client.start(flows.holds_the_interpreter.with_options(queue=queue), ledger.path, 6)
        pid = await run.result(timeout=30)
        assert ledger.counts == {f"hangs {pid}": 1}
        assert await kinds(run) == ["RunStarted", "StepScheduled", "StepCompleted", "RunClosed"]
    deaths = [line for line in coordinator.process.lines if "session_died" in line]
    assert not [line for line in deaths if f"pid={worker.pid} " in line or f"pid={other.pid} " in line]


async def test_a_step_that_holds_the_interpreter_as_soon_as_its_worker_has_a_session_is_executed_once(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    run = await client.start(flows.holds_the_interpreter.with_options(queue=queue), ledger.path, 4)
    async with process_worker(MODULE):
        pid = await run.result(timeout=30)
    assert ledger.counts == {f"hangs {pid}": 1}


async def test_a_worker_that_held_its_interpreter_for_too_long_is_vouched_for_in_its_next_session(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    """The step begins again with the session: it was lost again after a TTL, and in the end it had failed."""
    async with process_worker(MODULE, options=["--loop-blocked-max", "3s"]):
        run = await client.start(flows.holds_it_again.with_options(queue=queue), ledger.path, 8, 4)
        pid = await run.result(timeout=40)
    assert ledger.counts == {f"hangs {pid}": 2}
    assert await kinds(run) == [
        "RunStarted",
        "StepScheduled",
        "AttemptEnded",
        "AttemptStarted",
        "StepCompleted",
        "RunClosed",
    ]


async def test_a_stopped_worker_is_not_vouched_for(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE) as stopped:
        run = await client.start(flows.waits.with_options(queue=queue), ledger.path)
        await ledger.wait_for(f"waits {stopped.pid}")
        stopped.send(signal.SIGSTOP)
        ledger.let_go()
        async with process_worker(MODULE) as other:
            assert await run.result(timeout=15) == other.pid
        await stopped.kill()


TWO_WORKERS = """
import asyncio, sys
from holdfast.client import Client
from holdfast.worker import Worker
from tests.support import flows_poison as flows

async def main():
    async with Client.connect(sys.argv[1]) as client:
        workers = [Worker(client, queue, workflows=[flows.app]) for queue in sys.argv[2:]]
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.run())
            for worker in workers:
                await worker.ready()
            print("both are ready", flush=True)
    print("both have left", flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def two_workers(coordinator: Coordinator, *queues: str) -> AsyncIterator[Process]:
    """A program with two workers on one loop."""
    command = [sys.executable, "-c", TWO_WORKERS, coordinator.address, *queues]
    async with Process("two workers", command) as program:
        await program.wait_for_line("both are ready")
        yield program


async def test_a_step_that_stops_the_loop_of_a_program_ends_none_of_its_workers(
    client: Client, coordinator: Coordinator, ledger: Ledger, queue: str
) -> None:
    async with two_workers(coordinator, queue, f"{queue}-b") as program:
        run = await client.start(flows.ends_everything.with_options(queue=queue), ledger.path, "stop", "async step")
        with pytest.raises(RunFailed, match=r"loop.stop\(\) would be for all"):
            await run.result(timeout=10)
        await goes_on(client, ledger, f"{queue}-b", program)


async def test_one_signal_drains_every_worker_of_a_process(coordinator: Coordinator, queue: str) -> None:
    async with two_workers(coordinator, queue, f"{queue}-b") as program:
        program.send(signal.SIGTERM)
        assert await program.wait(seconds=10) == 0
        assert "both have left" in program.output
