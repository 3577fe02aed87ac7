"""A process that exports the spans of every scenario: `python -m tests.jaeger.replica HOST:PORT at-once|one-by-one`.

As a replica does it that found the journals: it shares nothing with another one but what is stored. What batches the
spans go in, and in which order, is chosen by the second argument.
"""

import asyncio
import sys

from holdfast_coordinator.rpc.collector_client import Collector
from holdfast_coordinator.telemetry.otel_variables import Endpoint
from holdfast_coordinator.telemetry.otlp_spans import export_request
from tests.support.written_journals import spans_of

from .scenarios import NAMES, scenario_of


async def export_all(address: str, *, one_by_one: bool) -> int:
    """Exports the spans of all scenarios; how many."""
    spans = [span for name in NAMES for span in spans_of(*scenario_of(name))]
    batches = [[span] for span in reversed(spans)] if one_by_one else [spans]
    collector = Collector(Endpoint(address))
    try:
        for batch in batches:
            accepted = await collector.export_traces(export_request(batch))
            assert accepted.rejected == 0, accepted.message
    finally:
        await collector.close()
    return len(spans)


if __name__ == "__main__":
    print(asyncio.run(export_all(sys.argv[1], one_by_one=sys.argv[2] == "one-by-one")))
