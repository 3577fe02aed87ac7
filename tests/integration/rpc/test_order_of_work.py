"""Priority and age hold, whatever streams in."""

import asyncio

from holdfast.api.v1 import journal_pb2, status_pb2, worker_service_pb2
from holdfast_coordinator.app import coordinator
from holdfast_coordinator.config import Config
from tests.support.raw_worker import RawWorker, entry, transition

URGENT = 20


async def test_urgent_runs_that_wait_are_served_before_others_that_stream_in(database: str) -> None:
    async with coordinator(Config(database_url=database, port=0, poll_wait="0.2s")) as replica:
        worker, client = RawWorker(replica.address), RawWorker(replica.address)
        await worker.open()  # the workflow is known
        urgent = [await client.start(priority=-100) for _ in range(URGENT)]
        served: list[str] = []
        streaming = [asyncio.create_task(_stream(client)) for _ in range(8)]
        async with asyncio.timeout(30):
            while len(served) < URGENT:
                for lease in (await worker.poll(free_runs=1)).leases:
                    served.append(lease.run_id)
                    closed = entry(run_closed=journal_pb2.RunClosed(status=status_pb2.RUN_STATUS_COMPLETED))
                    await worker.report(transition(lease, closed, then=worker_service_pb2.THEN_CLOSE))
        for stream in streaming:
            stream.cancel()
        assert served == urgent
        await asyncio.gather(worker.close(), client.close())


async def _stream(client: RawWorker) -> None:
    while True:
        await client.start(priority=100)
