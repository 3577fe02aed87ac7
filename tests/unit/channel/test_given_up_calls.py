"""Calls that are given up end, and leave nothing behind. Measured in the heap of C, where gRPC's own memory is."""

import asyncio
import ctypes
import gc

import pytest

from holdfast.channel.repeatable_calls import ConnectionClosed
from holdfast.client import Client
from tests.support.listening_service import listening

CALLS = 500
SIDE_BY_SIDE = 50
BYTES_MAX = 500
"""Of a call and of its other side, which is in this process. A call that is lost takes 1,000 to 20,000."""
READS = 5
SETTLED_BYTES = 10_000

_libc = ctypes.CDLL(None)


class _Heap(ctypes.Structure):
    """struct mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


async def bytes_in_use() -> int:
    """What malloc has given out, once gRPC's threads have ended what they were told to end."""
    _libc.mallinfo2.restype = _Heap
    found: list[int] = []
    while len(found) < READS or max(found[-READS:]) - min(found[-READS:]) > SETTLED_BYTES:
        await asyncio.sleep(0.1)
        gc.collect()
        found.append(int(_libc.mallinfo2().uordblks))
    return found[-1]


async def give_up(client: Client, *, turns: int, seconds: float) -> None:
    """turns: of the event loop, that each call has beside the seconds."""
    for _ in range(CALLS // SIDE_BY_SIDE):
        asking = [asyncio.create_task(client.get("run_00a").status()) for _ in range(SIDE_BY_SIDE)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.sleep(seconds)
        for one in asking:
            one.cancel()
        await asyncio.wait(asking)
        assert all(one.cancelled() for one in asking)


with_and_without_spans = pytest.mark.parametrize("rpc_spans", [False, True], ids=["plain", "with rpc spans"])


@pytest.mark.skipif(not hasattr(_libc, "mallinfo2"), reason="needs glibc 2.33")
@with_and_without_spans
@pytest.mark.parametrize(("turns", "seconds"), [(4, 0), (0, 0.05)], ids=["at once", "while it waits"])
async def test_a_call_that_is_given_up_leaves_no_memory_behind(turns: int, seconds: float, rpc_spans: bool) -> None:
    async with listening() as (_, address), Client.connect(address, rpc_spans=rpc_spans) as client:
        await give_up(client, turns=turns, seconds=seconds)
        before = await bytes_in_use()
        await give_up(client, turns=turns, seconds=seconds)
        assert (await bytes_in_use() - before) / CALLS < BYTES_MAX


@with_and_without_spans
async def test_the_other_side_learns_that_a_call_was_given_up(rpc_spans: bool) -> None:
    async with listening() as (listener, address), Client.connect(address, rpc_spans=rpc_spans) as client:
        asking = asyncio.create_task(client.get("run_00a").status())
        await asyncio.wait_for(listener.is_asked.wait(), 5)
        asking.cancel()
        await asyncio.wait_for(listener.is_left.wait(), 5)


@with_and_without_spans
async def test_a_call_that_waits_when_its_connection_is_closed_says_so(rpc_spans: bool) -> None:
    async with listening() as (listener, address):
        client = await Client.connect(address, rpc_spans=rpc_spans)
        asking = asyncio.create_task(client.get("run_00a").status())
        await asyncio.wait_for(listener.is_asked.wait(), 5)
        await client.close()
        with pytest.raises(ConnectionClosed, match="closed on this side"):
            await asyncio.wait_for(asking, 5)
