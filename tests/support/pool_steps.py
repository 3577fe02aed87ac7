"""A plain step that the processes of a pool import by its name."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable

from opentelemetry.propagate import inject

from holdfast.authoring.apps import App

app = App("pool")


@app.step
def process_id() -> int:
    return os.getpid()


async def _process_id() -> int:
    await asyncio.sleep(0)
    return os.getpid()


@app.step
def awaited_process_id() -> Awaitable[int]:
    return _process_id()


@app.step
def trace_headers() -> dict[str, str]:
    headers: dict[str, str] = {}
    inject(headers)
    return headers


class ApiError(Exception):
    """Its constructor takes something else than its args, so it does not unpickle."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status


@app.step
def call_an_api() -> None:
    raise ApiError(404, "nothing here")


@app.step
def leave_the_process() -> None:
    raise SystemExit(3)


@app.step
def give_what_cannot_be_sent() -> object:
    return lambda: None


@app.step
def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.step
def be_killed_once(path: str) -> str:
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@app.step
def wait_for(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"


@app.step
def hang_in_its_process() -> None:
    time.sleep(60)
