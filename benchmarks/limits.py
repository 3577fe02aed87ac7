"""What this machine can do at all: disk, Postgres and gRPC, each alone. Nothing of holdfast is in the way.

Every limit is measured for a fraction of a second, in each round, as machines drift.
"""

import asyncio
import contextlib
import os
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import psycopg

from holdfast_coordinator.postgres import EmbeddedPostgres

from .echo_server import STREAM, UNARY
from .figures import ROWS_PER_SECOND, UNARY_PER_SECOND
from .processes import command_of, environment

FDATASYNC_PER_SECOND = "fdatasync_per_second"
COMMITS_PER_SECOND = "single_row_commits_per_second"
STREAMED_PER_SECOND = "streamed_round_trips_per_second"

LIMITS = {
    FDATASYNC_PER_SECOND: "fdatasync of one page",
    COMMITS_PER_SECOND: "commits of a single row",
    ROWS_PER_SECOND: "rows, 100 per transaction",
    UNARY_PER_SECOND: "unary gRPC calls, one in flight",
    STREAMED_PER_SECOND: "gRPC round trips on one stream",
}
"""In the order in which they are shown."""

_MESSAGE = bytes(150)
_ROW_BYTES = 128
_ROWS = 100
_PAGE = bytes(8192)
_PAGES_OF_FILE = 256


@contextlib.asynccontextmanager
async def echo_server() -> AsyncIterator[str]:
    """The address of an echo server in another process."""
    process = await asyncio.create_subprocess_exec(
        *command_of("echo_server"), stdin=PIPE, stdout=PIPE, env=environment()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await process.wait()


async def measure_limits(server: EmbeddedPostgres, echo_address: str, *, seconds: float) -> dict[str, float]:
    """Each limit, per second. seconds: how long each is measured."""
    found = await asyncio.to_thread(_measure_database, server, seconds)
    return found | await _measure_grpc(echo_address, seconds)


def _measure_database(server: EmbeddedPostgres, seconds: float) -> dict[str, float]:
    with psycopg.connect(server.url(database="postgres", role="postgres")) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    found = {FDATASYNC_PER_SECOND: _fdatasyncs(Path(row[0]), seconds)}
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE bench_limits (n bigint PRIMARY KEY, payload bytea)")
        try:
            return found | _commits(connection, seconds)
        finally:
            connection.execute("DROP TABLE bench_limits")


def _fdatasyncs(data_directory: Path, seconds: float) -> float:
    # Beside the data, where we may write whoever owns them. Pages of a file that has them, as in the WAL.
    with tempfile.TemporaryFile(dir=data_directory.parent.parent, buffering=0) as file:
        file.write(_PAGE * _PAGES_OF_FILE)
        os.fsync(file.fileno())
        written = 0

        def write_page() -> int:
            nonlocal written
            os.pwrite(file.fileno(), _PAGE, written % _PAGES_OF_FILE * len(_PAGE))
            os.fdatasync(file.fileno())
            written += 1
            return 1

        return _rate(write_page, seconds)


def _commits(connection: psycopg.Connection, seconds: float) -> dict[str, float]:
    written = 0
    payload = os.urandom(_ROW_BYTES)
    payloads = [payload] * _ROWS

    def one_row() -> int:
        nonlocal written
        connection.execute("INSERT INTO bench_limits VALUES (%b, %b)", (written, payload), prepare=True)
        written += 1
        return 1

    def many_rows() -> int:
        nonlocal written
        connection.execute(
            "INSERT INTO bench_limits SELECT * FROM unnest(%b::bigint[], %b::bytea[])",
            (list(range(written, written + _ROWS)), payloads),
            prepare=True,
        )
        written += _ROWS
        return _ROWS

    return {COMMITS_PER_SECOND: _rate(one_row, seconds), ROWS_PER_SECOND: _rate(many_rows, seconds)}


async def _measure_grpc(address: str, seconds: float) -> dict[str, float]:
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        call = channel.unary_unary(UNARY)
        stream = channel.stream_stream(STREAM)()
        await stream.write(_MESSAGE)
        await stream.read()
        unary = streamed = 0
        started = time.perf_counter()
        while (unary_seconds := time.perf_counter() - started) < seconds:
            await call(_MESSAGE)
            unary += 1
        started = time.perf_counter()
        while (stream_seconds := time.perf_counter() - started) < seconds:
            await stream.write(_MESSAGE)
            await stream.read()
            streamed += 1
        stream.cancel()
    return {UNARY_PER_SECOND: unary / unary_seconds, STREAMED_PER_SECOND: streamed / stream_seconds}


def _rate(work: Callable[[], int], seconds: float) -> float:
    """How much `work` says that it did, per second; the first call, which prepares, does not count."""
    work()
    done = 0
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        done += work()
    return done / passed
