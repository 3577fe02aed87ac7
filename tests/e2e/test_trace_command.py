"""`holdfast trace`: a run as a tree of spans in the terminal, and its spans sent to a collector when asked."""

import asyncio
import json
import re
import sys
from dataclasses import dataclass

import grpc
import pytest

import holdfast
from holdfast import App
from holdfast.client import Client
from tests.support.otlp_sink import otlp_sink
from tests.support.processes import coordinator_process
from tests.support.watching import kinds, until

from .conftest import Coordinator, WorkerFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMMAND_SECONDS = 30.0
app = App("trace-command")
refused: set[str] = set()


@app.step(retries=2, backoff=0.05)
async def charge(order: str) -> str:
    if order not in refused:
        refused.add(order)
        raise ValueError("no funds")
    return f"paid {order}"


@app.workflow
async def buy(order: str) -> str:
    return await charge(order)


@app.workflow
async def waits() -> str:
    await charge("before")
    return await holdfast.receive("go", str)


@app.workflow
async def charges(times: int) -> int:
    await asyncio.gather(*(holdfast.sleep(0.001, name=f"{number} {'x' * 150}") for number in range(times)))
    return times


@dataclass(slots=True, frozen=True)
class Printed:
    """What a command printed, and how it ended."""

    code: int
    output: str
    errors: str


async def trace(coordinator: Coordinator | str, *arguments: str) -> Printed:
    address = coordinator if isinstance(coordinator, str) else coordinator.address
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast", "trace", *arguments, "--address", address),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(COMMAND_SECONDS):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return Printed(process.returncode, output.decode(), errors.decode())


async def test_a_step_that_failed_once_is_shown_with_both_attempts(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[buy]):
        run = await client.start(buy.with_options(queue=queue, id=f"buy-{queue}"), queue)
        await run.result(timeout=10)
    shown = await trace(coordinator, "show", f"buy-{queue}")
    assert (shown.code, shown.errors) == (0, "")
    lines = shown.output.splitlines()
    assert re.fullmatch(r"trace [0-9a-f]{32}", lines[0])
    what = [re.sub(r"  [+\d].*?  \S+( \S+)?(?=  |$)", "", line) for line in lines[1:]]
    told = "\n".join(re.sub(r"ses_\w{6}\b", "WORKER", line) for line in what)
    assert told == (
        "run buy  completed\n"
        "├── run accepted\n"
        "└── step charge\n"
        "    ├── attempt charge  #1  failed_retryable, WORKER, ValueError: no funds\n"
        "    ├── retry wait\n"
        "    └── attempt charge  #2  completed, WORKER"
    )


async def test_as_json_it_is_the_list_of_spans(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[buy]):
        run = await client.start(buy.with_options(queue=queue), queue)
        await run.result(timeout=10)
    shown = await trace(coordinator, "show", run.run_id, "--output", "json")
    spans = json.loads(shown.output)
    attempts = [span for span in spans if span["name"] == "attempt charge"]
    assert [span["attributes"]["holdfast.attempt"] for span in attempts] == [1, 2]
    assert [span["status"] for span in attempts] == ["error", "ok"]
    (root,) = [span for span in spans if span["parent_span_id"] is None]
    assert root["name"] == "run buy"
    assert {span["trace_id"] for span in spans} == {root["trace_id"]}
    assert all(root["started_at"] <= span["started_at"] <= span["ended_at"] <= root["ended_at"] for span in spans)


async def test_of_an_open_run_it_shows_what_has_ended(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[waits]):
        before = await client.start(waits.with_options(queue=queue, delay="1h"))
        nothing = await trace(coordinator, "show", before.run_id)
        assert (nothing.code, nothing.output) == (1, "")
        assert nothing.errors.startswith(f"holdfast: nothing of run {before.run_id} has ended yet")
        await before.terminate()
        run = await client.start(waits.with_options(queue=queue))
        await until(lambda: kinds(run), lambda seen: "StepCompleted" in seen)
        shown = (await trace(coordinator, "show", run.run_id)).output
        assert "step charge" in shown
        assert "run waits" not in shown
        await run.signal("go", "now")
        await run.result(timeout=10)
        assert "run waits" in (await trace(coordinator, "show", run.run_id)).output


async def test_a_trace_of_several_pages_is_shown_whole(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    times = 2_500
    async with worker(workflows=[charges]):
        run = await client.start(charges.with_options(queue=queue), times)
        await run.result(timeout=60)
    spans = json.loads((await trace(coordinator, "show", run.run_id, "--output", "json")).output)
    assert sum(len(json.dumps(span)) for span in spans) > 1024 * 1024
    assert len({span["span_id"] for span in spans}) == len(spans)
    assert [span["name"] for span in spans].count("timer") == times


async def test_an_unknown_run_is_one_sentence(coordinator: Coordinator) -> None:
    for command in ("show", "export"):
        printed = await trace(coordinator, command, "no-such-run")
        assert (printed.code, printed.output) == (1, "")
        assert printed.errors.startswith("holdfast: no run 'no-such-run'")
        assert len(printed.errors.splitlines()) == 1


async def test_without_a_collector_an_export_says_what_to_start(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    run = await client.start(waits.with_options(queue=queue, delay="1h"))
    printed = await trace(coordinator, "export", run.run_id)
    await run.terminate()
    assert (printed.code, printed.output) == (1, "")
    assert "start the coordinator with --otlp URL" in printed.errors
    assert len(printed.errors.splitlines()) == 1


async def test_an_export_sends_what_is_shown_although_the_run_was_not_sampled(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[buy]):
        run = await client.start(buy.with_options(queue=queue), queue)
        await run.result(timeout=10)
    async with otlp_sink() as sink:
        options = ["--otlp", sink.url, "--trace-ratio", "0"]
        async with coordinator_process(coordinator.database_url, options=options) as replica:
            address = (await replica.wait_for_line(r"listens on (\S+:\d+)"))[1]
            shown = json.loads((await trace(address, "show", run.run_id, "--output", "json")).output)
            assert sink.of_run(run.run_id) == []
            exported = await trace(address, "export", run.run_id)
            await trace(address, "export", run.run_id)
            first, again = sink.of_run(run.run_id)[: len(shown)], sink.of_run(run.run_id)[len(shown) :]

            sink.refuse(grpc.StatusCode.UNAVAILABLE, "out of disk")
            refused = await trace(address, "export", run.run_id)
    assert (exported.code, exported.errors) == (0, "")
    assert re.fullmatch(rf"{len(shown)} spans were sent to \S*{sink.address}\n", exported.output)
    assert {span.span_id for span in first} == {span["span_id"] for span in shown}
    assert again == first
    assert (refused.code, refused.output) == (1, "")
    assert refused.errors.startswith("holdfast: the collector at ")
    assert "out of disk" in refused.errors
    assert len(refused.errors.splitlines()) == 1
