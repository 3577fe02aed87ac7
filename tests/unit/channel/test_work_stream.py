"""The worker's end of the Work stream, against gRPC servers that do not answer as agreed."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1.worker_service_pb2_grpc import WorkerServiceServicer, WorkerServiceStub
from holdfast.api.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server as serve
from holdfast.channel.work_stream import WorkStream
from holdfast.errors import CoordinatorUnavailable, Refused

MORE_THAN_A_WINDOW_BYTES = 3_000_000


class ReadsNothing(WorkerServiceServicer):  # type: ignore[misc]  # generated, without types
    async def Work(self, requests: Any, context: Any) -> AsyncIterator[pb.WorkResponse]:
        await asyncio.Event().wait()
        yield pb.WorkResponse()


async def test_a_worker_reports_on_after_its_stream_was_closed_while_a_report_was_being_written() -> None:
    server = grpc.aio.server()
    serve(ReadsNothing(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stream = WorkStream(WorkerServiceStub(channel).Work(), address="here")  # type: ignore[no-untyped-call]
            large = pb.WorkRequest(report=pb.ReportRequest(session_id="x" * MORE_THAN_A_WINDOW_BYTES))
            poll = asyncio.create_task(stream.poll(large, seconds=60))
            report = asyncio.create_task(stream.report(large, seconds=60))
            await asyncio.wait((poll, report), timeout=0.3)  # nothing says that a write waits for its window
            stream.close("its replica is left")
            for call in (poll, report):
                with pytest.raises(CoordinatorUnavailable, match="its replica is left"):
                    await asyncio.wait_for(call, 5)
    finally:
        await server.stop(0)


async def test_a_worker_reports_on_though_its_stream_was_closed_before_it_had_a_connection() -> None:
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stream = WorkStream(WorkerServiceStub(channel).Work(), address="here")  # type: ignore[no-untyped-call]
            request = pb.WorkRequest(report=pb.ReportRequest(session_id="ses_1"))
            report = asyncio.create_task(stream.report(request, seconds=60))
            await asyncio.wait((report,), timeout=0.3)  # nothing says that a write waits for its connection
            stream.close("its replica is left")
            with pytest.raises(CoordinatorUnavailable, match="its replica is left"):
                await asyncio.wait_for(report, 5)
            left = [task for task in asyncio.all_tasks() if "WorkStream" in repr(task.get_coro())]
            await asyncio.wait_for(asyncio.wait(left), 5)  # nothing of it waits for that connection
    finally:
        silent.close()


async def test_a_worker_that_leaves_while_it_connects_logs_no_error_that_was_never_retrieved() -> None:
    complaints: list[dict[str, Any]] = []
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stream = WorkStream(WorkerServiceStub(channel).Work(), address="here")  # type: ignore[no-untyped-call]
            request = pb.WorkRequest(report=pb.ReportRequest(session_id="ses_1"))
            report = asyncio.create_task(stream.report(request, seconds=60))
            await asyncio.wait((report,), timeout=0.3)  # nothing says that a write waits for its connection
            report.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(report, 5)
            del report, stream
            gc.collect()
            assert complaints == []
    finally:
        silent.close()


async def says_what_makes_no_sense(requests: Any, context: Any) -> AsyncIterator[bytes]:
    yield b"\xff\xff\xff"
    await asyncio.Event().wait()


async def test_a_poll_ends_at_once_when_its_stream_brings_what_cannot_be_read() -> None:
    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(says_what_makes_no_sense)
    service = "holdfast.api.v1.WorkerService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Work": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stream = WorkStream(WorkerServiceStub(channel).Work(), address="here")  # type: ignore[no-untyped-call]
            poll = stream.poll(pb.WorkRequest(poll=pb.PollRequest(session_id="ses_1")), seconds=60)
            with pytest.raises(Refused, match="cannot be read"):
                await asyncio.wait_for(poll, 5)
            stream.close("it is of no use")
    finally:
        await server.stop(0)
