"""A run that two replicas of the coordinator advance, and whose spans three processes export."""

from contextlib import AsyncExitStack
from pathlib import Path

from holdfast.channel.run_calls import RunCalls
from tests.support import flows_traces as flows
from tests.support.traces.seen import Backend, SeenSpan, told
from tests.support.traces.stage import Stage, staged
from tests.support.watching import until_status


async def advanced_by_two_replicas(database: str, backend: Backend, directory: Path) -> list[SeenSpan]:
    """One replica's worker takes the run to a wait, the other's to its end; each has exported its part.

    Then both export the whole run again.
    """
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(staged(database, backend, directory))
        other = await stack.enter_async_context(staged(database, backend, directory, queue=one.queue))
        async with one.worker():
            run = await one.client.start(one.here(flows.two_signals), one.ledger().path)
            await until_status(run, "suspended")
        async with other.worker():
            await other.client.get(run.run_id).signal("go on")
            assert await run.result(timeout=30) == "goods 8"
        spans = await told(backend, run.run_id)
        for stage in (one, other):
            assert await _exported_again(stage, run.run_id) == len(spans)
        return await told(backend, run.run_id)


async def _exported_again(stage: Stage, run_id: str) -> int:
    """How many spans the replica has exported when it was asked to, which it made from the journal."""
    answer = await RunCalls(stage.client.connection, stage.client.namespace).export_trace(run_id)
    return answer.spans
