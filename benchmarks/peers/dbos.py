"""DBOS on a Postgres as holdfast's, in one or two processes that are client and worker at once."""

import contextlib
import functools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from holdfast_coordinator.postgres import EmbeddedPostgres

from ..processes import command_of
from .cases import Load
from .engines import Asked, Engine, answering
from .install import Installed, Parts
from .peer import Peer

VERSION = "3.4.0"


@dataclass(slots=True, frozen=True)
class _Way:
    """style: see dbos_work.py. in_flight, pool: runs at a time and connections, of each process."""

    style: str
    processes: int
    in_flight: int
    pool: int

    def __str__(self) -> str:
        return f"{self.style}, {self.processes} process(es), {self.in_flight} in flight and pool of {self.pool} each"


_WAYS = (
    _Way("async", 1, 4, 10),
    _Way("async", 1, 20, 20),
    _Way("async", 2, 4, 10),
    _Way("async", 2, 20, 20),
    _Way("started", 2, 8, 20),
    _Way("threads", 1, 4, 10),
    _Way("threads", 1, 8, 20),
    _Way("threads", 2, 4, 10),
    _Way("threads", 2, 20, 20),
    _Way("queue", 2, 50, 20),
)


@contextlib.asynccontextmanager
async def _start(way: _Way, installed: Installed) -> AsyncIterator[Engine]:
    async with EmbeddedPostgres(None) as server:
        settings = json.dumps({"url": server.url(database="dbos_peer"), "style": way.style, "pool": way.pool})
        command = command_of("peers.dbos_work", [settings], python=installed.python)
        async with answering("DBOS", [command] * way.processes) as processes:
            assert server.pid is not None
            yield Asked(processes, in_flight=way.in_flight, others=[server.pid])


DBOS = Peer(
    name="dbos",
    title=f"DBOS {VERSION}",
    parts=Parts(python=(f"dbos=={VERSION}", "uvloop>=0.21")),
    load=Load(one_step_runs=800, ten_step_runs=120),
    ways={str(way): functools.partial(_start, way) for way in _WAYS},
)
