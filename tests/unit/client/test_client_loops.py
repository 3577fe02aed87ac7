"""Clients, event loops and threads: each mistake is an error that says so, and nobody waits for ever."""

import asyncio
import threading

import pytest

from holdfast import Client, blocking
from holdfast.channel.connection import OtherLoop
from holdfast.client.defaults import close_default_client, default_client
from holdfast.errors import CoordinatorUnavailable, HoldfastError

NOBODY = "127.0.0.1:1"


def test_a_client_that_is_used_in_another_event_loop_says_so() -> None:
    async def connected() -> Client:
        return await Client.connect(NOBODY, timeout=None)

    async def used(client: Client) -> None:
        for waiting in (client.get("o-1").status(), client.start("order"), client.get("run_1").result()):
            with pytest.raises(OtherLoop, match="another event loop"):
                await asyncio.wait_for(waiting, 2)

    client = asyncio.run(connected())
    asyncio.run(used(client))


async def test_a_default_client_that_never_connected_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_ADDRESS", NOBODY)
    monkeypatch.setattr("holdfast.client.defaults._connect", lambda: _refused())
    with pytest.raises(CoordinatorUnavailable):
        await default_client()
    await close_default_client()


async def _refused() -> Client:
    raise CoordinatorUnavailable(NOBODY)


def test_closing_a_blocking_client_ends_the_calls_of_other_threads() -> None:
    client = blocking.Client.connect(NOBODY, timeout=None, retry_for="1h")
    errors: list[BaseException] = []
    begun = threading.Event()

    def ask() -> None:
        begun.set()
        try:
            client.get("o-1").status()
        except HoldfastError as error:
            errors.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    begun.wait(5)
    client.close()
    asking.join(5)
    assert not asking.is_alive()
    assert len(errors) == 1
    assert "closed" in str(errors[0])


def test_a_blocking_client_is_refused_where_an_event_loop_runs() -> None:
    """An async step that used one had blocked its worker, with all that ran there."""
    client = blocking.Client.connect(NOBODY, timeout=None, retry_for=0)

    async def use() -> None:
        run = client.get("o-1")
        for asked in (run.status, run.result, lambda: client.start("order"), lambda: blocking.Client.connect(NOBODY)):
            with pytest.raises(blocking.CalledInEventLoop, match=r"use holdfast\.Client with await"):
                asked()
        with pytest.raises(CoordinatorUnavailable):  # a thread has no loop
            await asyncio.to_thread(run.status)

    asyncio.run(use())
    client.close()


def test_a_blocking_client_is_closed_twice_and_then_refuses() -> None:
    client = blocking.Client.connect(NOBODY, timeout=None)
    client.close()
    client.close()
    with pytest.raises(blocking.ClientClosed):
        client.get("o-1").status()
