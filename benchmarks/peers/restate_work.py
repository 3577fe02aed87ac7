"""Restate's server, the processes that serve the workflows, and a client. Knows Restate and nothing of holdfast.

    python -m benchmarks.peers.restate_work '{"server": ..., "folder": ..., "partitions": 1, "processes": 1}'

server: the program; folder: an empty one, for its data and what it writes. Prints "ready"; for each line on stdin
prints an answer, see `Bench`; ends, with all that it started, when stdin is closed.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

PAYLOAD = "holdfast benchmark payload ".ljust(150, ".")
START_SECONDS = 60.0

Started = list[subprocess.Popen[bytes]]

# Durable as holdfast is: the log is synced before a step counts as done. Both lines are defaults, and said here so that
# they hold whatever the defaults become. TCP alone, as a socket's path may be too long in a deep folder.
CONFIG = """
default-num-partitions = {partitions}
listen-mode = "tcp"
disable-telemetry = true
log-filter = "warn"
bind-address = "127.0.0.1:{node}"
[ingress]
bind-address = "127.0.0.1:{ingress}"
[admin]
bind-address = "127.0.0.1:{admin}"
disable-web-ui = true
[log-server]
rocksdb-disable-wal-fsync = false
[bifrost.local]
rocksdb-disable-wal-fsync = false
"""


class Bench:
    """A client. One method for each thing that a line may ask for."""

    def __init__(self, session: aiohttp.ClientSession, ingress: int) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{ingress}/bench/"

    async def runs(self, workflow: str, count: int, in_flight: int) -> list[float]:
        """Nothing, when all of them are done."""
        left = iter(range(count))

        async def one_after_the_other() -> None:
            for _ in left:
                assert await self._call(workflow, PAYLOAD) == PAYLOAD

        await asyncio.gather(*(one_after_the_other() for _ in range(min(in_flight, count))))
        return []

    async def idle_runs(self, count: int) -> list[float]:
        """How many seconds each took."""
        took = []
        for _ in range(count):
            started = time.perf_counter()
            await self._call("one_step", PAYLOAD)
            took.append(time.perf_counter() - started)
        return took

    async def clocked_steps(self, steps: int) -> list[float]:
        """The monotonic clock at each step, in nanoseconds."""
        clocks: list[float] = await self._call("clocked_steps", steps)
        return clocks

    async def fan_out(self, branches: int, count: int) -> list[float]:
        """How many seconds each took."""
        took = []
        for _ in range(count):
            started = time.perf_counter()
            assert await self._call("fan_out", branches) == branches
            took.append(time.perf_counter() - started)
        return took

    async def _call(self, handler: str, argument: object) -> Any:
        async with self._session.post(self._url + handler, json=argument) as response:
            assert response.status == 200, await response.text()
            return await response.json()


def start(settings: dict[str, Any]) -> tuple[dict[str, int], Started]:
    """Starts the server and the processes that serve the workflows; the ports that they listen on, by name."""
    folder = Path(settings["folder"])
    ports = {name: _free_port() for name in ("node", "ingress", "admin", "served")}
    config = folder / "restate.toml"
    config.write_text(CONFIG.format(partitions=settings["partitions"], **ports))
    server = [settings["server"], "--no-logo", "--base-dir", str(folder / "data"), "--config-file", str(config)]
    serving = [
        sys.executable, "-P", "-m", "granian", "benchmarks.peers.restate_service:app", "--interface", "asginl",
        "--http", "2", "--no-ws", "--loop", "uvloop", "--workers", str(settings["processes"]),
        "--port", str(ports["served"]), "--log-level", "warning",
    ]  # fmt: skip
    # stdout is for answers. Not by uvloop: what that starts inherits our stdout, and holds it open when we have ended.
    return ports, [subprocess.Popen(command, cwd=folder, stdout=sys.stderr) for command in (server, serving)]


async def main(ports: dict[str, int], started: Started) -> None:
    """Does what is asked on stdin."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async with asyncio.timeout(START_SECONDS):
            await _register(session, ports, started)
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            method = getattr(Bench(session, ports["ingress"]), asked.pop("do"))
            print(json.dumps(await method(**asked)), flush=True)


def _end_all() -> None:
    """Kills this process and all that it has started: nothing is to be kept, and not all of granian ends by itself."""
    os.killpg(os.getpid(), signal.SIGKILL)


async def _register(
    session: aiohttp.ClientSession, ports: dict[str, int], started: list[subprocess.Popen[bytes]]
) -> None:
    """Says to the server where the workflows are, as soon as both answer, and waits until they can be called."""
    deployments, body = f"http://127.0.0.1:{ports['admin']}/deployments", {"uri": f"http://127.0.0.1:{ports['served']}"}
    called = f"http://127.0.0.1:{ports['ingress']}/bench/one_step"
    for url, argument, done in ((deployments, body, (200, 201)), (called, PAYLOAD, (200,))):
        while True:
            assert all(process.poll() is None for process in started), "a process of Restate has ended"
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.post(url, json=argument) as response:
                    if response.status in done:
                        break
            await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    assert os.getpgrp() == os.getpid(), "its group is killed when it ends, so it must lead one of its own"
    try:
        uvloop.run(main(*start(json.loads(sys.argv[1]))))
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        _end_all()
