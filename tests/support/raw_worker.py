"""A worker of bare messages, for tests that send what no SDK would."""

import hashlib
import itertools
import json
import os
import time
from typing import Any

import grpc

from holdfast import ids
from holdfast.api.v1 import journal_pb2, run_service_pb2, value_pb2, worker_service_pb2
from holdfast.api.v1.run_service_pb2_grpc import RunServiceStub
from holdfast.api.v1.worker_service_pb2_grpc import WorkerServiceStub

CALL_SECONDS = 20.0


def start_id() -> str:
    """A new start id."""
    return ids.start_id(time.time_ns() // 1_000_000, os.urandom(10))


def payload(value: Any) -> value_pb2.Payload:
    """A value as clients send it."""
    data = json.dumps(value).encode()
    return value_pb2.Payload(data=data, content_sha256=hashlib.sha256(data).digest())


def entry(**body: Any) -> journal_pb2.Entry:
    """An entry of now."""
    made = journal_pb2.Entry(**body)
    made.at.GetCurrentTime()
    return made


def transition(
    lease: worker_service_pb2.Lease, *entries: journal_pb2.Entry, then: int = worker_service_pb2.THEN_CONTINUE,
    number: int = 1, expected_seq: int | None = None, **changed: Any,
) -> worker_service_pb2.Transition:  # fmt: skip
    """What the holder of a lease reports."""
    return worker_service_pb2.Transition(
        run_id=lease.run_id, epoch=lease.epoch, transition_id=number, entries=entries,
        expected_seq=lease.journal_length if expected_seq is None else expected_seq,
        then=then, **changed,  # type: ignore[arg-type]
    )  # fmt: skip


class RawWorker:
    """One session on one channel. It knows every workflow that it is given, with any arguments."""

    def __init__(self, address: str, *, workflows: tuple[str, ...] = ("flow",), steps: tuple[str, ...] = ()) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.workers = WorkerServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.runs = RunServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.workflows, self.steps = workflows, steps
        self.session_id, self.attach_no = "", 0
        self._numbers = itertools.count(1)
        self._received: list[worker_service_pb2.Held] = []

    def introduction(self) -> worker_service_pb2.OpenSessionRequest:
        """What it says of itself."""
        request = worker_service_pb2.OpenSessionRequest(steps=self.steps, build="b1", host="here", pid=1, slots=10)
        for name in self.workflows:
            request.workflows.add(name=name, extra_positional=True, extra_named=True)
        return request

    async def open(self) -> "RawWorker":
        """Opens its session."""
        opened = await self.workers.OpenSession(self.introduction(), timeout=CALL_SECONDS)
        self.session_id, self.attach_no = opened.session_id, opened.attach_no
        return self

    async def close(self) -> None:
        """Ends the channel; the session ends by its time limit."""
        await self.channel.close()

    def poll_request(self, *, free_runs: int = 10, free_slots: int = 10) -> worker_service_pb2.PollRequest:
        """The next poll; it says that everything arrived that earlier ones brought."""
        return worker_service_pb2.PollRequest(
            session_id=self.session_id, attach_no=self.attach_no, msg_no=next(self._numbers),
            free_runs=free_runs, free_slots=free_slots, received=self._received,
        )  # fmt: skip

    async def poll(self, *, free_runs: int = 10, free_slots: int = 10) -> worker_service_pb2.PollResponse:
        """What the next poll brings."""
        request = self.poll_request(free_runs=free_runs, free_slots=free_slots)
        answer: worker_service_pb2.PollResponse = await self.workers.Poll(request, timeout=CALL_SECONDS + 30)
        self._received = [worker_service_pb2.Held(run_id=one.run_id, epoch=one.epoch) for one in answer.leases]
        self._received += [
            worker_service_pb2.Held(run_id=one.run_id, step=one.step, epoch=one.epoch) for one in answer.attempts
        ]
        return answer

    async def lease(self, run_id: str) -> worker_service_pb2.Lease:
        """Polls until it holds this run."""
        while True:
            for lease in (await self.poll()).leases:
                if lease.run_id == run_id:
                    return lease

    def report_request(
        self, *transitions: worker_service_pb2.Transition, attempts: tuple[Any, ...] = ()
    ) -> worker_service_pb2.ReportRequest:
        """A report of these."""
        return worker_service_pb2.ReportRequest(
            session_id=self.session_id, attach_no=self.attach_no, transitions=transitions, attempts=attempts
        )

    async def report(
        self, *transitions: worker_service_pb2.Transition, attempts: tuple[Any, ...] = ()
    ) -> worker_service_pb2.ReportResponse:
        """Reports transitions and ends of queued attempts."""
        request = self.report_request(*transitions, attempts=attempts)
        answer: worker_service_pb2.ReportResponse = await self.workers.Report(request, timeout=CALL_SECONDS)
        return answer

    async def start(self, workflow: str = "flow", **changed: Any) -> str:
        """Starts a run; its run id."""
        spec = run_service_pb2.StartSpec(start_id=start_id(), workflow=workflow, **changed)
        started = await self.runs.StartRun(run_service_pb2.StartRunRequest(start=spec), timeout=CALL_SECONDS)
        run_id: str = started.run.run_id
        return run_id

    async def started(self, workflow: str = "flow", **changed: Any) -> worker_service_pb2.Lease:
        """The lease of a new run."""
        return await self.lease(await self.start(workflow, **changed))

    async def history(self, run: str) -> list[journal_pb2.Entry]:
        """All entries of a run."""
        entries: list[journal_pb2.Entry] = []
        after, more = 0, True
        while more:
            request = run_service_pb2.GetHistoryRequest(run=run, after=after)
            page = await self.runs.GetHistory(request, timeout=CALL_SECONDS)
            entries += [one for row in page.rows for one in row.entries]
            more, after = page.more, page.rows[-1].seq if page.rows else after
        return entries

    async def described(self, run: str) -> run_service_pb2.RunDescription:
        """What is known of a run."""
        answer = await self.runs.GetRun(run_service_pb2.GetRunRequest(run=run), timeout=CALL_SECONDS)
        described: run_service_pb2.RunDescription = answer.run
        return described
