"""Programs without asyncio: plain workflows whose process is killed, and workers."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from holdfast import App, NamespaceNotFound, RunStatus, blocking
from holdfast.blocking import CalledInEventLoop
from tests.support.ledger import Ledger

from .conftest import Coordinator

pytestmark = pytest.mark.feature("F147")

SCRIPT = "tests.support.script_of_orders"
DONE_IN_ORDER = ("charged", "looked", "refunded", "told")

app = App("blocking-style")


@app.step
def double(x: int) -> int:
    return 2 * x


@app.workflow(id="doubled-{x}")
def doubled(x: int) -> int:
    blocking.sleep("100ms")
    return double(double(x))


def script(data: Path, ledger: Ledger, style: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", SCRIPT, str(data), ledger.path, style]
    env = {**os.environ, **environment}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=110, env=env)


@pytest.mark.timeout(600)
def test_an_order_has_one_journal_in_both_styles_also_when_its_process_is_killed_in_every_step(
    open_directory: Path, tmp_path: Path
) -> None:
    said = []
    for style in ("asyncio", "blocking"):
        data, ledger = open_directory / style, Ledger(tmp_path / style)
        for what in DONE_IN_ORDER:
            assert script(data, ledger, style, KILLED_AT=what).returncode == -signal.SIGKILL
        done = script(data, ledger, style)
        assert done.stdout.startswith("refunded\n"), done.stderr
        assert ledger.counts == dict.fromkeys(DONE_IN_ORDER, 2), "only what was killed is repeated, once"
        said.append(done.stdout)
    assert said[0] == said[1]


def test_a_worker_without_asyncio_runs_beside_the_block_and_drains_at_its_end(coordinator: Coordinator) -> None:
    with (
        blocking.Client.connect(coordinator.address) as client,
        blocking.Worker(client, queue="blocking-block", workflows=[app]),
    ):
        run = client.start(doubled.with_options(queue="blocking-block"), 5)
        seen = [run.status()]
        while not seen[-1].is_closed:
            time.sleep(0.02)
            seen.append(run.status())
        assert run.result() == 20
    assert seen[-1] is RunStatus.COMPLETED
    assert not [one for one in threading.enumerate() if one.name == "holdfast-worker"]


def test_a_worker_that_is_not_wanted_says_so_where_the_block_begins(coordinator: Coordinator) -> None:
    with blocking.Client.connect(coordinator.address) as client:
        other = blocking.Client.connect(coordinator.address)
        other.asynchronous.namespace = "no-such-namespace"
        with other, pytest.raises(NamespaceNotFound), blocking.Worker(other, workflows=[app]):
            pass
        worker = blocking.Worker(client, queue="used-once", workflows=[app])
        with worker:
            pass
        with pytest.raises(RuntimeError, match="used once"):
            worker.run()


def test_a_blocking_worker_is_refused_where_an_event_loop_runs(coordinator: Coordinator) -> None:
    with blocking.Client.connect(coordinator.address) as client:

        async def works() -> None:
            blocking.Worker(client, workflows=[app]).run()

        with pytest.raises(CalledInEventLoop):
            asyncio.run(works())
    with pytest.raises(TypeError, match=r"takes a holdfast\.blocking\.Client"):
        blocking.Worker(object(), workflows=[app])  # type: ignore[arg-type]


WORKER = """
import sys
from holdfast import blocking
from tests.e2e.test_blocking_style import app
with blocking.Client.connect(sys.argv[1]) as client:
    blocking.Worker(client, queue="blocking-main", workflows=[app]).run()
print("drained", flush=True)
"""


def test_sigterm_drains_a_worker_that_runs_in_the_main_thread(coordinator: Coordinator) -> None:
    command = [sys.executable, "-c", WORKER, coordinator.address]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        blocking.Client.connect(coordinator.address) as client,
    ):
        assert client.run(doubled.with_options(queue="blocking-main", id="in-main"), 6) == 24
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "drained\n")
