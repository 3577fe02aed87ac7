"""A real backend shows of real runs what the ordinary tests find in the sink: the same scenarios, the same drawings."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.cell_rows import read_cell
from tests.support.invariants import check
from tests.support.traces import replicas, scenarios
from tests.support.traces.scenarios import SCENARIOS, Scenario
from tests.support.traces.seen import SeenLink, SeenSpan, named
from tests.support.traces.stage import Stage, staged

from .query import ShownSpan
from .server import Jaeger

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK_SKEW = "clock skew adjustment disabled"


class JaegerBackend:
    """What Jaeger has stored, as long as nobody has had it shown.

    To show a trace with spans that are still to come leaves warnings in a store in memory, for good.
    """

    def __init__(self, jaeger: Jaeger) -> None:
        self.url = f"http://{jaeger.otlp}"
        self._query = jaeger.query
        self._since = datetime.now(UTC)

    async def traces_of(self, run_id: str) -> set[str]:
        return await asyncio.to_thread(self._query.find_stored, "holdfast", since=self._since, holdfast__run__id=run_id)

    async def trace(self, trace_id: str) -> list[SeenSpan]:
        stored = await asyncio.to_thread(self._query.trace, trace_id, raw=True)
        found: dict[str, SeenSpan] = {}
        for span in map(_seen, stored):
            assert found.setdefault(span.span_id, span) == span
        return list(found.values())


@pytest.fixture(scope="module")
def backend(jaeger: Jaeger) -> JaegerBackend:
    return JaegerBackend(jaeger)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    backend: JaegerBackend, module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A coordinator that exports to Jaeger, for all tests of this module."""
    async with staged(module_database, backend, tmp_path_factory.mktemp("ledgers")) as made:
        yield made
    check(read_cell(module_database))


@pytest.mark.feature("F122", "F123", "F124")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_jaeger_shows_the_tree_that_a_person_would_draw(scenario: Scenario, stage: Stage, jaeger: Jaeger) -> None:
    spans = await scenario(stage.fresh())
    scenarios.check(scenario.__name__, spans)
    _is_shown_once_and_without_a_warning(jaeger, spans)


@pytest.mark.feature("F124")
async def test_a_run_is_found_by_service_and_run_id_with_the_names_of_its_steps(stage: Stage, jaeger: Jaeger) -> None:
    spans = await scenarios.killed_worker(stage.fresh())
    assert "holdfast" in await asyncio.to_thread(jaeger.query.services)
    (run,) = named(spans, "run ships")
    (trace_id,) = await asyncio.to_thread(jaeger.query.find, "holdfast", holdfast__run__id=run.run_id)
    shown = await asyncio.to_thread(jaeger.query.trace, trace_id)
    assert {"step fetch", "step pack"} <= {span.name for span in shown}
    assert {"holdfast", "first", "second"} == {span.service for span in shown}


async def test_what_two_replicas_export_is_shown_once_and_without_a_warning(
    backend: JaegerBackend, jaeger: Jaeger, module_database: str, tmp_path: Path
) -> None:
    spans = await replicas.advanced_by_two_replicas(module_database, backend, tmp_path)
    scenarios.check("advanced_by_two_replicas", spans)
    _is_shown_once_and_without_a_warning(jaeger, spans)


def _is_shown_once_and_without_a_warning(jaeger: Jaeger, spans: list[SeenSpan]) -> None:
    by_id = {span.span_id: span for span in spans}
    # Users' spans have the time of their own clocks, and callers do not wait for what they start.
    users = {id for id, span in by_id.items() if not span.is_skeleton}
    loose = users | {span.span_id for span in spans if span.parent_id in users}
    for trace_id in {span.trace_id for span in spans}:
        page = jaeger.query.web_page(trace_id)
        assert Counter(id for id, _ in page) == Counter(id for id, span in by_id.items() if span.trace_id == trace_id)
        warnings = [(id, warning) for id, found in page for warning in found]
        assert [found for found in warnings if found[0] not in loose or CLOCK_SKEW not in found[1]] == []


def _seen(span: ShownSpan) -> SeenSpan:
    return SeenSpan(
        service=span.service,
        namespace=span.namespace,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        kind=span.kind.name,
        status=span.status.name,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        attributes=dict(span.attributes),
        links=tuple(
            SeenLink(str(dict(attributes).get("holdfast.link.relation", "")), trace_id, span_id)
            for trace_id, span_id, attributes in span.links
        ),
    )
