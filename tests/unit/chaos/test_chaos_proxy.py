"""Each fault of the proxy between a real gRPC client and server: what they see of it, and the evidence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import NamedTuple

import grpc
import pytest
import uvloop

from tests.chaos.faults import ConnectionFacts, Direction
from tests.chaos.frames import PREFACE
from tests.chaos.proxy import ChaosProxy
from tests.support.echo_server import REFUSED, STREAM, EchoServer, echo, echo_channel, echo_server
from tests.support.watching import until

pytestmark = pytest.mark.timeout(60)
NO_SETTINGS = bytes.fromhex("000000040000000000")
LARGE_BYTES = 300_000
LARGE = b"\x0a" * LARGE_BYTES
"""More than HTTP/2's first windows take."""


class Line(NamedTuple):
    """A client, the proxy, the server behind it."""

    channel: grpc.aio.Channel
    proxy: ChaosProxy
    server: EchoServer


@asynccontextmanager
async def drawn() -> AsyncIterator[Line]:
    """A line over which a first call has gone."""
    async with (
        echo_server() as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        echo_channel(proxy.address) as channel,
    ):
        assert await echo(channel, "Say", b"first") == b"first"
        server.taken.clear()
        yield Line(channel, proxy, server)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    async with drawn() as line:
        yield line


async def status_of(call: "asyncio.Task[bytes]") -> grpc.StatusCode:
    """How a call failed."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    code: grpc.StatusCode = failed.value.code()
    return code


def calling(line: Line, name: str, request: bytes, **options: float) -> "asyncio.Task[bytes]":
    return asyncio.create_task(echo(line.channel, name, request, **options))


async def answer_at_last(line: Line, name: str, request: bytes) -> bytes:
    """Repeats the call: gRPC may send one more over a connection of which it has not seen yet that it is gone."""

    async def attempt() -> bytes | None:
        try:
            return await echo(line.channel, name, request, wait_for_ready=True)
        except grpc.aio.AioRpcError as failed:
            if failed.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return None

    answer = await until(attempt, lambda seen: seen is not None)
    assert answer is not None
    return answer


async def test_without_faults_everything_passes_and_connections_show_their_calls(line: Line) -> None:
    assert await asyncio.gather(*(echo(line.channel, "Say", b"%d" % n) for n in range(200))) == [
        b"%d" % n for n in range(200)
    ]
    assert await echo(line.channel, "Ask", LARGE) == LARGE
    assert [(facts.number, facts.methods) for facts in line.proxy.connections] == [(1, {"Say": 201, "Ask": 1})]
    assert line.proxy.connections[0].client[0] == "127.0.0.1"
    assert line.proxy.faults == []


@pytest.mark.alone
@pytest.mark.parametrize("directions", [(Direction.TO_SERVER,), (Direction.TO_CLIENT,), tuple(Direction)])
async def test_a_delay_is_had_once_in_each_of_its_directions(line: Line, directions: tuple[Direction, ...]) -> None:
    delay = line.proxy.delay(0.2, jitter_seconds=0.01, directions=directions)
    begun = monotonic()
    assert await echo(line.channel, "Say", b"slow") == b"slow"
    assert 0.2 * len(directions) <= monotonic() - begun < 0.2 * len(directions) + 0.19
    assert delay.landed >= len(directions)
    assert delay.bytes_hit > 0
    delay.end()
    begun = monotonic()
    await echo(line.channel, "Say", b"quick")
    assert monotonic() - begun < 0.15


async def test_a_throttled_connection_passes_its_bytes_at_that_rate_until_the_fault_ends(line: Line) -> None:
    throttle = line.proxy.throttle(200_000, directions=[Direction.TO_SERVER])
    begun = monotonic()
    assert await echo(line.channel, "Say", b"\x0a" * 100_000) == b"\x0a" * 100_000
    assert 0.45 <= monotonic() - begun < 2
    assert throttle.bytes_hit >= 100_000
    endless = calling(line, "Say", LARGE)
    await asyncio.wait_for(throttle.landing(), 5)
    throttle.end()
    assert await asyncio.wait_for(endless, 1) == LARGE


async def test_a_reset_is_one_to_both_sides_and_names_the_calls_that_it_cut_off(line: Line) -> None:
    talk = line.channel.stream_stream(f"/echo.v1.Echo/{STREAM}")()
    await talk.write(b"here")
    assert await talk.read() == b"here"
    reset = line.proxy.reset()
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await talk.read()
    assert (reset.landed, reset.connections, reset.calls) == (1, {1}, {STREAM: 1})
    assert await answer_at_last(line, "Say", b"again") == b"again"


async def test_a_client_that_is_reset_gets_rst_and_not_an_end() -> None:
    async with echo_server() as server, ChaosProxy("127.0.0.1", server.port) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
        writer.write(PREFACE + NO_SETTINGS)
        await reader.readexactly(len(NO_SETTINGS))  # the server's: it is reached
        assert proxy.reset().landed == 1
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_of_two_connections_only_the_chosen_one_is_reset(line: Line) -> None:
    async with echo_channel(line.proxy.address) as other:
        await echo(other, "Ask", b"there")

        def is_asking(facts: ConnectionFacts) -> bool:
            return facts.methods["Ask"] > 0

        assert line.proxy.reset(only=is_asking).connections == {2}
        await echo(line.channel, "Say", b"untouched")
        assert [facts.number for facts in line.proxy.connections] == [1]
        assert line.proxy.reset(only=is_asking).landed == 0, "there is no such connection any more"


async def test_nothing_passes_a_half_open_connection_and_nothing_closes_it(line: Line) -> None:
    fault = line.proxy.half_open()
    assert fault.landed == 0, "nothing has come to be stopped"
    call = calling(line, "Say", LARGE)
    await asyncio.wait_for(fault.landing(), 5)
    assert await status_of(calling(line, "Ask", b"lost", timeout=0.3)) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert line.server.taken == []
    assert fault.landed <= 2, "one piece in each direction; what comes later is not even read"
    assert fault.bytes_hit < LARGE_BYTES
    assert len(line.proxy.connections) == 1
    fault.end()
    assert await call == LARGE


async def test_requests_held_by_a_partition_reach_the_server_when_it_ends(line: Line) -> None:
    partition = line.proxy.partition(Direction.TO_SERVER)
    call = calling(line, "Say", b"held")
    await asyncio.wait_for(partition.landing(), 5)
    assert line.server.taken == []
    assert partition.bytes_hit > len(b"held")
    partition.end()
    assert await call == b"held"
    assert line.server.taken == [("Say", b"held")]


async def test_answers_held_by_a_partition_come_though_the_requests_have_long_passed(line: Line) -> None:
    partition = line.proxy.partition(Direction.TO_CLIENT)
    call = calling(line, "Say", b"done")
    await line.server.wait_for(("Say", b"done"))
    await asyncio.wait_for(partition.landing(), 5)
    assert not call.done()
    partition.end()
    assert await call == b"done"


async def test_what_a_partition_dropped_never_comes_and_its_connection_ends_with_it(line: Line) -> None:
    partition = line.proxy.partition(Direction.TO_CLIENT, drops=True)
    call = calling(line, "Say", b"done")
    await line.server.wait_for(("Say", b"done"))
    await asyncio.wait_for(partition.landing(), 5)
    partition.end()
    assert await status_of(call) is grpc.StatusCode.UNAVAILABLE
    assert partition.connections == {1}
    assert await answer_at_last(line, "Say", b"again") == b"again"


@pytest.mark.parametrize("drops", [False, True])
async def test_nobody_connects_through_a_partition_until_it_ends(line: Line, drops: bool) -> None:
    partition = line.proxy.partition(Direction.TO_CLIENT, drops=drops)

    async def hit() -> set[int]:
        return partition.connections

    async with echo_channel(line.proxy.address) as other:
        call = asyncio.create_task(echo(other, "Say", b"new"))
        await until(hit, lambda connections: 2 in connections)
        assert line.server.taken == [], "TCP would not have opened the connection"
        partition.end()
        assert await call == b"new"


async def test_a_client_that_leaves_behind_a_partition_is_not_missed_before_it_ends(line: Line) -> None:
    async def look() -> list[int]:
        return [facts.number for facts in line.proxy.connections]

    reader, writer = await asyncio.open_connection(*line.proxy.address.split(":"))
    writer.write(PREFACE + NO_SETTINGS)
    await reader.readexactly(len(NO_SETTINGS))  # the server's: it is reached
    partition = line.proxy.partition(Direction.TO_SERVER)
    writer.close()
    await asyncio.wait_for(partition.landing(), 5)
    assert await look() == [1, 2]
    partition.end()
    await until(look, lambda numbers: numbers == [1])


@pytest.mark.parametrize("request_", [b"small", LARGE], ids=["small", "large"])
async def test_a_duplicate_reaches_the_server_twice_and_is_answered_once(line: Line, request_: bytes) -> None:
    duplicate = line.proxy.duplicate("Say")
    await echo(line.channel, "Ask", b"not meant")
    assert await echo(line.channel, "Say", request_) == request_
    await asyncio.wait_for(duplicate.landing(), 5)
    assert line.server.taken == [("Ask", b"not meant"), ("Say", request_), ("Say", request_)]
    assert (duplicate.landed, duplicate.calls, duplicate.statuses) == (1, {"Say": 1}, {"0": 1})
    assert duplicate.over.is_set()
    await echo(line.channel, "Say", b"once")
    assert line.server.taken.count(("Say", b"once")) == 1


async def test_a_late_duplicate_comes_when_its_call_is_long_answered_and_the_refusal_is_noted(line: Line) -> None:
    duplicate = line.proxy.duplicate(REFUSED, after_seconds=0.2)
    assert await status_of(calling(line, REFUSED, b"no")) is grpc.StatusCode.FAILED_PRECONDITION
    await echo(line.channel, "Say", b"between")
    await asyncio.wait_for(duplicate.landing(), 5)
    assert line.server.taken == [(REFUSED, b"no"), ("Say", b"between"), (REFUSED, b"no")]
    assert duplicate.evidence()["statuses"] == {"9": 1}


async def test_a_duplicate_that_no_server_took_has_not_landed(line: Line) -> None:
    duplicate = line.proxy.duplicate("Say", after_seconds=0.05)
    await echo(line.channel, "Say", b"once")
    line.proxy.target = ("127.0.0.1", 1)
    await asyncio.wait_for(duplicate.over.wait(), 5)
    assert (duplicate.landed, duplicate.missed) == (0, 1)


async def test_a_held_call_is_overtaken_by_later_ones_of_its_connection(line: Line) -> None:
    hold = line.proxy.hold_back("Say", overtakers=2, seconds_max=30)
    held = calling(line, "Say", LARGE)
    await asyncio.wait_for(hold.beginning(), 5)
    assert await echo(line.channel, "Ask", b"1") == b"1"
    assert not held.done()
    assert await echo(line.channel, "Ask", b"2") == b"2"
    assert await held == LARGE
    assert line.server.taken == [("Ask", b"1"), ("Ask", b"2"), ("Say", LARGE)]
    assert (hold.landed, hold.calls, hold.overtaken_by) == (1, {"Say": 1}, {"Ask": 2})
    assert hold.over.is_set()


async def test_a_held_call_that_nobody_overtakes_is_only_late(line: Line) -> None:
    hold = line.proxy.hold_back("Say", seconds_max=0.2)
    begun = monotonic()
    assert await echo(line.channel, "Say", b"late") == b"late"
    assert monotonic() - begun >= 0.19
    assert (hold.landed, hold.begun) == (0, 1)


async def test_a_held_call_that_its_client_gives_up_leaves_the_connection_whole(line: Line) -> None:
    hold = line.proxy.hold_back("Say", seconds_max=30)
    assert await status_of(calling(line, "Say", LARGE, timeout=0.2)) is grpc.StatusCode.DEADLINE_EXCEEDED
    for _ in range(5):  # the connection's window has room for more than one such request
        assert await echo(line.channel, "Say", LARGE) == LARGE
    assert hold.over.is_set()
    assert [facts.number for facts in line.proxy.connections] == [1]


async def test_what_a_stream_sends_is_overtaken_by_a_call_when_it_is_held(line: Line) -> None:
    talk = line.channel.stream_stream(f"/echo.v1.Echo/{STREAM}")()
    await talk.write(b"one")
    assert await talk.read() == b"one"
    hold = line.proxy.hold_back(STREAM, seconds_max=30)
    await talk.write(b"two")
    await asyncio.wait_for(hold.beginning(), 5)
    await echo(line.channel, "Say", b"quick")
    assert await talk.read() == b"two"
    assert line.server.taken == [(STREAM, b"one"), ("Say", b"quick"), (STREAM, b"two")]
    assert hold.landed == 1


async def test_an_answer_is_dropped_after_the_server_has_done_the_call(line: Line) -> None:
    drop = line.proxy.drop_answer("Say")
    assert await echo(line.channel, "Ask", b"not meant") == b"not meant"
    assert await status_of(calling(line, "Say", b"done")) is grpc.StatusCode.UNAVAILABLE
    assert line.server.taken == [("Ask", b"not meant"), ("Say", b"done")]
    assert (drop.landed, drop.calls) == (1, {"Say": 1})
    assert await answer_at_last(line, "Say", b"done") == b"done"
    assert drop.landed == 1, "it is over after one"


async def test_a_refusal_is_no_answer_to_drop(line: Line) -> None:
    drop = line.proxy.drop_answer(REFUSED)
    assert await status_of(calling(line, REFUSED, b"no")) is grpc.StatusCode.FAILED_PRECONDITION
    assert drop.landed == 0
    drop.end()


async def test_of_a_stream_only_answers_of_the_chosen_kind_are_dropped(line: Line) -> None:
    drop = line.proxy.drop_answer(STREAM, first_field=2)
    talk = line.channel.stream_stream(f"/echo.v1.Echo/{STREAM}")()
    for _ in range(3):
        await talk.write(b"\x0apoll")
        assert await talk.read() == b"\x0apoll"
    await talk.write(b"\x12report")
    with pytest.raises(grpc.aio.AioRpcError):
        await talk.read()
    assert line.server.taken[-1] == (STREAM, b"\x12report")
    assert (drop.landed, drop.calls) == (1, {STREAM: 1})


async def test_faults_end_with_the_proxy_and_say_what_they_were() -> None:
    async with (
        echo_server() as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        echo_channel(proxy.address) as channel,
    ):
        partition = proxy.partition(Direction.TO_SERVER)
        call = asyncio.create_task(echo(channel, "Say", b"held"))
        await asyncio.wait_for(partition.landing(), 5)
        await proxy.stop()
        assert await status_of(call) is grpc.StatusCode.UNAVAILABLE
        assert partition.over.is_set()
        assert [fault.evidence() for fault in proxy.faults] == [
            {
                "fault": "Partition",
                "directions": ["to_server"],
                "landed": 1,
                "bytes": 0,
                "connections": [1],
                "calls": {},
            }
        ]
        assert proxy.connections == []


async def test_a_client_of_a_coordinator_that_is_away_is_reset() -> None:
    async with ChaosProxy("127.0.0.1", 1) as proxy, echo_channel(proxy.address) as channel:
        assert await status_of(asyncio.create_task(echo(channel, "Say", b"?"))) is grpc.StatusCode.UNAVAILABLE
        assert proxy.unreached >= 1


async def test_bytes_that_are_no_http2_pass_in_both_directions() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1_000):
            writer.write(data.upper())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, ChaosProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
        writer.write(b"PR")  # so far it might become HTTP/2
        for word in (b"OXY http/1.1\r\n", b"x" * 100_000):
            writer.write(word)
        assert await reader.readexactly(100_016) == b"PROXY HTTP/1.1\r\n" + b"X" * 100_000
        writer.close()


def test_what_comes_before_the_server_is_reached_is_not_lost_under_uvloop() -> None:
    """Whose connections are read before they can be paused; faults land there too."""

    async def run() -> None:
        async with drawn() as line:
            for number in range(1, 6):
                assert line.proxy.reset().connections == {number}
                assert await answer_at_last(line, "Say", b"again") == b"again"
            assert [facts.number for facts in line.proxy.connections] == [6]
            drop = line.proxy.drop_answer("Say")
            assert await status_of(calling(line, "Say", b"done")) is grpc.StatusCode.UNAVAILABLE
            assert (drop.landed, drop.connections) == (1, {6})
            fault = line.proxy.half_open()
            call = asyncio.create_task(answer_at_last(line, "Say", LARGE))
            await asyncio.wait_for(fault.landing(), 5)
            fault.end()
            assert await call == LARGE

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
