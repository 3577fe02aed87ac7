"""Bytes that are no message: whoever sends them has made the mistake, and is told so."""

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from holdfast.api.v1 import run_service_pb2, worker_service_pb2
from holdfast_coordinator.app import coordinator
from holdfast_coordinator.config import Config

SERVICES = [
    run_service_pb2.DESCRIPTOR.services_by_name["RunService"],
    worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"],
    health_pb2.DESCRIPTOR.services_by_name["Health"],
    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
]


async def test_bytes_that_are_no_message_are_refused_by_every_rpc_with_the_type_that_they_should_have(
    database: str,
) -> None:
    async with (
        coordinator(Config(database_url=database, port=0)) as replica,
        grpc.aio.insecure_channel(replica.address) as channel,
    ):
        for service in SERVICES:
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                if method.client_streaming:
                    call = channel.stream_stream(path)(timeout=20)
                    await call.write(b"\xff\xff\xff")
                    await call.done_writing()
                elif method.server_streaming:
                    call = channel.unary_stream(path)(b"\xff\xff\xff", timeout=20)
                else:
                    call = channel.unary_unary(path)(b"\xff\xff\xff", timeout=20)
                assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT, path
                assert method.input_type.full_name in await call.details()
                assert dict(await call.trailing_metadata())["holdfast-reason"] == "INVALID_REQUEST"


async def test_health_and_reflection_answer_behind_what_refuses_bytes(database: str) -> None:
    async with (
        coordinator(Config(database_url=database, port=0)) as replica,
        grpc.aio.insecure_channel(replica.address) as channel,
    ):
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )(health_pb2.HealthCheckRequest(), timeout=20)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        asks = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(timeout=20)
        await asks.write(reflection_pb2.ServerReflectionRequest(list_services="*"))
        listed = {one.name for one in (await asks.read()).list_services_response.service}
        assert {service.full_name for service in SERVICES} == listed
        asks.cancel()
