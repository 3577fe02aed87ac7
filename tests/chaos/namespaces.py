"""Network namespaces for workers, where root: a cable that can be pulled, and one that loses one direction only.

A proxy cannot do that: it ends a connection, or it acknowledges what it does not pass on. Here packets are gone, and
the kernels on both sides find out for themselves.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

NETWORK = "10.213"
"""The first two bytes of all addresses; the third is of this process, so that runs beside each other do not meet."""
NOWHERE = "02:00:00:00:00:99"
"""A hardware address that nobody has."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace with one cable to the bridge. outside: the end of the cable at the bridge."""

    name: str
    address: str
    outside: str

    @property
    def prefix(self) -> Sequence[str]:
        """What a command begins with to run inside; its process id stays the same."""
        return ("ip", "netns", "exec", self.name)

    @property
    def repeated_segments(self) -> int:
        """How many TCP segments were sent again by what runs inside: nobody had acknowledged them."""
        text = subprocess.run(
            [*self.prefix, "cat", "/proc/net/snmp"], capture_output=True, text=True, check=True
        ).stdout
        names, values = (line.split() for line in text.splitlines() if line.startswith("Tcp:"))
        return int(dict(zip(names, values, strict=True))["RetransSegs"])


class Bridge:
    """The bridge between the namespaces and the proxies."""

    def __init__(self) -> None:
        self._name = f"hf{os.getpid() % 100_000}"
        self._subnet = f"{NETWORK}.{os.getpid() % 200 + 20}"
        self._namespaces: list[Namespace] = []

    @staticmethod
    def is_possible() -> bool:
        """Whether namespaces can be made here: root, iproute2, and a kernel that lets us."""
        if os.geteuid() != 0 or shutil.which("ip") is None:
            return False
        probe = f"hf-probe-{os.getpid()}"
        if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode != 0:
            return False
        _ip("netns", "del", probe)
        return True

    @property
    def host(self) -> str:
        """The address of this side."""
        return f"{self._subnet}.1"

    def proxy_host(self, number: int) -> str:
        """Another address of this side, for a proxy."""
        return f"{self._subnet}.{number + 2}"

    def start(self, *, proxies: int) -> None:
        """Makes the bridge with its addresses."""
        _ip("link", "add", self._name, "type", "bridge")
        for host in (self.host, *map(self.proxy_host, range(proxies))):
            _ip("address", "add", f"{host}/24", "dev", self._name)
        _ip("link", "set", self._name, "up")

    def add(self, number: int) -> Namespace:
        """A namespace with a cable to the bridge."""
        name = f"{self._name}-{number}"
        made = Namespace(name, f"{self._subnet}.{number + 100}", f"{name}o")
        _ip("netns", "add", name)
        self._namespaces.append(made)
        _ip("link", "add", made.outside, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", made.outside, "master", self._name, "up")
        for link in ("lo", "eth0"):
            _ip("-n", name, "link", "set", link, "up")
        _ip("-n", name, "address", "add", f"{made.address}/24", "dev", "eth0")
        return made

    def stop(self) -> None:
        """Takes everything down."""
        for namespace in self._namespaces:
            subprocess.run(["ip", "link", "del", namespace.outside], capture_output=True, check=False)
            subprocess.run(["ip", "netns", "del", namespace.name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self._name], capture_output=True, check=False)

    def pull(self, namespace: Namespace) -> None:
        """Nothing passes in either direction."""
        _ip("link", "set", namespace.outside, "down")

    def plug(self, namespace: Namespace) -> None:
        """All passes again, whatever was lost before."""
        _ip("link", "set", namespace.outside, "up")
        _ip("-n", namespace.name, "neigh", "flush", "dev", "eth0", "nud", "permanent")
        subprocess.run(["ip", "neigh", "del", namespace.address, "dev", self._name], capture_output=True, check=False)

    def lose_what_it_sends(self, namespace: Namespace, hosts: Sequence[str]) -> None:
        """What comes from inside is addressed to nobody."""
        for host in hosts:
            _ip("-n", namespace.name, "neigh", "replace", host, "lladdr", NOWHERE, "dev", "eth0", "nud", "permanent")

    def lose_what_it_is_sent(self, namespace: Namespace) -> None:
        """What goes inside is addressed to nobody."""
        _ip("neigh", "replace", namespace.address, "lladdr", NOWHERE, "dev", self._name, "nud", "permanent")


@contextmanager
def bridged(proxies: int) -> Iterator[Bridge]:
    """A bridge with an address for each proxy; nothing of it stays behind."""
    bridge = Bridge()
    try:
        bridge.start(proxies=proxies)
        yield bridge
    finally:
        bridge.stop()


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
