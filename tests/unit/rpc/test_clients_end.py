"""Clients leave nothing behind: with the event loop that they belong to, and in a process that was forked."""

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from holdfast import blocking, workflow
from holdfast.client import Client
from holdfast.client.defaults import close_default_client
from holdfast.errors import CoordinatorUnavailable, HoldfastError
from tests.support.listening_service import ListeningService, listening

RUNS = 30
FORK_SECONDS = 20


@workflow(name="leaves-nothing")
async def order(number: int) -> int:
    return number


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ListeningService, str]]:
    """A RunService in another thread, where HOLDFAST_ADDRESS says."""
    found: list[tuple[ListeningService, str]] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with listening() as one:
            found.append(one)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    monkeypatch.setenv("HOLDFAST_ADDRESS", found[0][1])
    yield found[0]
    done.set()
    thread.join(10)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_starts_under_asyncio_run_leave_no_client_and_no_descriptor(
    service: tuple[ListeningService, str],
) -> None:
    async def start(number: int) -> None:
        await order.start(number)

    asyncio.run(start(0))
    before = _open_files()
    for number in range(RUNS):
        asyncio.run(start(number))
    assert len(service[0].starts) == RUNS + 1
    assert _open_files() <= before + 2


def test_a_loop_that_is_closed_without_cleaning_up_takes_its_client_along(
    service: tuple[ListeningService, str],
) -> None:
    def start(number: int) -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(order.start(number))
        loop.close()

    start(0)
    start(1)
    before = _open_files()
    for number in range(RUNS):
        start(number)
    assert _open_files() <= before + 2


async def test_a_start_after_one_that_failed_connects_anew_and_stays_connected(
    service: tuple[ListeningService, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("HOLDFAST_ADDRESS", "127.0.0.9:1")
        with pytest.raises(CoordinatorUnavailable):
            await order.start(1)
    for number in range(3):
        await order.start(number)
        await asyncio.sleep(0.01)
    assert len(service[0].starts) == 3
    await close_default_client()
    await order.start(3)
    await close_default_client()
    assert len(service[0].starts) == 4


# What a forked process does, by name: pickling is no matter of fork.


def _uses(client: blocking.Client) -> None:
    client.start(order, 1)


def _closes(client: blocking.Client) -> None:
    client.close()


def _connects(_: blocking.Client) -> None:
    blocking.Client.connect()


def _starts(_: blocking.Client) -> None:
    asyncio.run(order.start(1))  # type: ignore[arg-type]


def _in_child(act: object, client: blocking.Client, answer: Connection) -> None:
    try:
        act(client)  # type: ignore[operator]
        answer.send("done")
    except HoldfastError as error:
        answer.send(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("act", [_uses, _connects, _starts, _closes])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_in_a_forked_process_a_client_says_what_to_do_and_does_not_hang(
    service: tuple[ListeningService, str], act: object
) -> None:
    context = multiprocessing.get_context("fork")
    with blocking.Client.connect() as client:
        client.start(order, 0)
        reader, writer = context.Pipe(duplex=False)
        child = context.Process(target=_in_child, args=(act, client, writer), daemon=True)
        child.start()
        try:
            assert reader.poll(FORK_SECONDS), "the forked process hangs"
            said = reader.recv()
        finally:
            child.kill()
            child.join()
        assert said == "done" if act is _closes else "connect in each process after the fork" in said
        client.start(order, 2)


async def _with(address: str) -> None:
    async with Client.connect(address) as client:
        await client.start(order, 1)


def test_a_process_that_forked_after_its_clients_were_closed_connects_as_any_other(
    service: tuple[ListeningService, str],
) -> None:
    asyncio.run(_with(service[1]))
    assert len(service[0].starts) == 1
