"""`--deps module:factory`: what steps find as ctx.deps, made by the worker's own process."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from holdfast.client import Client
from tests.support import flows_deps as flows
from tests.support.processes import Process, module_run
from tests.support.watching import until

from .conftest import Coordinator, WorkerProcessFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_deps"


@pytest.mark.parametrize("factory", ["plain", "awaited", "managed"])
async def test_steps_find_what_the_factory_gives(
    process_worker: WorkerProcessFactory, client: Client, queue: str, factory: str
) -> None:
    async with process_worker(MODULE, options=["--deps", f"{MODULE}:{factory}"]) as process:
        run = await client.start(flows.asks.with_options(queue=queue))
        assert await run.result(timeout=30) == f"{factory} open"
        process.send(signal.SIGTERM)
        assert await process.wait() == 0
    assert ("the bank is closed" in process.output) == (factory == "managed")


async def test_each_of_several_processes_has_its_own(
    process_worker: WorkerProcessFactory, client: Client, queue: str
) -> None:
    options = ["--processes", "2", "--deps", f"{MODULE}:managed"]
    async with process_worker(MODULE, options=options) as process:
        run = await client.start(flows.asks.with_options(queue=queue))
        assert await run.result(timeout=30) == "managed open"

        async def ready() -> int:
            return process.output.count("worker: ready")

        await until(ready, lambda count: count == 2, seconds=30)
        process.send(signal.SIGTERM)
        assert await process.wait() == 0, process.output
    assert process.output.count("the bank is closed") == 2


async def test_what_cannot_be_closed_is_told_in_a_sentence(process_worker: WorkerProcessFactory) -> None:
    async with process_worker(MODULE, options=["--deps", f"{MODULE}:stuck"]) as process:
        await process.wait_for_line("ready")
        process.send(signal.SIGTERM)
        assert await process.wait() == 1
    assert f"--deps {MODULE}:stuck cannot be closed: OSError: the door is jammed" in process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("broken", 'is not "module:factory"'),
        ("no.such.module:make", "cannot be loaded: ModuleNotFoundError: No module named 'no'"),
        (f"{MODULE}:absent", "is not there: tests.support.flows_deps has no 'absent'"),
        (f"{MODULE}:broken", "gives no deps: ConnectionError: no bank answers"),
        (f"{MODULE}:generator", "is a generator; put @contextlib.asynccontextmanager above it"),
        (f"{MODULE}:needs", "is called without arguments, and needs name"),
        (f"{MODULE}:nothing_to_call", "a function that makes the deps is needed"),
    ],
)
async def test_a_factory_that_gives_nothing_is_told_in_a_sentence(
    coordinator: Coordinator, target: str, words: str
) -> None:
    code, output = await module_run("holdfast", "worker", MODULE, "--deps", target, "--address", coordinator.address)
    assert code != 0
    assert "--deps" in output
    assert words in output
    assert "Traceback" not in output


async def test_dev_gives_them_to_its_workers(open_directory: Path) -> None:
    command = [
        sys.executable, "-m", "holdfast", "dev", MODULE, "--port", "0", "--ephemeral", "--deps", f"{MODULE}:awaited",
    ]  # fmt: skip
    environment = {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    async with Process("dev", command, environment) as process:
        address = (await process.wait_for_line(r"(\S+:\d+)", seconds=60)).group(1)
        assert re.fullmatch(r"\S+:\d+", address)
        async with Client.connect(address) as client:
            assert await (await client.start(flows.asks)).result(timeout=60) == "awaited open"
