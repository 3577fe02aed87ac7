"""The plugin of pytest as its users have it: whole runs of pytest, with a real coordinator where one asks for it."""

import asyncio
import os
import select
import sys
from pathlib import Path

import pytest

PLUGIN = ("-p", "holdfast_pytest", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto")


async def _pytest(folder: Path, *options: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", *PLUGIN, *options,
        cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


SHOP = """
import asyncio
import holdfast

@holdfast.step
async def charge(order: str) -> str:
    return f"{SHOP} charged {{order}}"

@holdfast.workflow(id="order-{{order}}")
async def order(order: str) -> str:
    return await charge(order)
"""
USES = """
import pytest
from holdfast import Client
from holdfast.testing import run_local

async def test_a_run_is_durable_here(holdfast_client, holdfast_worker) -> None:
    await holdfast_worker()
    run = await holdfast_client.start(order, "o-1")
    assert await run.result(timeout="20s") == "{SHOP} charged o-1"
    assert [entry.type for entry in await run.history()][-1] == "RunClosed"

async def test_the_id_is_free_for_every_test(holdfast_client, holdfast_worker, holdfast_place) -> None:
    worker = await holdfast_worker(workflows=[order], deps="deps")
    assert not (await holdfast_client.list())
    run = await holdfast_client.start(order, "o-1")
    assert not run.attached
    assert await run.result(timeout="20s") == "{SHOP} charged o-1"
    address, namespace = holdfast_place
    async with Client.connect(address, namespace) as other:
        assert len(await other.list()) == 1

async def test_nothing_but_the_name_is_shared() -> None:
    assert (await run_local(order, "o-2")).value() == "{SHOP} charged o-2"
"""
LOCAL = """
@pytest.mark.parametrize("number", [1, 2])
def test_a_name_is_free_after_the_test_that_had_it(number: int) -> None:
    if number == 1:
        @holdfast.step
        def pack() -> int:
            return 1
    else:
        @holdfast.step
        def pack() -> int:
            return 2
    assert holdfast.authoring.apps.default_app.steps["pack"].function() == number
"""


@pytest.mark.feature("F129")
@pytest.mark.timeout(120)
async def test_tests_of_two_modules_have_the_same_names_and_runs_of_their_own(tmp_path: Path) -> None:
    for shop in ("first", "second"):
        text = (SHOP + USES).replace("{SHOP}", shop).replace("{{", "{").replace("}}", "}") + LOCAL
        (tmp_path / f"test_{shop}.py").write_text(text)
    code, output = await _pytest(tmp_path)
    assert code == 0, output
    assert "10 passed" in output


@pytest.mark.feature("F129")
async def test_without_the_plugin_two_modules_cannot_have_one_name(tmp_path: Path) -> None:
    """What the plugin does away with."""
    for shop in ("first", "second"):
        (tmp_path / f"test_{shop}.py").write_text(SHOP.replace("{SHOP}", shop).replace("{{", "{").replace("}}", "}"))
    program = "import test_first, test_second"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=tmp_path, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert "'charge' is defined twice in app 'default'" in said.decode()


async def test_a_run_of_pytest_that_uses_nothing_of_it_does_not_import_holdfast(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n\ndef test_nothing() -> None:\n    assert 'holdfast' not in sys.modules\n"
    )
    code, output = await _pytest(tmp_path)
    assert code == 0, output


@pytest.mark.timeout(120)
async def test_no_coordinator_is_left_behind_when_pytest_is_killed(tmp_path: Path) -> None:
    (tmp_path / "test_killed.py").write_text(
        "import os, signal\n"
        "async def test_killed(holdfast_client, _holdfast_coordinators) -> None:\n"
        "    print('pid', _holdfast_coordinators._running._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    code, output = await _pytest(tmp_path, "-s")
    assert code == -9, output
    pid = int(output.split("pid ")[1].split()[0])
    await asyncio.wait_for(asyncio.to_thread(_until_gone, pid), 60)


def _until_gone(pid: int) -> None:
    """Returns when the process has ended; it is no child of this one, so its descriptor says when."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)
