"""Random requests of every rpc, beside honest work: each is answered or refused, and nobody else is disturbed.

What is nearly right is tried in tests/integration/rpc/test_misshapen_requests.py; here nothing is right on purpose.
"""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, given, settings

from holdfast.api.v1 import journal_pb2, run_service_pb2, status_pb2, worker_service_pb2
from tests.support.bystanders import under_attack
from tests.support.raw_worker import RawWorker, entry, transition
from tests.support.wild_messages import broken, wild

REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
WAIT_SECONDS = 1.0
"""How long the attacker waits; what holds a call on purpose, a poll or a wait, it leaves."""
HELD = frozenset({"Poll", "WaitRuns", "Work"})
METHODS = [
    method
    for service in (
        run_service_pb2.DESCRIPTOR.services_by_name["RunService"],
        worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"],
    )
    for method in service.methods
]
FEW = settings(
    max_examples=15, deadline=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip


class Attacker:
    """A client and a worker that may be anybody's, with runs and a session of their own; its calls are bytes."""

    def __init__(self, address: str, runner: asyncio.Runner) -> None:
        self._address, self._runner = address, runner
        self.worker = runner.run(self._opened())
        self.known: dict[str, list[Any]] = {}
        self._names = itertools.count(1)

    async def _opened(self) -> RawWorker:
        return await RawWorker(self._address, steps=("charge",)).open()

    async def _left(self) -> None:
        session = worker_service_pb2.CloseSessionRequest(
            session_id=self.worker.session_id, attach_no=self.worker.attach_no
        )
        code = await self.worker.workers.CloseSession(session, timeout=20).code()
        assert code in REFUSALS | {grpc.StatusCode.OK}

    def prepare(self) -> None:
        """Gets a session, a run that it holds, one that waits, and one that is closed."""
        runner, worker = self._runner, self.worker
        runner.run(self._left())  # else it would go on being given work, and take none
        runner.run(worker.open())
        held = runner.run(worker.started())
        name = f"order {next(self._names)}"
        waits = runner.run(worker.started(id=name))
        timer = journal_pb2.TimerSet(number=1, delay=Duration(seconds=1_000))
        suspended = transition(waits, entry(timer_set=timer), then=worker_service_pb2.THEN_SUSPEND, waits=["timer 1"])
        over = runner.run(worker.started())
        close = journal_pb2.RunClosed(status=status_pb2.RUN_STATUS_COMPLETED)
        closed = transition(over, entry(run_closed=close), then=worker_service_pb2.THEN_CLOSE)
        runner.run(worker.report(suspended, closed))
        ids = [held.run_id, waits.run_id, over.run_id]
        self.known = {
            "namespace": ["", "default"], "session_id": [worker.session_id], "attach_no": [worker.attach_no],
            "run": [*ids, name], "run_id": ids, "run_ids": ids, "epoch": [held.epoch], "workflow": ["flow"],
            "expected_seq": [held.journal_length], "number": [1, 2], "attempt": [1], "step": [0, 1],
        }  # fmt: skip

    def call(self, method: MethodDescriptor, data: bytes) -> grpc.StatusCode:
        """The status that the bytes are answered with; any but those of a refusal or of an answer fails the test."""
        return self._runner.run(self._call(method, data))

    async def _call(self, method: MethodDescriptor, data: bytes) -> grpc.StatusCode:
        path = f"/{method.containing_service.full_name}/{method.name}"
        # Without serializers requests and answers are bytes.
        channel = self.worker.channel
        if method.name == "Work":
            call = channel.stream_stream(path)(timeout=0.1)
            try:
                await call.write(data)
                await call.done_writing()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass  # refused before it was written to its end; the status says more
        else:
            call = channel.unary_unary(path)(data, timeout=0.1 if method.name in HELD else WAIT_SECONDS * 20)
        code: grpc.StatusCode = await call.code()
        allowed = REFUSALS | {grpc.StatusCode.OK}
        if method.name in HELD:
            allowed |= {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert code in allowed, f"{code}: {await call.details()}"
        return code


@pytest.fixture(scope="module")
def attacker(module_database: str) -> Iterator[Attacker]:
    """An attacker of a coordinator process with honest work beside; afterwards all is as it was."""
    with under_attack(module_database) as (runner, address):
        attacker = Attacker(address, runner)
        yield attacker
        runner.run(attacker.worker.close())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_random_requests_are_answered_or_refused_whatever_they_say(
    attacker: Attacker, method: MethodDescriptor
) -> None:
    attacker.prepare()

    @FEW
    @given(request=wild(method.input_type, attacker.known))
    def tried(request: Any) -> None:
        attacker.call(method, request.SerializeToString())

    tried()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_bytes_that_are_no_request_are_refused_and_not_a_fault_of_the_coordinator(
    attacker: Attacker, method: MethodDescriptor
) -> None:
    attacker.prepare()
    assert attacker.call(method, b"\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT

    @FEW
    @given(data=broken(method.input_type, attacker.known))
    def tried(data: bytes) -> None:
        attacker.call(method, data)

    tried()
