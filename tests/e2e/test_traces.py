"""The journal is the trace: what real runs look like in a collector, over real OTLP/gRPC.

The scenarios and what they must look like are in traces/; tests/jaeger asks a real Jaeger the same.
"""

from collections.abc import AsyncIterator
from itertools import pairwise

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.api.v1 import value_pb2
from holdfast.api.v1.run_service_pb2_grpc import RunServiceStub
from holdfast.client.handle import new_start_id
from tests.support import flows_traces as flows
from tests.support.otlp_sink import OtlpSink, otlp_sink
from tests.support.traces import rules, scenarios
from tests.support.traces.drawing import drawn, in_fixed_order
from tests.support.traces.scenarios import SCENARIOS, Scenario
from tests.support.traces.seen import SeenSpan, SinkBackend, named, told
from tests.support.traces.stage import CALLER, Stage, staged, tracing

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLERS_TRACE = "ca" * 16
TRACEPARENT = f"00-{CALLERS_TRACE}-{'fe' * 8}-01"
NAPS = 100


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sink() -> AsyncIterator[OtlpSink]:
    async with otlp_sink() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def only_stage(
    sink: OtlpSink, module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A coordinator that exports to the sink, for all tests of this module; what they leave there is whole."""
    backend = SinkBackend(sink)
    async with staged(module_database, backend, tmp_path_factory.mktemp("ledgers")) as made:
        yield made
    for trace_id in {span.trace_id for span in sink.spans}:
        rules.check(await backend.trace(trace_id))


@pytest.fixture
def stage(only_stage: Stage) -> Stage:
    return only_stage.fresh()


@pytest.mark.feature("F122", "F123")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_a_run_is_the_tree_that_a_person_would_draw(scenario: Scenario, stage: Stage) -> None:
    spans = await scenario(stage)
    scenarios.check(scenario.__name__, spans)
    for span in spans:
        assert not span.is_skeleton or list(span.attributes) == list(in_fixed_order(span.attributes))


@pytest.mark.feature("F122")
async def test_times_of_a_step_that_fails_twice_fit(stage: Stage) -> None:
    """Attempts take as long as the code took, waits as long as was asked for, and together they fill the step."""
    spans = await scenarios.step_that_fails_twice(stage)
    (step,) = named(spans, "step charge")
    attempts, waits = named(spans, "attempt charge"), named(spans, "retry wait")
    assert [attempt.status for attempt in attempts] == ["ERROR", "ERROR", "OK"]
    for attempt in attempts:
        assert flows.CHARGE_SECONDS <= attempt.seconds < flows.CHARGE_SECONDS + 2
    assert [wait.seconds for wait in waits] == [flows.RETRY_SECONDS] * 2
    parts = sorted([*attempts, *waits, *named(spans, "queue wait")], key=lambda span: span.start_ns)
    assert (parts[0].start_ns, parts[-1].end_ns) == (step.start_ns, step.end_ns)
    # What is in between is shorter than a queue wait that is worth a span.
    assert all(0 <= after.start_ns - before.end_ns < 5_000_000 for before, after in pairwise(parts))


@pytest.mark.feature("F123")
async def test_a_users_span_in_a_step_is_a_child_of_the_attempt_it_is_made_in(stage: Stage) -> None:
    """Through the queue and the retry, in the user's own service."""
    spans = await scenarios.queued_step(stage)
    attempts, drawings = named(spans, "attempt render"), named(spans, "draw")
    assert [span.parent_id for span in drawings] == [attempt.span_id for attempt in attempts]
    assert {span.service for span in drawings} == {CALLER}


async def test_of_a_run_that_is_not_sampled_and_succeeds_nothing_is_exported(stage: Stage, sink: OtlpSink) -> None:
    """Not even what its steps do in the user's own service."""
    ledger = stage.ledger()
    ledger.let_go()
    before = len(sink.named("ask the bank"))
    with tracing(stage.backend) as flushed:
        async with stage.worker():
            forced = await stage.client.start(stage.here(flows.pays, sampled=False), "o-2")
            seldom = await stage.client.start(stage.here(flows.seldom), ledger.path)
            await stage.client.wait_many([forced, seldom], timeout=20)
            after = await stage.client.start(stage.here(flows.child), 1)
            await told(stage.backend, after.run_id)
        assert flushed()
    assert [span.name for run in (forced, seldom) for span in sink.of_run(run.run_id)] == ["start run"] * 2
    assert len(sink.named("ask the bank")) == before


@pytest.mark.parametrize(
    ("headers", "is_linked"),
    [
        pytest.param({"traceparent": TRACEPARENT}, True, id="a good one"),
        pytest.param({"traceparent": "00-none-of-this-01"}, False, id="malformed"),
        pytest.param({"traceparent": f"00-{'0' * 32}-{'fe' * 8}-01"}, False, id="all zero"),
        pytest.param({"traceparent": TRACEPARENT, "tracestate": "=" * 3_000}, True, id="bad tracestate"),
        pytest.param({"traceparent": TRACEPARENT, "baggage": f"k={'x' * 7_000}"}, True, id="oversized baggage"),
    ],
)
async def test_whatever_a_caller_says_of_its_trace_the_run_starts_and_has_its_own(
    headers: dict[str, str], is_linked: bool, stage: Stage
) -> None:
    async with stage.worker(), grpc.aio.insecure_channel(stage.address) as channel:
        start = pb.StartSpec(
            start_id=new_start_id(),
            workflow="child",
            queue=stage.queue,
            arguments=value_pb2.Arguments(positional=[value_pb2.Payload(data=b"4", encoding="json")]),
        )
        stub = RunServiceStub(channel)  # type: ignore[no-untyped-call]
        answer = await stub.StartRuns(pb.StartRunsRequest(starts=[start]), metadata=tuple(headers.items()))
        run = stage.client.get(answer.outcomes[0].run.run_id)
        assert await run.result(timeout=20) == 8
    spans = await told(stage.backend, run.run_id)
    rules.check(spans)
    (root,) = named(spans, "run child")
    assert root.trace_id != CALLERS_TRACE
    assert [(link.relation, link.trace_id) for link in root.links] == [("caller", CALLERS_TRACE)] * is_linked


async def test_a_hundred_replays_add_no_span(stage: Stage) -> None:
    """The spans of a run that is replayed whenever it goes on are those of one that is kept in memory."""
    once, again = await _nap(stage, caches=True), await _nap(stage, caches=False)
    assert (once.replays, again.replays) == (1, NAPS + 1)
    # Users' spans have times of another clock, and so no certain place among the others.
    assert drawn(_without_users(again.spans)) == drawn(_without_users(once.spans))
    assert len(named(again.spans, "before a nap")) == NAPS
    rules.check(again.spans)


class _Nap:
    """How often the code of a run began, and its spans."""

    def __init__(self, replays: int, spans: list[SeenSpan]) -> None:
        self.replays = replays
        self.spans = spans


async def _nap(stage: Stage, *, caches: bool) -> _Nap:
    flows.replays = 0
    with tracing(stage.backend):
        async with stage.worker(caches=caches):
            run = await stage.client.start(stage.here(flows.naps), NAPS)
            await run.result(timeout=60)
        return _Nap(flows.replays, await told(stage.backend, run.run_id, *["before a nap"] * NAPS))


def _without_users(spans: list[SeenSpan]) -> list[SeenSpan]:
    return [span for span in spans if span.is_skeleton]
