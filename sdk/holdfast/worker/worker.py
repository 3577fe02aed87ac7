"""The worker: runs workflows and steps until it is stopped. Puts the parts of this package together.

Drains on SIGTERM and SIGINT when it runs in the main thread: no new work, the running attempts get
`drain_timeout`, what is left is handed back. A second signal hands back at once, and the process is gone three
seconds later, whatever its code does.
"""

import asyncio
import contextlib
import contextvars
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

from holdfast.authoring.build import build_of, with_python
from holdfast.channel.coded_calls import CodedWorkerCalls
from holdfast.channel.connection import Address, Connection
from holdfast.channel.health_server import HealthServer
from holdfast.channel.leases import Introduction
from holdfast.channel.worker_calls import HeartbeatCalls, WorkerCalls
from holdfast.client.value_codecs import value_codec
from holdfast.codec import Codec
from holdfast.codecs import CodecChain, PayloadCodec, Pickle
from holdfast.definitions.definitions import StepDefinition, WorkflowDefinition
from holdfast.definitions.options import checked_name
from holdfast.durations import Duration, parse_duration
from holdfast.errors import HoldfastError
from holdfast.worker.attempts import ABANDONED_MAX, NO_DEPS, AttemptRunner
from holdfast.worker.blocked_loop import BlockedLoop
from holdfast.worker.clock import SessionClock
from holdfast.worker.crew import WorkCrew
from holdfast.worker.guards import Guards, guarded
from holdfast.worker.heartbeat import Heartbeat
from holdfast.worker.holder_factory import CrewOptions
from holdfast.worker.lifecycle import Lifecycle, LifecycleCalls
from holdfast.worker.log_facts import facts_in_logs
from holdfast.worker.loop_watch import BLOCKED_SECONDS, LoopWatch
from holdfast.worker.process_pools import check_executor
from holdfast.worker.process_shield import shielded
from holdfast.worker.registration import Given, Registrations, workflow_registration
from holdfast.worker.session import Session
from holdfast.worker.session_tasks import SessionTasks
from holdfast.worker.stop_signals import STOP_SIGNALS
from holdfast.worker.threads import DaemonThreads
from holdfast.worker.voucher import VoucherProcess

log = logging.getLogger("holdfast.worker")

BUILD_VARIABLE = "HOLDFAST_BUILD"
LAST_REPORTS_SECONDS = 5.0
GOOD_BYE_SECONDS = 2.0
LAST_CALLS_SECONDS = 2.0
"""How long a worker that leaves waits for code of the user that it calls about runs."""


class WorkerClient(Protocol):
    """What a worker needs of a `holdfast.Client`."""

    connection: Connection
    namespace: str
    codec: Codec
    codecs: CodecChain


class WorkerEnded(HoldfastError):
    """The worker ended before it had a session; what `run` raised says why."""

    def __init__(self) -> None:
        super().__init__("the worker ended before it was ready; await its run() to see why")


class Worker:
    """Takes work of one queue and runs it: `await Worker(client, workflows=[order], steps=[charge]).run()`.

    client: says where the coordinator is, the namespace and the codec; the worker opens connections of its own.
    workflows, steps: decorated functions or Apps; the steps of a workflow's app come along by themselves.
    deps: what steps find as `ctx.deps`. max_steps: attempts at once. max_runs: runs held at once.
    executor: where plain functions run; threads of its own by default. In a ProcessPoolExecutor they see the trace of
    their attempt, but what they log does not name it; it must not fork, which gRPC does not survive. When one of its
    processes dies, the attempts in it are lost and the pool is replaced. build: see `build_of`; else HOLDFAST_BUILD.
    retry_hold: the longest wait before a retry that stays in this process. health_port: serves gRPC health.
    codecs: what all values go through, in this order; else those of the client. See `holdfast.codecs`.
    guards: "off" lets workflow code call what a replay cannot repeat: clocks, randomness, files, sockets, threads.
    handle_signals: False leaves SIGTERM and SIGINT to the program around it, which then calls `drain`.
    loop_blocked_max: how long code may hold the event loop; then it is interrupted, and if that does not help, what the
    loop holds up goes to other workers. A step may hold the interpreter for as long, as some extensions do, before
    the worker is taken for dead. lifecycle: what is called when runs and steps begin, end, fail, are retried or
    skipped; see `holdfast.Lifecycle`.
    """

    def __init__(
        self,
        client: WorkerClient,
        queue: str = "default",
        *,
        workflows: Iterable[Given] = (),
        steps: Iterable[Given] = (),
        deps: Any = NO_DEPS,
        max_steps: int = 100,
        max_runs: int = 1_000,
        executor: Executor | None = None,
        build: str | None = None,
        drain_timeout: Duration = 25.0,
        retry_hold: Duration = 1.0,
        health_port: int | None = None,
        handle_signals: bool = True,
        loop_blocked_max: Duration = 60.0,
        guards: Guards = "on",
        codecs: "Iterable[PayloadCodec | Pickle] | None" = None,
        lifecycle: Lifecycle | Iterable[Lifecycle] = (),
    ) -> None:
        checked_name("a worker", "queue", queue)
        if max_steps < 1 or max_runs < 1:
            raise ValueError(f"max_steps and max_runs are at least 1, not {max_steps} and {max_runs}")
        self._client = client
        self._codecs = client.codecs if codecs is None else CodecChain(codecs)
        self._codec = client.codec if codecs is None else value_codec(self._codecs)
        self._registered = Registrations.of(workflows, steps)
        if not self._registered.workflows and not self._registered.steps:
            raise ValueError("a worker without workflows and steps has nothing to do; give it some, or an App")
        self._lifecycle = (lifecycle,) if isinstance(lifecycle, Lifecycle) else tuple(lifecycle)
        for one in self._lifecycle:
            if not isinstance(one, Lifecycle):
                raise TypeError(f"lifecycle is an object of a subclass of holdfast.Lifecycle, or some, not {one!r}")
        self._deps = deps
        check_executor(executor)
        self._executor = executor
        self._drain_timeout = parse_duration(drain_timeout).total_seconds()
        self._health_port = health_port
        self._handle_signals = handle_signals
        self._loop_blocked_seconds = parse_duration(loop_blocked_max).total_seconds()
        if self._loop_blocked_seconds <= BLOCKED_SECONDS:
            raise ValueError(f"loop_blocked_max is more than {BLOCKED_SECONDS:g} s, not {loop_blocked_max}")
        definitions: list[StepDefinition | WorkflowDefinition] = [
            *self._registered.workflows.values(),
            *self._registered.steps.values(),
        ]
        self._options = CrewOptions(
            namespace=client.namespace,
            queue=queue,
            slots=max_steps,
            runs_max=max_runs,
            retry_hold=parse_duration(retry_hold),
            build=with_python(build or os.environ.get(BUILD_VARIABLE) or build_of(definitions)),
            is_guarded=guarded(guards),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain_asked = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._ready = asyncio.Event()
        self._never_ready = False
        self._at_work: tuple[WorkCrew, Heartbeat] | None = None

    @property
    def leave_seconds(self) -> float:
        """How long it takes at most to leave after it was asked to drain."""
        last_calls = LAST_CALLS_SECONDS if self._lifecycle else 0.0
        return self._drain_timeout + LAST_REPORTS_SECONDS + GOOD_BYE_SECONDS + last_calls

    @property
    def build(self) -> str:
        """The build that this worker says it has."""
        return self._options.build

    async def ready(self) -> None:
        """Waits until the worker has a session, so that work can come. Raises WorkerEnded when `run` ended before."""
        await self._ready.wait()
        if self._never_ready:
            raise WorkerEnded

    def drain(self) -> None:
        """Asks the worker to take no new work and to leave; the second time, to leave at once. From any thread."""
        self._on_loop(self._ask_to_drain)

    def stop(self) -> None:
        """Asks the worker to hand back everything and to leave at once. From any thread."""
        self._on_loop(self._ask_to_stop)

    def last_words(self, *, seconds: float) -> None:
        """The process ends now: gives back from outside the loop what this worker holds. seconds: what it may take."""
        if self._at_work is not None:
            crew, heartbeat = self._at_work
            heartbeat.last_words(crew.guilty(), seconds=seconds)

    def _on_loop(self, function: Callable[[], None]) -> None:
        if self._loop is None:
            function()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def _ask_to_drain(self) -> None:
        if self._drain_asked.is_set():
            self._stop_asked.set()
        self._drain_asked.set()

    def _ask_to_stop(self) -> None:
        self._drain_asked.set()
        self._stop_asked.set()

    async def run(self) -> None:
        """Works until it is drained. Waits for the coordinator when it is not there.

        Cancelling it gives up what runs and closes the session, so that others get the work at once.
        Raises NamespaceNotFound or PermissionDenied when the coordinator does not want this worker, and
        HealthPortUnavailable.
        """
        self._loop = asyncio.get_running_loop()
        clients = self._client.connection
        connection = await Connection.open(
            clients.address, balancing="pick_first", timeout=None, rpc_spans=clients.rpc_spans
        )
        calls = CodedWorkerCalls(connection, self._codecs) if self._codecs else WorkerCalls(connection)
        health = HealthServer(self._health_port) if self._health_port is not None else None
        executor = self._executor or DaemonThreads(self._options.slots + ABANDONED_MAX)
        signals = STOP_SIGNALS.covering(self) if self._handle_signals else contextlib.nullcontext()
        with signals, facts_in_logs(), shielded(self._loop):
            try:
                if health is not None:
                    await health.start()
                await self._work(calls, connection.address, executor, health)
            finally:
                if health is not None:
                    await health.stop()
                if self._executor is None:
                    executor.shutdown(wait=False)
                await calls.close()
                if not self._ready.is_set():
                    # Whoever waits for it would wait for ever.
                    self._never_ready = True
                    self._ready.set()

    async def _work(
        self, calls: WorkerCalls, address: Address, executor: Executor, health: HealthServer | None
    ) -> None:
        loop = asyncio.get_running_loop()
        clock, tasks = SessionClock(), SessionTasks()
        lifecycle = LifecycleCalls(self._lifecycle) if self._lifecycle else None
        options = self._options if lifecycle is None else replace(self._options, lifecycle=lifecycle.say)

        def make_runner(crew: WorkCrew, context: contextvars.Context) -> AttemptRunner:
            return AttemptRunner(
                loop,
                codec=self._codec,
                executor=executor,
                listener=crew,
                context=context,
                deps=self._deps,
            )

        crew = WorkCrew(
            loop,
            options,
            workflows=self._registered.workflows,
            steps=self._registered.steps,
            codec=self._codec,
            clock=clock,
            make_runner=make_runner,
            tasks=tasks,
            on_unusable=self._ask_to_drain,
        )
        watch = LoopWatch(loop)
        limit = self._loop_blocked_seconds
        heartbeat = Heartbeat(
            loop,
            HeartbeatCalls(address),
            clock,
            held=lambda: crew.held,
            watch=watch,
            blocked_loop=BlockedLoop(watch, crew.guard, limit_seconds=limit, give_up=crew.give_up),
            voucher=VoucherProcess(limit_seconds=limit, signals=STOP_SIGNALS),
        )
        self._at_work = (crew, heartbeat)
        session = Session(
            calls, self._introduction(), crew=crew, tasks=tasks, heartbeat=heartbeat, clock=clock,
            on_reach=health.say_soon if health is not None else None,
        )  # fmt: skip
        try:
            await self._until_drained(session, crew, heartbeat)
        finally:
            heartbeat.stop()
            lost = crew.guilty()
            # First this, then the good-bye: what is still running must not overlap with its repetition elsewhere.
            crew.drop_everything()
            await session.close(lost=lost, within=timedelta(seconds=GOOD_BYE_SECONDS))
            if lifecycle is not None:
                await lifecycle.close(seconds=LAST_CALLS_SECONDS)

    async def _until_drained(self, session: Session, crew: WorkCrew, heartbeat: Heartbeat) -> None:
        if not await self._opened(session):
            return
        async with asyncio.TaskGroup() as group:
            self._ready.set()
            log.info("ready: queue %s, build %s", self._options.queue, self._options.build)
            parts = (session.poll_on, session.report_on, session.read_on, session.progress.save_on)
            loops = [group.create_task(_forever(part)) for part in parts]
            await self._drain_asked.wait()
            log.info("draining: %d attempt(s) are running", crew.running_attempts)
            heartbeat.draining = True
            crew.drain()
            await self._leave(crew)
            for task in loops:
                task.cancel()

    async def _opened(self, session: Session) -> bool:
        """Waits for a session; False when the worker is asked to leave before it has one."""
        opening = asyncio.ensure_future(session.open())
        drain = asyncio.ensure_future(self._drain_asked.wait())
        try:
            await asyncio.wait((opening, drain), return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
            return opening.done()
        finally:
            opening.cancel()
            drain.cancel()

    async def _leave(self, crew: WorkCrew) -> None:
        """Waits for what still runs, then hands back the rest."""
        stop = asyncio.create_task(self._stop_asked.wait())
        emptied = asyncio.create_task(crew.emptied.wait())
        try:
            await asyncio.wait((stop, emptied), timeout=self._drain_timeout, return_when=asyncio.FIRST_COMPLETED)
            if not emptied.done():
                log.info("handing back %d attempt(s) that still run", crew.running_attempts)
                crew.hand_back()
                await asyncio.wait((emptied,), timeout=LAST_REPORTS_SECONDS)
        finally:
            stop.cancel()
            emptied.cancel()

    def _introduction(self) -> Introduction:
        options = self._options
        return Introduction(
            namespace=options.namespace,
            queue=options.queue,
            workflows=tuple(map(workflow_registration, self._registered.workflows.values())),
            steps=tuple(self._registered.steps),
            build=options.build,
            host=socket.gethostname(),
            pid=os.getpid(),
            slots=options.slots,
            runs_max=options.runs_max,
            encodings=self._codecs.reads,
        )


async def _forever(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a loop of the session; an error in it, which is a bug, is logged and does not end the worker."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("an error inside the worker; it goes on")
            await asyncio.sleep(1.0)
