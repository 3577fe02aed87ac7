"""A connection of a peer is ended by the name that gRPC gives the peer, and no other is."""

import os
import socket
import sys
from urllib.parse import quote

import pytest

from holdfast_coordinator.rpc.unread_answers import end_connection

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors cannot be listed there")


@pytest.mark.parametrize(
    ("family", "host", "named"),
    [(socket.AF_INET, "127.0.0.1", "ipv4:{}:{}"), (socket.AF_INET6, "::1", "ipv6:[{}]:{}")],
)
def test_the_connection_of_a_peer_is_ended_and_the_one_beside_it_is_not(
    family: socket.AddressFamily, host: str, named: str
) -> None:
    with socket.socket(family) as listening:
        try:
            listening.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        listening.listen()
        pairs = []
        for _ in range(3):
            peer = socket.create_connection((host, listening.getsockname()[1]))
            pairs.append((peer, listening.accept()[0]))
        files = len(os.listdir("/dev/fd"))
        address, port = pairs[1][0].getsockname()[:2]
        scheme, _, rest = named.format(address, port).partition(":")
        assert end_connection(f"{scheme}:{quote(rest, safe=':')}")
        assert pairs[1][0].recv(1) == b""
        for peer, ours in (pairs[0], pairs[2]):
            ours.send(b"x")
            assert peer.recv(1) == b"x"
        assert len(os.listdir("/dev/fd")) == files
        for pair in pairs:
            for one in pair:
                one.close()
        assert not end_connection(f"ipv4:192.0.2.1:{port}")
