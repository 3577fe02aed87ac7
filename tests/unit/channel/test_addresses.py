"""Addresses are read as people write them, and what is wrong with one is said in a sentence."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.channel.connection import (
    Address,
    Connection,
    address_or_default,
    parse_address,
)
from holdfast.errors import CoordinatorUnavailable, InvalidRequest


@pytest.mark.parametrize(
    ("text", "written", "target"),
    [
        ("localhost", "localhost:7410", "dns:///localhost:7410"),
        ("localhost:80", "localhost:80", "dns:///localhost:80"),
        (" holdfast.svc.cluster.local:7410 ", "holdfast.svc.cluster.local:7410", None),
        ("127.0.0.1:65535", "127.0.0.1:65535", None),
        ("[::1]", "[::1]:7410", "dns:///[::1]:7410"),
        ("[fe80::1]:99", "[fe80::1]:99", None),
        ("unix:/run/holdfast.sock", "unix:/run/holdfast.sock", "unix:/run/holdfast.sock"),
        ("dns:///db-1:80", "db-1:80", "dns:///db-1:80"),
        ("dns://10.0.0.2/db-1", "dns://10.0.0.2:53/db-1:7410", "dns://10.0.0.2:53/db-1:7410"),
        ("dns://10.0.0.2:8600/db-1.service.consul:80", "dns://10.0.0.2:8600/db-1.service.consul:80", None),
        ("dns://[::1]/db-1", "dns://[::1]:53/db-1:7410", None),
    ],
)
def test_an_address_is_read_as_it_is_usually_written(text: str, written: str, target: str | None) -> None:
    address = parse_address(text)
    assert str(address) == written
    assert target is None or address.target == target


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("http://localhost:7410", "begins with http://"),
        ("localhost:", "which is not a number"),
        ("localhost:port", "which is not a number"),
        ("localhost:0", "not between 1 and 65535"),
        ("localhost:65536", "not between 1 and 65535"),
        ("localhost:٣", "which is not a number"),
        (":7410", "has no host"),
        ("::1", "IPv6 address stands in brackets"),
        ("[::1", "not an IPv6 address in brackets"),
        ("[::1]7410", "not an IPv6 address in brackets"),
        ("two words:1", "not a host name"),
        ("unix:holdfast.sock", "without an absolute path"),
        ("dns://", "is empty"),
        ("dns://10.0.0.2", "is empty"),
        ("dns://consul/db-1", "the DNS server 'consul', which is not an IP address"),
        ("dns://10.0.0.2:x/db-1", "which is not a number"),
        ("dns://10.0.0.2/unix:/run/x", "names no host after the DNS server"),
    ],
)
def test_a_malformed_address_says_what_is_wrong_and_how_it_is_written(text: str, problem: str) -> None:
    with pytest.raises(InvalidRequest, match="write host:port") as caught:
        parse_address(text)
    assert problem in str(caught.value)


@given(st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True), st.integers(1, 65535))
def test_a_written_address_reads_back(host: str, port: int) -> None:
    assert parse_address(str(Address(host, port))) == Address(host, port)


def test_the_environment_names_the_coordinator_unless_the_caller_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HOLDFAST_ADDRESS", raising=False)
    assert str(address_or_default()) == "localhost:7410"
    monkeypatch.setenv("HOLDFAST_ADDRESS", "db-1:99")
    assert str(address_or_default()) == "db-1:99"
    assert str(address_or_default("here")) == "here:7410"


async def test_connecting_to_nobody_says_so_in_time() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(CoordinatorUnavailable, match=f"127.0.0.1:{port}"):
        await Connection.open(Address("127.0.0.1", port), timeout=0.5)
