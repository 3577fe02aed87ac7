"""Restate: its server, which keeps a log of its own, and its Python SDK under granian. restate_work.py starts them."""

import contextlib
import functools
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ..processes import command_of
from .cases import Load
from .engines import Asked, Engine, PeerFailed, answering
from .install import Installed, Parts
from .peer import Peer

SERVER_VERSION = "1.7.12"
SDK_VERSION = "1.3.0"


@dataclass(slots=True, frozen=True)
class _Way:
    """partitions: of the server. processes: that serve the workflows. in_flight: calls at a time."""

    partitions: int
    processes: int
    in_flight: int

    def __str__(self) -> str:
        return f"{self.partitions} partition(s), {self.processes} serving process(es), {self.in_flight} in flight"


_WAYS = (
    _Way(1, 1, 100),
    _Way(1, 1, 500),
    _Way(1, 2, 100),
    _Way(1, 2, 500),
    _Way(4, 2, 500),
    _Way(24, 2, 500),
)


@contextlib.asynccontextmanager
async def _start(way: _Way, installed: Installed) -> AsyncIterator[Engine]:
    # The package for this machine; npm installs no other one.
    found = list(installed.folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not found:
        raise PeerFailed("npm has no server of Restate for this system and processor")
    with tempfile.TemporaryDirectory(prefix="holdfast-peer-") as folder:
        places = {"server": str(found[0]), "folder": folder}
        settings = json.dumps(places | {"partitions": way.partitions, "processes": way.processes})
        command = command_of("peers.restate_work", [settings], python=installed.python)
        async with answering("Restate", [command]) as processes:
            yield Asked(processes, in_flight=way.in_flight)


RESTATE = Peer(
    name="restate",
    title=f"Restate {SERVER_VERSION}",
    parts=Parts(
        python=(f"restate-sdk=={SDK_VERSION}", "granian==2.8.9", "aiohttp==3.14.5", "uvloop>=0.21"),
        npm=(f"@restatedev/restate-server@{SERVER_VERSION}",),
    ),
    load=Load(one_step_runs=4_000, ten_step_runs=1_000),
    ways={str(way): functools.partial(_start, way) for way in _WAYS},
)
