"""What replicas of the coordinator export together, and what one leaves to the next when it is killed."""

import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from holdfast.client import Client
from tests.support import flows_traces as flows
from tests.support.otlp_sink import otlp_sink
from tests.support.processes import free_port
from tests.support.traces import replicas, scenarios
from tests.support.traces.seen import SinkBackend, told
from tests.support.traces.stage import Stage, exporting, listens_on, relay_is_due
from tests.support.watching import until_status


async def test_two_replicas_export_one_trace_and_what_comes_twice_is_the_same_to_the_byte(
    module_database: str, tmp_path: Path
) -> None:
    async with otlp_sink() as sink:
        spans = await replicas.advanced_by_two_replicas(module_database, SinkBackend(sink), tmp_path)
        scenarios.check("advanced_by_two_replicas", spans)
        (run_id,) = {span.run_id for span in spans}
        times = Counter(span.span_id for span in sink.of_run(run_id))
        assert set(times) == {span.span_id for span in spans}
        # Once by who committed it, and once by each that was asked.
        assert min(times.values()) == 3
        # Two spans may be the same and not their requests: what a backend compares is all of this.
        assert len({span.raw for span in sink.of_run(run_id)}) == len(times)


async def test_what_a_killed_coordinator_committed_and_did_not_export_is_exported_by_the_next(
    module_database: str, tmp_path: Path
) -> None:
    """A closed run from its mark, an open one when it goes on: nothing is missing, nothing is there twice."""
    port = free_port()
    async with AsyncExitStack() as stack, otlp_sink() as sink:
        backend = SinkBackend(sink)
        sink.hang()
        killed = await stack.enter_async_context(exporting(module_database, sink.url, port=port))
        address = await listens_on(killed)
        client = await stack.enter_async_context(Client.connect(address, timeout=30))
        stage = Stage(backend, client, address, tmp_path)
        await stack.enter_async_context(stage.worker())
        closed = await client.start(stage.here(flows.checkout))
        opened = await client.start(stage.here(flows.two_signals), stage.ledger().path)
        assert await closed.result(timeout=20) == 20
        await until_status(opened, "suspended")
        await sink.until(lambda sink: sink.counts.refused)
        killed.send(signal.SIGKILL)
        await killed.wait()
        assert sink.spans == []
        sink.accept()

        relay_is_due(module_database)
        await stack.enter_async_context(exporting(module_database, sink.url, port=port))
        spans = await told(backend, closed.run_id)
        scenarios.check("spans_in_workflow_code", spans)
        await opened.signal("go on")
        assert await opened.result(timeout=30) == "goods 8"
        spans = await told(backend, opened.run_id)
        scenarios.check("left_open_by_a_killed_coordinator", spans)
