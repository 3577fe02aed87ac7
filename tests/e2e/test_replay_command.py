"""`holdfast replay` of the runs of a coordinator, before other code is deployed."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from holdfast.client import Client
from tests.support import flows_replay as flows
from tests.support.ledger import Ledger
from tests.support.processes import module_run

from .conftest import Coordinator, WorkerFactory, WorkerProcessFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_replay"


async def _replay(coordinator: Coordinator, *arguments: str, version: str = "1") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast", "replay", *arguments, "--address", coordinator.address,
        env=os.environ | {"FLOWS_VERSION": version}, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_open_runs_are_replayed_with_the_code_that_is_to_come(
    coordinator: Coordinator, client: Client, worker: WorkerFactory, ledger: Ledger, queue: str
) -> None:
    async with worker(workflows=[flows.changing]):
        runs = [await client.start(flows.changing.with_options(queue=queue), ledger.path) for _ in range(2)]
        await ledger.wait_for("process", count=2)
        code, output = await _replay(coordinator, runs[0].run_id, MODULE)
        assert code == 0, output
        code, output = await _replay(coordinator, runs[0].run_id, MODULE, version="2")
        assert code == 1
        assert "the journal has  step fetch (1)" in output
        assert "the code         called step process" in output
        assert "flows_replay.py:" in output
        many = ["--workflow", "changing", "--limit", "5", MODULE]
        code, output = await _replay(coordinator, *many, "--status", "running")
        assert (code, "2 runs replayed, none" in output) == (0, True), output
        code, output = await _replay(coordinator, *many, "--output", "json", version="2")
        assert code == 1
        assert '"entry": 2' in output
        ledger.let_go()
        for run in runs:
            await run.result(timeout=20)
    code, output = await _replay(coordinator, "no-such-run", MODULE)
    assert code == 1
    assert "no-such-run" in output


async def test_a_file_with_encoded_values_needs_the_codecs(
    coordinator: Coordinator, process_worker: WorkerProcessFactory, queue: str, tmp_path: Path
) -> None:
    codecs = ["--codecs", "tests.support.shop_codecs:make"]
    id, to = f"{queue}-kept", ["--address", coordinator.address]
    async with process_worker("tests.support.flows_codecs", options=codecs) as process:
        await process.wait_for_line("ready")
        given = ["--input", '"secret"', "--queue", queue, "--id", id]
        code, output = await module_run("holdfast", "run", "shouts", *given, *codecs, *to)
        assert code == 0, output
    for options, has_secret in (([], False), (codecs, True)):
        code, output = await module_run("holdfast", "runs", "history", id, "-o", "json", *options, *to)
        assert code == 0, output
        assert ("secret" in output) == has_secret
        assert json.loads(output)[0]["run"]["id"] == id
        file = tmp_path / f"{len(options)}.json"
        file.write_text(output)
    module = ["-m", "tests.support.flows_codecs"]
    assert (await _replay(coordinator, str(tmp_path / "2.json"), *module))[0] == 0
    code, output = await _replay(coordinator, str(tmp_path / "0.json"), *module, *codecs)
    assert code == 0, output
    code, output = await _replay(coordinator, str(tmp_path / "0.json"), *module)
    assert code == 1
    assert "does not have" in output
    code, output = await _replay(coordinator, id, *module, *codecs)
    assert code == 0, output
