"""`holdfast init`: what it writes is a project whose test passes and whose order goes through."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import Process

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
