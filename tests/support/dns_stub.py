"""A DNS server for tests: answers A questions with the addresses that it was given, as late and in the order asked for.

Reached through addresses such as dns://127.0.0.1:PORT/coordinator.test:7410.
"""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

_HEADER = struct.Struct(">6H")
_IS_ANSWER = 0x8180
_A = 1
_INTERNET = 1
_NAME_OF_THE_QUESTION = b"\xc0\x0c"


class DnsStub(asyncio.DatagramProtocol):
    """See the module. `asked` counts the questions for addresses.

    stale_seconds: an answer says what was so long ago, as caches do. shuffled: in another order each time, else as set.
    """

    def __init__(self, addresses: Sequence[str], *, stale_seconds: float = 0.0, shuffled: bool = False, seed: int = 0):
        self.asked = 0
        self.host = ""
        self.port = 0
        self._stale_seconds = stale_seconds
        self._shuffled = shuffled
        self._random = random.Random(seed)
        self._clock = asyncio.get_running_loop().time
        self._since: list[tuple[float, tuple[str, ...]]] = [(float("-inf"), tuple(addresses))]
        self._transport: asyncio.DatagramTransport | None = None

    def set(self, addresses: Sequence[str]) -> None:
        """From now on these are right; it is said `stale_seconds` later."""
        self._since.append((self._clock(), tuple(addresses)))

    def address_of(self, host: str, port: int) -> str:
        """An address whose host this server is asked for."""
        return f"dns://{self.host}:{self.port}/{host}:{port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.host, self.port = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        number = _HEADER.unpack_from(data)[0]
        end = data.index(b"\0", _HEADER.size) + 5  # the name, its end, type and class
        kind = struct.unpack_from(">H", data, end - 4)[0]
        records = [_record(address) for address in self._answer()] if kind == _A else []
        self.asked += kind == _A
        head = _HEADER.pack(number, _IS_ANSWER, 1, len(records), 0, 0)
        assert self._transport is not None
        self._transport.sendto(b"".join((head, data[_HEADER.size : end], *records)), addr)

    def _answer(self) -> list[str]:
        at = self._clock() - self._stale_seconds
        answer = list([addresses for since, addresses in self._since if since <= at][-1])
        if self._shuffled:
            self._random.shuffle(answer)
        return answer


def _record(address: str) -> bytes:
    """An A record; 0 s is how long it may be kept: the stub itself says what is stale."""
    return _NAME_OF_THE_QUESTION + struct.pack(">2HIH", _A, _INTERNET, 0, 4) + socket.inet_aton(address)


@asynccontextmanager
async def dns_stub(
    addresses: Sequence[str],
    *,
    stale_seconds: float = 0.0,
    shuffled: bool = False,
    seed: int = 0,
    host: str = "127.0.0.1",
) -> AsyncIterator[DnsStub]:
    """A DNS server on a free port of this host."""
    transport, stub = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: DnsStub(addresses, stale_seconds=stale_seconds, shuffled=shuffled, seed=seed),
        local_addr=(host, 0),
    )
    try:
        yield stub
    finally:
        transport.close()
