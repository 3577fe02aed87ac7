"""Whether a run could take a signal: what its sender is answered before anything is written.

In doubt a signal is taken: its run sets aside what its code refuses.
"""

from collections.abc import Collection

from holdfast.errors import HoldfastError, InvalidRequest
from holdfast_coordinator.domain.rows import RunRow
from holdfast_coordinator.store.control_port import ControlStore

from .matcher import Matcher
from .signal_types import SignalTypes

PLAIN = frozenset({"", "json"})
NAMED_MAX = 20
"""How many encodings a sentence names."""


class SignalChecks:
    """See the module. types: what workers have registered."""

    def __init__(self, control: ControlStore, matcher: Matcher) -> None:
        self.types = SignalTypes(control)
        self._control = control
        self._matcher = matcher

    async def problem(self, run: RunRow, name: str, payload: bytes, encoding: str) -> HoldfastError | None:
        """Why the run could not take this signal; None where it may."""
        if encoding not in PLAIN:
            return await self.unread(run, encoding)
        return await self.types.problem(run.namespace, run.workflow, run.run_id, name, payload)

    async def unread(self, run: RunRow, encoding: str) -> HoldfastError | None:
        """Why no worker of the run would read a payload that is encoded like this.

        None where one reads it, where one does not say what it reads, and where there is none.
        """
        key = (run.namespace, run.queue)
        here = [
            one.encodings
            for one in self._matcher.sessions()
            if (one.namespace, one.queue) == key and run.workflow in one.workflows
        ]
        if any(_reads(names, encoding) for names in here):
            return None
        everywhere = [
            one.encodings
            for one in await self._control.sessions(run.namespace)
            if one.queue == run.queue and run.workflow in one.workflows
        ]
        if not everywhere or any(_reads(names, encoding) for names in everywhere):
            return None
        known = sorted({name for names in everywhere for name in names})
        shown = f"{', '.join(known[:NAMED_MAX])}{', ...' if len(known) > NAMED_MAX else ''}"
        return InvalidRequest(
            "signal.payload",
            f"is encoded as {encoding}, and the workers of queue {run.queue!r} that run {run.workflow} read {shown}; "
            "give them the codec or the key before those who send",
        )


def _reads(names: Collection[str], encoding: str) -> bool:
    """Whether somebody who reads these encodings, or who does not say, reads this one."""
    return not names or all(part in names or part.partition("/")[0] in names for part in encoding.split("+"))
