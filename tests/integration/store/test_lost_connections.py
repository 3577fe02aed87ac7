"""A connection to Postgres that was lost says so at once, also when its end comes together with last words."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import pytest

from holdfast.client.loops import run
from holdfast_coordinator.store.database_connection import BEGIN, COMMIT, DatabaseConnection, Statement
from holdfast_coordinator.store.errors import ConnectionLost

ONE = Statement("one", "SELECT 1")
ANSWER_SECONDS = 60.0
SOON_SECONDS = 20.0
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: a close sends RST."""
_FIELDS = b"SWARNING\0VWARNING\0C57P02\0Mterminating connection because of crash of another server process\0\0"
LAST_WORDS = b"N" + struct.pack(">i", 4 + len(_FIELDS)) + _FIELDS
"""What a server process says when its postmaster is stopped at once."""


class Relay:
    """Passes bytes between one client on TCP and the socket of Postgres, in threads: no event loop is needed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._client: socket.socket | None = None
        self._server: socket.socket | None = None
        self._is_held = False
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def hold(self) -> None:
        """What the client sends from now on is lost."""
        self._is_held = True

    def end(self, last_words: bytes) -> None:
        """The client is sent these bytes and RST; when this returns its kernel has both."""
        assert self._client is not None
        self._client.sendall(last_words)
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._client.shutdown(socket.SHUT_RD)  # wakes the thread that reads, which closes it
        self._thread.join()

    def close(self) -> None:
        """Ends both threads."""
        self._listener.close()
        for one in (self._client, self._server):
            if one is not None:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _accept(self) -> None:
        with self._listener:
            self._client, _ = self._listener.accept()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(self._path)
        back = threading.Thread(target=self._pass, args=(self._server, self._client))
        back.start()
        self._pass(self._client, self._server)
        self._server.shutdown(socket.SHUT_RDWR)
        back.join()
        self._client.close()
        self._server.close()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not (self._is_held and source is self._client):
                    sink.sendall(data)


@contextmanager
def relay_to(url: str) -> Iterator[tuple[Relay, str]]:
    """A relay to the server of this URL, and the URL that goes through it."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    relay = Relay(f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}")
    try:
        yield relay, f"postgresql://{parts.username}@127.0.0.1:{relay.port}{parts.path}"
    finally:
        relay.close()


@pytest.mark.timeout(100)
@pytest.mark.parametrize("is_under_way", [True, False], ids=["round trip under way", "between round trips"])
def test_a_connection_that_ends_with_last_words_is_lost_at_once(database: str, is_under_way: bool) -> None:
    """On the loop of the coordinator: libuv reports such a socket once, and then never again."""

    async def lose() -> float:
        with relay_to(database) as (relay, url):
            connection = await DatabaseConnection.open(url)
            await connection.round_trip([ONE()], seconds=ANSWER_SECONDS)
            relay.hold()
            trip = asyncio.ensure_future(connection.round_trip([BEGIN(), ONE(), COMMIT()], seconds=ANSWER_SECONDS))
            if is_under_way:
                await asyncio.sleep(0)
            began_at = time.monotonic()
            relay.end(LAST_WORDS)  # the loop gets no turn in between
            with pytest.raises(ConnectionLost):
                await trip
            assert not connection.is_open
            return time.monotonic() - began_at

    assert run(lose()) < SOON_SECONDS


@pytest.mark.timeout(100)
def test_a_connection_that_ends_while_it_is_idle_is_not_used_again(database: str) -> None:
    async def lose() -> None:
        with relay_to(database) as (relay, url):
            connection = await DatabaseConnection.open(url)
            await connection.round_trip([ONE()], seconds=ANSWER_SECONDS)
            relay.end(LAST_WORDS)
            async with asyncio.timeout(SOON_SECONDS):
                while connection.is_open:  # noqa: ASYNC110 - nobody is told that a connection has ended
                    await asyncio.sleep(0.01)

    run(lose())
