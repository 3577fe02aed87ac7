"""What a coordinator with --metrics-port says of work that was done, read over HTTP as Prometheus reads it."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from holdfast import RunFailed
from holdfast.client import Client
from holdfast_coordinator.metrics.table import TABLE
from tests.support import flows_metrics as flows
from tests.support.ledger import Ledger
from tests.support.processes import Process, coordinator_process, free_port, worker_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_metrics"
QUEUE = "figures"


@dataclass(slots=True, frozen=True)
class Figures:
    """One scrape: values by the name of the sample and its labels, and its text."""

    values: dict[tuple[str, frozenset[tuple[str, str]]], float]
    text: str

    def of(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        return sum(value for (of, has), value in self.values.items() if of == name and labels.items() <= has)


async def scrape(address: str) -> Figures:
    """Reads the metrics as OpenMetrics."""
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": "application/openmetrics-text"})

    def read() -> str:
        with urllib.request.urlopen(request, timeout=10) as response:
            text: str = response.read().decode()
            return text

    text = await asyncio.to_thread(read)
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return Figures({(one.name, frozenset(one.labels.items())): one.value for one in samples}, text)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def figures(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Figures]:
    """The figures after each workflow has run once, and one worker was killed."""
    directory = tmp_path_factory.mktemp("ledgers")
    async with coordinator_process(module_database, options=["--metrics-port", "0"]) as coordinator:
        address = (await coordinator.wait_for_line(r"listens on (\S+:\d+)")).group(1)
        endpoint = (await coordinator.wait_for_line(r"metrics are served on http://(\S+)/metrics")).group(1)
        async with Client.connect(address) as client:
            await _lose_a_worker(client, address, Ledger(directory / "survivor"))
            async with worker_process(address, MODULE, queue=QUEUE) as worker:
                await worker.wait_for_line("ready")
                await client.run(flows.orderly.with_options(queue=QUEUE), Ledger(directory / "orderly").path)
                await client.run(flows.with_queued_step.with_options(queue=QUEUE))
                with suppress(RunFailed):
                    await client.run(flows.failing.with_options(queue=QUEUE))
                yield await scrape(endpoint)


async def _lose_a_worker(client: Client, address: str, ledger: Ledger) -> None:
    async with worker_process(address, MODULE, queue=QUEUE) as first:
        run: Any = await client.start(flows.survivor.with_options(queue=QUEUE), ledger.path)
        await ledger.wait_for("began")
        await first.kill()
    async with worker_process(address, MODULE, queue=QUEUE, environment={"FLOWS_VERSION": "2"}):
        await run.result(timeout=30)


def _count(figures: Figures, step: str, outcome: str) -> float:
    return figures.of("holdfast_step_duration_seconds_count", step=step, outcome=outcome)


async def test_every_metric_of_the_table_is_served_and_no_other(figures: Figures) -> None:
    types = {line.split()[2] for line in figures.text.splitlines() if line.startswith("# TYPE")}
    assert types == {one.name.removesuffix("_total") for one in TABLE}


async def test_attempts_are_counted_by_step_and_outcome(figures: Figures) -> None:
    assert _count(figures, "succeed", "completed") == 2
    assert _count(figures, "fail_twice", "failed_retryable") == 2
    assert _count(figures, "fail_twice", "completed") == 1
    assert _count(figures, "fail", "failed_final") == 1
    assert _count(figures, "outlive_worker", "lost") == 1
    assert _count(figures, "outlive_worker", "completed") == 1
    assert figures.of("holdfast_step_duration_seconds_count") == 8


async def test_attempts_are_counted_by_workflow(figures: Figures) -> None:
    assert figures.of("holdfast_step_duration_seconds_count", workflow="orderly", namespace="default") == 4
    assert figures.of("holdfast_step_duration_seconds_count", workflow="with_queued_step") == 1


async def test_retries_are_what_failed_and_is_repeated_and_not_what_was_lost(figures: Figures) -> None:
    assert figures.of("holdfast_retries_total", step="fail_twice") == 2
    assert figures.of("holdfast_retries_total") == 2


async def test_waits_are_measured_by_queue_and_placement(figures: Figures) -> None:
    name = "holdfast_schedule_to_start_seconds_count"
    assert figures.of(name, queue=QUEUE, placement="queued") == 1
    assert figures.of(name, queue=QUEUE, placement="inline") == 7


async def test_runs_are_counted_when_they_start_and_when_they_end(figures: Figures) -> None:
    assert figures.of("holdfast_runs_started_total") == 4
    assert figures.of("holdfast_runs_started_total", workflow="orderly") == 1
    assert figures.of("holdfast_runs_closed_total", status="completed") == 3
    assert figures.of("holdfast_runs_closed_total", status="failed", workflow="failing") == 1


async def test_the_lease_of_a_lost_worker_is_counted_once(figures: Figures) -> None:
    assert figures.of("holdfast_leases_lost_total", held="run", reason="lost") == 1
    assert figures.of("holdfast_leases_lost_total", reason="lost") == 1


async def test_the_lateness_of_a_timer_is_small(figures: Figures) -> None:
    assert figures.of("holdfast_alarm_lateness_seconds_count", alarm="timer") == 1
    assert 0 <= figures.of("holdfast_alarm_lateness_seconds_sum", alarm="timer") < 2


async def test_commits_and_waits_for_connections_are_measured(figures: Figures) -> None:
    for path in ("append", "start", "locked"):
        commits = figures.of("holdfast_commit_seconds_count", path=path)
        assert commits > 0, path
        assert figures.of("holdfast_commit_batch_size_sum", path=path) >= commits
    assert figures.of("holdfast_pool_wait_seconds_count", pool="cell") > 0
    assert figures.of("holdfast_pool_wait_seconds_count", pool="control") > 0
    assert figures.of("holdfast_commits_failed_total") == 0


async def test_sessions_are_those_that_are_attached_now(figures: Figures) -> None:
    assert figures.of("holdfast_sessions") == 1
    assert figures.of("holdfast_sessions", queue=QUEUE, namespace="default") == 1
    assert figures.of("holdfast_polls_waiting") <= 1


async def test_no_run_and_no_session_is_named(figures: Figures) -> None:
    labels = {value for _, of_sample in figures.values for _, value in of_sample}
    assert not [value for value in labels if value.startswith(("run_", "ses_"))]


async def test_metrics_are_off_unless_they_are_asked_for(module_database: str) -> None:
    async with coordinator_process(module_database) as coordinator:
        await coordinator.wait_for_line("listens on")
        assert "metrics" not in coordinator.output


async def test_a_port_in_use_is_named_and_what_to_do(module_database: str) -> None:
    port = free_port()
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
    async with server:
        coordinator: Process = coordinator_process(module_database, options=["--metrics-port", str(port)])
        async with coordinator:
            assert await coordinator.wait() == 1
    assert f"cannot serve metrics on 127.0.0.1:{port}" in coordinator.output
    assert "--metrics-port" in coordinator.output
