"""What a peer is: how it is installed, the ways in which it can run, and how it is started in one of them."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from .cases import Load
from .engines import Engine
from .install import Installed, Parts


class Start(Protocol):
    """Starts a peer, empty, for as long as the block runs. Raises PeerFailed."""

    def __call__(self, installed: Installed) -> AbstractAsyncContextManager[Engine]: ...


@dataclass(slots=True, frozen=True)
class Peer:
    """ways: by the words that tell them apart; the fastest of each case is measured. cases: None for all."""

    name: str
    title: str
    parts: Parts
    load: Load
    ways: Mapping[str, Start]
    cases: frozenset[str] | None = None
