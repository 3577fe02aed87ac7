"""An append-only file of effects, outside of everything under test: each line is one execution that happened.

Written with O_APPEND and fsync, so that lines of many processes never mix and outlive a SIGKILL.
"""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

from tests.support.watching import until


def note(ledger: str, line: str) -> None:
    """Adds a line; it is on disk when this returns."""
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def may_go(ledger: str) -> bool:
    """True when the test has let the steps of this ledger go on."""
    return os.path.exists(ledger + ".go")


async def until_let_go(ledger: str) -> None:
    """Holds an async step until the test lets it go."""
    while not may_go(ledger):  # noqa: ASYNC110 - another process says so
        await asyncio.sleep(0.02)


def block_until_let_go(ledger: str) -> None:
    """Holds a plain step until the test lets it go."""
    while not may_go(ledger):
        time.sleep(0.02)


class Ledger:
    """The reader's side. `path` is given to steps."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._path = path

    @property
    def lines(self) -> list[str]:
        """All lines so far."""
        return self._path.read_text().splitlines() if self._path.exists() else []

    @property
    def counts(self) -> Counter[str]:
        """How often each line is there."""
        return Counter(self.lines)

    async def wait_for(self, line: str, count: int = 1, *, seconds: float = 30.0) -> None:
        """Returns when the line is there `count` times."""

        async def look() -> int:
            return self.counts[line]

        await until(look, lambda seen: seen >= count, seconds=seconds)

    def let_go(self) -> None:
        """Lets the steps go on that wait for it."""
        open(self.path + ".go", "w").close()
