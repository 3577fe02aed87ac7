"""A worker that is nothing but its calls: it says, asks and holds what a test lets it. Unary calls only."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

import grpc

from holdfast.api.v1 import run_service_pb2 as runs_pb
from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1.run_service_pb2_grpc import RunServiceStub
from holdfast.api.v1.worker_service_pb2_grpc import WorkerServiceStub
from holdfast.channel.refusals import error_of_call
from holdfast.ids import start_id

WORKFLOW = "flow"


class RawWorker:
    """See the module. `held`: what polls have brought; heartbeats and polls name it."""

    def __init__(self, address: str, queue: str) -> None:
        self.address = address
        self.queue = queue
        self.session_id = ""
        self.attach_no = 0
        self.held: dict[str, pb.Held] = {}
        self.ended: list[str] = []
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._calls = WorkerServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._runs = RunServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._polls = itertools.count(1)
        self._beats = itertools.count(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._channel.close()

    async def open(self, session_id: str = "") -> pb.OpenSessionResponse:
        """Opens a session, or attaches the one with this id."""
        workflow = pb.WorkflowRegistration(name=WORKFLOW, extra_positional=True, extra_named=True)
        request = pb.OpenSessionRequest(
            session_id=session_id, workflows=[workflow], build="b1", slots=10, queue=self.queue,
            held=list(self.held.values()),
        )  # fmt: skip
        opened: pb.OpenSessionResponse = await self._calls.OpenSession(request, timeout=10)
        self.session_id, self.attach_no = opened.session_id, opened.attach_no
        return opened

    async def poll(self, *, free_runs: int = 100, seconds: float = 60) -> list[str]:
        """What a poll brings: the runs. Raises the refusal of the coordinator."""
        request = pb.PollRequest(
            session_id=self.session_id, attach_no=self.attach_no, msg_no=next(self._polls), free_slots=10,
            free_runs=free_runs, received=list(self.held.values()),
        )  # fmt: skip
        try:
            answer: pb.PollResponse = await self._calls.Poll(request, timeout=seconds)
        except grpc.aio.AioRpcError as failed:
            raise error_of_call(failed, address=self.address) from None
        for lease in answer.leases:
            assert lease.attach_no == self.attach_no
            self.held[lease.run_id] = pb.Held(run_id=lease.run_id, epoch=lease.epoch)
        return [lease.run_id for lease in answer.leases]

    async def take(self, count: int) -> list[str]:
        """Polls until it holds so many runs, and acknowledges them."""
        while len(self.held) < count:
            await self.poll()
        await self.beat()
        return list(self.held)

    async def beat(self) -> None:
        """A heartbeat. Raises the refusal of the coordinator."""
        request = pb.HeartbeatRequest(
            session_id=self.session_id, attach_no=self.attach_no, msg_no=next(self._beats),
            held=list(self.held.values()),
        )  # fmt: skip
        try:
            answer: pb.HeartbeatResponse = await self._calls.Heartbeat(request, timeout=10)
        except grpc.aio.AioRpcError as failed:
            raise error_of_call(failed, address=self.address) from None
        self.ended += [held.run_id for held in answer.ended]

    @asynccontextmanager
    async def alive(self, *, every_seconds: float = 0.4, polls: bool = False) -> AsyncIterator[None]:
        """Sends heartbeats, and polls where it is to, as long as the block runs; a refusal of either is raised."""

        async def beat_on() -> None:
            while True:
                await self.beat()
                await asyncio.sleep(every_seconds)

        async def poll_on() -> None:
            while True:
                await self.poll()

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(beat_on())] + ([tasks.create_task(poll_on())] if polls else [])
            yield
            for task in running:
                task.cancel()

    async def start(self, count: int = 1) -> Sequence[str]:
        """Starts runs of its queue."""
        started = []
        for _ in range(count):
            new_id = start_id(time.time_ns() // 1_000_000, os.urandom(10))
            spec = runs_pb.StartSpec(start_id=new_id, workflow=WORKFLOW, queue=self.queue)
            answer = await self._runs.StartRun(runs_pb.StartRunRequest(start=spec), timeout=10)
            started.append(answer.run.run_id)
        return started
