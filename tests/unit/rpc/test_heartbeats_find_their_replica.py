"""Heartbeats go to the replica that holds the attachment; when it is out of reach, by the address of the worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import grpc
import pytest

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1 import worker_service_pb2_grpc
from holdfast.channel.connection import parse_address
from holdfast.channel.leases import Pulse
from holdfast.channel.worker_calls import HeartbeatCalls
from holdfast.errors import CoordinatorUnavailable

NOBODY = "127.0.0.9:1"


class Replica(worker_service_pb2_grpc.WorkerServiceServicer):
    """Counts the heartbeats that come."""

    def __init__(self) -> None:
        self.beats = 0
        self.address = ""

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: grpc.aio.ServicerContext) -> pb.HeartbeatResponse:
        self.beats += 1
        return pb.HeartbeatResponse()


@asynccontextmanager
async def replica() -> AsyncIterator[Replica]:
    service, server = Replica(), grpc.aio.server()
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(service, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield service
    finally:
        await server.stop(None)


async def _beat(calls: HeartbeatCalls, attach_no: int, where: str) -> Pulse:
    beat = partial(
        calls.heartbeat, "session", attach_no, 1, (), loop_lag=timedelta(0), draining=False, timeout=5.0, replica=where
    )
    return await asyncio.to_thread(beat)


async def test_heartbeats_follow_the_attachment_from_replica_to_replica() -> None:
    async with replica() as one, replica() as other:
        calls = HeartbeatCalls(parse_address(one.address))
        for attach_no, where in ((1, one), (2, other), (3, one), (4, other)):
            await _beat(calls, attach_no, where.address)
        await _beat(calls, 5, "")
        calls.close()
        assert (one.beats, other.beats) == (3, 2)


@pytest.mark.parametrize("unreachable", [NOBODY, "no such:host"])
async def test_a_replica_out_of_reach_costs_one_heartbeat_at_most(unreachable: str) -> None:
    async with replica() as balancer:
        calls = HeartbeatCalls(parse_address(balancer.address))
        failures = 0
        for _ in range(5):
            try:
                await _beat(calls, 1, unreachable)
            except CoordinatorUnavailable:
                failures += 1
        calls.close()
        assert failures <= 1
        assert balancer.beats >= 4
