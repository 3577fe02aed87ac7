"""Runs the audit on a stack of its own: Postgres, coordinator, two worker processes, of which one is killed.

Everything ends with it, whatever happens. Prints only through the announcer.
"""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from holdfast import Client, HoldfastError
from holdfast.channel.run_calls import RunCalls
from holdfast.channel.run_records import TraceSpan
from holdfast.client import History, RunDescription, RunHandle
from holdfast.statuses import RunStatus
from holdfast_coordinator.worker_processes import LocalWorkerEnded, WorkerProcesses

from ..app import Coordinator, coordinator, export_settings
from ..config import Config
from ..store.control import PostgresControlStore
from .announcer import Announcer
from .audit import Findings, audit_machine, list_distributions
from .tally import Tally, example_of, under_way

MODULE = "holdfast_coordinator.demo.audit"
WORKERS = 2
CONCURRENCY = 16  # attempts at once per worker; more would only share the same cores
SESSION_TTL = "3s"  # so soon a silent worker counts as dead; in production 10 s
READY_EVERY_SECONDS = 0.1
LOOK_EVERY_SECONDS = 0.1
SENT_SECONDS = 0.1  # so long what a worker sent before it was stopped needs until it is committed
RUNS_PAGE = 1_000
HISTORIES_AT_ONCE = 8


@dataclass(frozen=True)
class DemoOutcome:
    """What came of it. seconds: from start to result.

    example: what the run was about whose trace is worth a look; trace: its spans. collector: where the trace of the
    whole audit is.
    """

    findings: Findings
    seconds: float
    tally: Tally
    example: str
    trace: list[TraceSpan]
    collector: str | None


async def drive(
    directories: list[Path], limit: int | None, announcer: Announcer, *, otlp: str | None = None
) -> DemoOutcome:
    """Audits the distributions in some directories, kills a worker half-way, and reads back what happened.

    otlp: the URL of a collector; without it the variables OTEL_* may name one.
    """
    config = _config(otlp)
    began = time.monotonic()
    async with _stack(config) as stack:
        announcer.say(stack.running.database.description)
        announcer.say(f"a coordinator on {stack.running.address} with {WORKERS} worker processes")
        announcer.say(f"ready after {time.monotonic() - began:.1f} s; the audit begins")
        began = time.monotonic()
        run = await stack.client.start(audit_machine, directories, limit)
        children = len(list_distributions.function(directories, limit))
        findings = await _watch(stack, run, children, announcer)
        seconds = time.monotonic() - began
        announcer.say(f"done after {seconds:.1f} s; reading the histories back")
        histories = await _histories(stack.client, await _all_runs(stack.client))
        example = await stack.client.get(example_of(histories).run_id).describe()
        calls = RunCalls(stack.client.connection, stack.client.namespace)
        trace = await calls.get_trace(example.run_id)
        collector = await _export(calls, example.run_id, announcer) if export_settings(config).traces else None
        name = example.args[0]["name"] if example.args else example.workflow
        return DemoOutcome(findings, seconds, Tally.of(histories), name, trace, collector)


async def _export(calls: RunCalls, run_id: str, announcer: Announcer) -> str | None:
    """The collector that has the trace of a run for sure; None when it takes none. What it has already is the same."""
    try:
        return (await calls.export_trace(run_id)).collector
    except HoldfastError as error:
        announcer.say(f"[yellow]{escape(str(error))}[/]")
        return None


@dataclass(frozen=True)
class _Stack:
    running: Coordinator
    workers: WorkerProcesses
    control: PostgresControlStore
    client: Client

    def check(self, *, killed: int | None = None) -> None:
        """Raises what keeps it from going on. killed: the worker that may be dead."""
        if self.running.failed.done():
            self.running.failed.result()
        for process in self.workers.processes:
            if process.returncode is not None and process.pid != killed:
                raise LocalWorkerEnded(process.pid, process.returncode)


def _config(otlp: str | None) -> Config:
    # A database or namespace of the environment is not for demos; neither is a ratio that leaves its runs out.
    config = Config(
        database_url=None, ephemeral=True, port=0, namespaces=("default",), session_ttl=SESSION_TTL, metrics_port=None,
        trace_ratio=1.0, trace_ratios={},
    )  # fmt: skip
    return config if otlp is None else config.model_copy(update={"otlp": otlp})


@asynccontextmanager
async def _stack(config: Config) -> AsyncIterator[_Stack]:
    """All parts, with every worker ready for work."""
    async with coordinator(config) as running, PostgresControlStore.open(running.database.url) as control:
        workers = WorkerProcesses(
            [MODULE],
            address=running.address,
            concurrency=CONCURRENCY,
            options=["--namespace", "default", "--queue", "default", "--quiet"],
        )
        async with workers.started(WORKERS), Client.connect(running.address) as client:
            stack = _Stack(running, workers, control, client)
            while len(await control.sessions()) < WORKERS:
                stack.check()
                await asyncio.sleep(READY_EVERY_SECONDS)
            yield stack


async def _watch(stack: _Stack, run: RunHandle[Findings], children: int, announcer: Announcer) -> Findings:
    """The result of the run. Shows how it goes on, and kills a worker when half of the children are closed."""
    result = asyncio.ensure_future(run.result())
    killed: int | None = None
    try:
        while not result.done():
            await asyncio.wait([result], timeout=LOOK_EVERY_SECONDS)
            stack.check(killed=killed)
            runs = await _all_runs(stack.client)
            for stalled in (one for one in runs if one.status is RunStatus.STALLED):
                raise HoldfastError(f"run {stalled.run_id} is stalled: {stalled.reason}")
            closed = sum(one.status is RunStatus.COMPLETED and one.parent_run_id == run.run_id for one in runs)
            announcer.closed(closed, children)
            if killed is None and 2 * closed >= children and not result.done():
                killed = await _kill_one(stack, runs, announcer)
        if killed is None:
            announcer.say("this was over before a worker could be killed; give it more to do")
        return result.result()
    finally:
        result.cancel()


async def _kill_one(stack: _Stack, runs: list[RunDescription], announcer: Announcer) -> int | None:
    """Kills a worker in the middle of its work, starts another one, and returns the pid of the dead.

    None when no worker is worth it now: one that holds a run with several attempts under way is.
    """
    held = Counter(run.session_id for run in runs)
    sessions = {session.pid: session.session_id for session in await stack.control.sessions()}
    for victim in sorted(stack.workers.processes, key=lambda process: -held[sessions[process.pid]]):
        # A worker that runs on could report what it has before the signal is there. One that is stopped cannot.
        victim.send_signal(signal.SIGSTOP)
        await asyncio.sleep(SENT_SECONDS)
        holds = [run for run in await _all_runs(stack.client) if run.session_id == sessions[victim.pid]]
        if any(under_way(history) > 1 for history in await _histories(stack.client, holds)):
            victim.kill()
            announcer.say(
                f"[bold red]SIGKILL[/] for worker {victim.pid}, which holds {len(holds)} runs; "
                f"it counts as dead {SESSION_TTL} later"
            )
            replacement = await stack.workers.start_one()
            announcer.say(f"worker {replacement.pid} takes its place")
            return victim.pid
        victim.send_signal(signal.SIGCONT)
    return None


async def _all_runs(client: Client) -> list[RunDescription]:
    """All runs there are, page by page."""
    found: list[RunDescription] = []
    cursor = None
    while True:
        page = await client.list(limit=RUNS_PAGE, cursor=cursor)
        found += page
        if (cursor := page.next_cursor) is None:
            return found


async def _histories(client: Client, runs: Iterable[RunDescription]) -> list[History]:
    """The histories of some runs."""
    at_once = asyncio.Semaphore(HISTORIES_AT_ONCE)

    async def history_of(run_id: str) -> History:
        async with at_once:
            return await client.get(run_id).history()

    return await asyncio.gather(*(history_of(run.run_id) for run in runs))
