"""Which types of signals workers have registered: what the code of a workflow takes under a name, as far as it is data.

Several types of one name count beside each other: of two releases, or of two places in the code. A payload is refused
only where none of them accepts it, and a name of which nothing is registered takes anything.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache

from holdfast.errors import ArgumentsRejected, HoldfastError
from holdfast.hints.schemas import PortableType
from holdfast_coordinator.store.control_port import ControlStore

CHECKED_BYTES_MAX = 16_384
"""Larger payloads are left to the worker: reading them takes the time of everybody else's calls."""
TYPES_CACHED = 1_024
TYPES_MAX = 50
"""Of one name in one workflow. Where there are more they are made anew all the time, and say nothing."""
NAMES_MAX = 1_000
"""Of one workflow. Names beyond that, which its code makes up as it goes, take anything."""

ANYTHING = ""
"""The type of a place that takes whatever comes."""


class SignalTypes:
    """See the module. What other replicas register is read before a signal is judged."""

    def __init__(self, control: ControlStore) -> None:
        self._control = control
        self._known: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._seen_until: datetime | None = None
        self._looked_at = 0.0
        self._reading = asyncio.Lock()

    async def register(self, namespace: str, signals: Iterable[tuple[str, str, str]]) -> None:
        """Remembers that workers take these: workflow, name of the signal and type. It is durable when this returns.

        Raises LockTimeout.
        """
        wanted = list(dict.fromkeys(signals))
        if any(not self._is_known(namespace, *one) for one in wanted):
            await self.refresh()
        if new := [one for one in wanted if not self._is_known(namespace, *one) and self._has_room(namespace, *one)]:
            await self._control.register_signals(namespace, new)
            for workflow, name, type in new:
                self._add(namespace, workflow, name, type)

    async def problem(self, namespace: str, workflow: str, run_id: str, name: str, data: bytes) -> HoldfastError | None:
        """Why no code of this workflow takes this JSON under this name; None where some does, or may."""
        await self.refresh()
        return self.known_problem(namespace, workflow, run_id, name, data)

    def known_problem(
        self, namespace: str, workflow: str, run_id: str, name: str, data: bytes, *, what: str = ""
    ) -> HoldfastError | None:
        """The same by what is in memory. what: is sent, in words; else the signal."""
        types = self._known.get((namespace, workflow), {}).get(name, ())
        if not types or ANYTHING in types or len(types) >= TYPES_MAX or len(data) > CHECKED_BYTES_MAX:
            return None
        found = [(one, one.problem(data)) for one in map(type_of_text, types) if one is not None]
        if len(found) < len(types) or any(problem is None for _, problem in found):
            return None
        _, problem = found[-1]  # of the newest code
        assert problem is not None, types
        accepted = " or ".join(dict.fromkeys(one.words for one, _ in reversed(found)))
        where, why = problem
        return ArgumentsRejected(
            what or f"signal {name!r} of run {run_id}",
            parameter=where or "payload",
            reason=f"does not fit: {why}; accepted is {accepted}",
        )

    async def refresh(self) -> None:
        """Reads what was registered since the last look, through whichever replica.

        Callers that come while one reads share the next look: none misses what was registered before it asked.
        """
        asked_at = time.monotonic()
        async with self._reading:
            if self._looked_at > asked_at:
                return
            looked_at = time.monotonic()
            for row in await self._control.signals_since(self._seen_until):
                if not self._is_known(row.namespace, row.workflow, row.name, row.type):
                    self._add(row.namespace, row.workflow, row.name, row.type)
                self._seen_until = max(self._seen_until or row.registered_at, row.registered_at)
            self._looked_at = looked_at

    def _is_known(self, namespace: str, workflow: str, name: str, type: str) -> bool:
        return type in self._known.get((namespace, workflow), {}).get(name, ())

    def _has_room(self, namespace: str, workflow: str, name: str, type: str) -> bool:
        names = self._known.get((namespace, workflow), {})
        types: Sequence[str] = names.get(name, ())
        return len(types) < TYPES_MAX if types else len(names) < NAMES_MAX

    def _add(self, namespace: str, workflow: str, name: str, type: str) -> None:
        self._known.setdefault((namespace, workflow), {}).setdefault(name, []).append(type)


@lru_cache(maxsize=TYPES_CACHED)
def type_of_text(text: str) -> PortableType | None:
    """The type that a worker has registered; None where this release cannot read it: the worker reads the payload."""
    try:
        return PortableType(text)
    except ValueError:
        return None
