"""`holdfast init`: what it writes is a project whose test passes and whose order goes through."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import Process
from tests.support.watching import until

HOLDFAST = [sys.executable, "-m", "holdfast"]


def run(*command: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=cwd)


async def test_a_new_project_has_a_test_that_passes_and_an_order_that_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run(*HOLDFAST, "init", "shop", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "cd shop && holdfast dev" in made.stdout
    shop = tmp_path / "shop"
    tested = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=shop)
    assert tested.returncode == 0, tested.stdout
    assert run(*HOLDFAST, "check", ".", cwd=shop).returncode == 0
    monkeypatch.chdir(shop)
    environment = {"HOLDFAST_PORT": "0", "HOLDFAST_EPHEMERAL": "true", "PYTHONPATH": str(shop)}
    async with Process("dev", [*HOLDFAST, "dev"], environment) as dev:
        address = (await dev.wait_for_line(r"listens on (\S+:\d+)"))[1]
        await dev.wait_for_line("worker: ready")
        done = run(*HOLDFAST, "run", "order", "--input", '["o-1", 1999]', "--address", address, cwd=shop)
    assert (done.returncode, done.stdout.strip()) == (0, '"receipt o-1: 19.99"'), done.stderr


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text("mine")
    refused = run(*HOLDFAST, "init", cwd=tmp_path)
    assert refused.returncode == 1
    assert "has flows.py already; nothing was written" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["flows.py"]
    assert (tmp_path / "flows.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["-shop", "my shop", "shop!"])
def test_what_is_no_name_of_a_project_is_refused(tmp_path: Path, name: str) -> None:
    refused = run(*HOLDFAST, "init", "--", name, cwd=tmp_path)
    assert refused.returncode == 2
    assert "is no name of a project" in refused.stderr
    assert list(tmp_path.iterdir()) == []


FLOW = """
from holdfast import step, workflow

@step
async def word() -> str:
    return "{word}"

@workflow
async def says() -> str:
    return await word()
"""


async def test_a_changed_file_is_what_dev_runs_then_also_after_one_that_could_not_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flow = tmp_path / "reloaded.py"
    flow.write_text(FLOW.format(word="first"))
    environment = {"HOLDFAST_PORT": "0", "HOLDFAST_EPHEMERAL": "true", "PYTHONPATH": str(tmp_path)}
    async with Process("dev", [*HOLDFAST, "dev", "reloaded", "--reload"], environment) as dev:
        address = (await dev.wait_for_line(r"listens on (\S+:\d+)"))[1]

        def said() -> str:
            return run(*HOLDFAST, "run", "says", "--address", address, cwd=tmp_path).stdout.strip()

        async def times_ready() -> int:
            return dev.output.count("worker: ready")

        await dev.wait_for_line("worker: ready")
        assert said() == '"first"'
        flow.write_text("this is no Python")
        await dev.wait_for_line(r"reloaded.py changed: the workers are started anew")
        await dev.wait_for_line(r"ended with exit code \d+; .*it is started again when a file changes")
        flow.write_text(FLOW.format(word="second"))
        await until(times_ready, lambda times: times == 2)
        assert said() == '"second"'
