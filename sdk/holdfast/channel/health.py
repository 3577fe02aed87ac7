"""Asks the standard gRPC health service (grpc.health.v1) of a coordinator or a worker, once.

It never repeats a question: who probes does that.
"""

from enum import IntEnum

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from holdfast.channel.channel_options import proxy_options
from holdfast.channel.connection import Address
from holdfast.errors import HoldfastError


class Health(IntEnum):
    """What the service answers, with the numbers of grpc.health.v1."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class NoHealthAnswer(HoldfastError):
    """Nothing at the address answered the health check in time."""

    def __init__(self, address: str, detail: str) -> None:
        super().__init__(f"no health answer from {address}: {detail}")
        self.address = address
        self.detail = detail


async def ask_health(address: Address, *, timeout: float) -> Health:
    """What the server says of itself. timeout: in seconds, from connecting to the answer.

    Raises NoHealthAnswer when nothing listens, nothing answers in time, or what answers has no health service.
    """
    async with grpc.aio.insecure_channel(address.target, options=proxy_options()) as channel:
        try:
            answer = await HealthStub(channel).Check(HealthCheckRequest(), timeout=timeout)
        except grpc.aio.AioRpcError as failed:
            detail = f"{failed.code().name}, {failed.details()}"
            raise NoHealthAnswer(str(address), detail) from None
    return Health(answer.status) if answer.status in set(Health) else Health.UNKNOWN
