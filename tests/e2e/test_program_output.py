"""What people see who type: failures where the worker runs, exit codes, joins, templates, JSON lines."""

import json
import re
import sys

import pytest

from holdfast.client import Client
from tests.support import flows_output as flows
from tests.support.processes import Process

from .conftest import Coordinator, WorkerProcessFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_output"


async def typed(coordinator: Coordinator, *arguments: str, code: int = 0) -> list[str]:
    """What a command printed, which must end with this exit code."""
    command = [sys.executable, "-m", "holdfast", *arguments, "--address", coordinator.address]
    async with Process("holdfast", command) as process:
        assert await process.wait() == code, process.output
    return process.lines


async def end_of_failing(program: Process, client: Client, queue: str, workflow: str) -> str:
    """Runs a workflow whose step fails twice; the run id, once the program has printed its end."""
    run = await client.start(getattr(flows, workflow).with_options(queue=queue), "o-7")
    await program.wait_for_line(rf"run {run.run_id} \({workflow}\) failed with")
    return run.run_id


def failures(program: Process, run_id: str) -> list[str]:
    """What a program has printed of the failures of a run, each line without its time and its logger."""
    said = [line[line.index("run ") :] for line in program.lines if f"run {run_id}" in line]
    return [re.sub(r'(?: \[|").*', "", line) for line in said]


@pytest.mark.parametrize(
    ("workflow", "step", "lacks"), [("pays", "charge_card", "bank"), ("sends", "send_parcel", "van")]
)
async def test_a_worker_prints_each_failed_attempt_and_each_failed_run_in_one_line(
    process_worker: WorkerProcessFactory, client: Client, queue: str, workflow: str, step: str, lacks: str
) -> None:
    async with process_worker(MODULE) as worker:
        run_id = await end_of_failing(worker, client, queue, workflow)
    start, why = f"run {run_id} ({workflow})", f"ConnectionError: no {lacks} for o-7"
    first, second, end = failures(worker, run_id)
    assert first == f"{start}: step {step} (1), attempt 1 failed with {why}; attempt 2 at once"
    assert second == f"{start}: step {step} (1), attempt 2 failed with {why}; for good"
    assert end.startswith(f"{start} failed with ")


@pytest.mark.parametrize(
    ("options", "variable"), [([], ""), (["--log-json"], ""), ([], "1")], ids=["text", "option", "variable"]
)
async def test_dev_prints_where_it_listens_and_what_fails_as_text_or_every_line_as_json(
    options: list[str], variable: str
) -> None:
    is_json = bool(options or variable)
    command = [sys.executable, "-m", "holdfast", "dev", MODULE, "--ephemeral", "--port", "0", *options]
    environment = {"HOLDFAST_LOG_JSON": variable, "HOLDFAST_LOG_LEVEL": ""}
    async with Process("dev", command, environment) as dev:
        place = await dev.wait_for_line(r'(?:listens on |"serving_begun", "address": ")(\S+:\d+)')
        async with Client.connect(place[1]) as client:
            run_id = await end_of_failing(dev, client, "default", "pays")
    assert len(failures(dev, run_id)) == 3
    for line in dev.lines if is_json else ():
        assert re.fullmatch(r"\S+T\S+\.\d{6}Z", json.loads(line)["time"]), line


async def test_the_exit_code_of_a_wait_that_ran_out_is_not_that_of_a_run_that_failed(
    process_worker: WorkerProcessFactory, coordinator: Coordinator, client: Client, queue: str
) -> None:
    async with process_worker(MODULE):
        late = await typed(coordinator, "run", "waits_long", "--queue", queue, "--timeout", "200ms", code=124)
        failed = await typed(coordinator, "run", "pays", "-a", "order_id=o-1", "--queue", queue, code=1)
    assert late[-1].startswith("holdfast: ")
    run_id = failed[0].split()[1]
    assert failed[-2].startswith("holdfast: ")
    assert failed[-1] == f"`holdfast runs history {run_id}` shows its steps"
    await client.get(late[0].split()[1]).terminate("nobody waits for it")


async def test_a_run_from_the_command_line_takes_the_id_of_the_template_is_joined_and_shows_its_length(
    process_worker: WorkerProcessFactory, coordinator: Coordinator, queue: str
) -> None:
    start = ("run", "order", "--input", '["o-1"]', "--queue", queue)
    async with process_worker(MODULE) as worker:
        await worker.wait_for_line("ready")
        made, result = await typed(coordinator, *start)
        joined, again = await typed(coordinator, *start)
        noted, printed = await typed(coordinator, "start", *start[1:])
    run_id = made.split()[1]
    assert made == f"run {run_id} (order-o-1)"
    assert joined == noted == f"run {run_id} (order-o-1) was there already and is joined"
    assert (result, again, printed) == ('"o-1 done"', '"o-1 done"', run_id)
    shown = json.loads("".join(await typed(coordinator, "runs", "show", "order-o-1", "--output", "json")))
    history = json.loads("".join(await typed(coordinator, "runs", "history", "order-o-1", "--output", "json")))
    assert shown["journal_length"] == len(history) > 1
    assert any(re.search(rf"journal length\s+{len(history)}\b", line)
               for line in await typed(coordinator, "runs", "show", "order-o-1"))  # fmt: skip
