"""A RunService that keeps what it was sent, on a real port, and answers every start and signal."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc

from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.api.v1 import run_service_pb2_grpc, status_pb2


class ListeningService(run_service_pb2_grpc.RunServiceServicer):
    """`starts`: in order of arrival. `headers`: the metadata of each call, by method.

    GetRun has no answer. is_asked, is_left: it was called, and a call of it was given up by the other side.
    """

    def __init__(self) -> None:
        self.starts: list[pb.StartSpec] = []
        self.calls: list[int] = []
        self.signals: list[pb.SignalRunRequest] = []
        self.headers: dict[str, dict[str, str]] = {}
        self.is_asked = asyncio.Event()
        self.is_left = asyncio.Event()

    async def StartRuns(self, request: pb.StartRunsRequest, context: grpc.aio.ServicerContext) -> pb.StartRunsResponse:
        self._heard("StartRuns", context)
        self.starts += request.starts
        self.calls.append(len(request.starts))
        return pb.StartRunsResponse(outcomes=[_outcome(start) for start in request.starts])

    async def SignalRun(self, request: pb.SignalRunRequest, context: grpc.aio.ServicerContext) -> pb.SignalRunResponse:
        self._heard("SignalRun", context)
        self.signals.append(request)
        return pb.SignalRunResponse(accepted=True)

    async def CancelRun(self, request: pb.CancelRunRequest, context: grpc.aio.ServicerContext) -> pb.CancelRunResponse:
        self._heard("CancelRun", context)
        return pb.CancelRunResponse(accepted=False)

    async def TerminateRun(
        self, request: pb.TerminateRunRequest, context: grpc.aio.ServicerContext
    ) -> pb.TerminateRunResponse:
        return pb.TerminateRunResponse(accepted=True)

    async def RetryRun(self, request: pb.RetryRunRequest, context: grpc.aio.ServicerContext) -> pb.RetryRunResponse:
        return pb.RetryRunResponse(run=pb.StartedRun(run_id="run_00b", id=request.run))

    async def ResumeRun(self, request: pb.ResumeRunRequest, context: grpc.aio.ServicerContext) -> pb.ResumeRunResponse:
        return await context.abort(grpc.StatusCode.NOT_FOUND, "no such run")

    async def WaitRuns(self, request: pb.WaitRunsRequest, context: grpc.aio.ServicerContext) -> pb.WaitRunsResponse:
        closed = [pb.ClosedRun(run_id=run_id, status=status_pb2.RUN_STATUS_COMPLETED) for run_id in request.run_ids]
        return pb.WaitRunsResponse(closed=closed)

    async def GetRun(self, request: pb.GetRunRequest, context: grpc.aio.ServicerContext) -> pb.GetRunResponse:
        self._heard("GetRun", context)
        self.is_asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.is_left.set()
        raise AssertionError

    def _heard(self, method: str, context: grpc.aio.ServicerContext) -> None:
        self.headers[method] = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}


@asynccontextmanager
async def listening(
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (), *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[tuple[ListeningService, str]]:
    """The service and its address. port: 0 takes a free one."""
    service, server = ListeningService(), grpc.aio.server(interceptors=interceptors or None)
    run_service_pb2_grpc.add_RunServiceServicer_to_server(service, server)
    port = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    try:
        yield service, f"{host}:{port}"
    finally:
        await server.stop(None)


def _outcome(start: pb.StartSpec) -> pb.StartOutcome:
    if start.id == "taken":
        facts = {"id": start.id, "run_id": "run_00a"}
        return pb.StartOutcome(
            refusal=pb.Refusal(code=6, reason="RUN_ALREADY_STARTED", message="it is", metadata=facts)
        )
    return pb.StartOutcome(run=pb.StartedRun(run_id=f"run_00{start.id}", id=start.id))
