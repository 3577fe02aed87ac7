"""Which workflows workers have registered, and whether the arguments of a start fit one of them.

A name is refused as unknown only when sessions serve the queue and it was never registered in the namespace:
a worker that starts later must still find the run.
"""

import asyncio
import difflib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from holdfast.errors import ArgumentsRejected, WorkflowNotRegistered
from holdfast_coordinator.domain.hashed_calls import Signature
from holdfast_coordinator.store.control_port import ControlStore

from .argument_types import check_types
from .matcher import Matcher

SIGNATURES_MAX = 8
"""How many signatures of one workflow count. Several do during a deploy, when workers of two releases serve it."""


class Registry:
    """See the module. What other replicas register is read every second, and again before anything is refused."""

    def __init__(self, control: ControlStore, matcher: Matcher) -> None:
        self._control = control
        self._matcher = matcher
        self._known: dict[str, dict[str, list[Signature]]] = {}
        self._seen_until: datetime | None = None
        self._looked_at = 0.0
        self._reading = asyncio.Lock()

    def registered(self, namespace: str, workflows: Mapping[str, Signature]) -> None:
        """A session has registered these."""
        known = self._known.setdefault(namespace, {})
        for name, signature in workflows.items():
            others = [one for one in known.get(name, ()) if one != signature]
            known[name] = [signature, *others][:SIGNATURES_MAX]

    def known(self, namespace: str, workflow: str) -> Sequence[Signature]:
        """The signatures of a workflow that are known here, newest first."""
        return self._known.get(namespace, {}).get(workflow, ())

    async def signatures(self, namespace: str, queue: str, workflow: str) -> Sequence[Signature]:
        """The signatures of a workflow, newest first; none when no worker has come. Raises WorkflowNotRegistered."""
        if found := self.known(namespace, workflow):
            return found
        # In this order: what serves the queue by now has registered its workflows before.
        is_served = await self._is_served(namespace, queue)
        await self.refresh()
        found = self.known(namespace, workflow)
        if not found and is_served:
            nearest = difflib.get_close_matches(workflow, self._known.get(namespace, {}), n=1)
            raise WorkflowNotRegistered(workflow, namespace=namespace, suggestion=nearest[0] if nearest else "")
        return found

    async def _is_served(self, namespace: str, queue: str) -> bool:
        """Whether a session serves the queue, at whichever replica."""
        if self._matcher.serves((namespace, queue)):
            return True
        return any(session.queue == queue for session in await self._control.sessions(namespace))

    async def refresh(self) -> None:
        """Reads what was registered since the last look, through whichever replica.

        Callers that come while one reads share the next look: none refuses what was registered before it asked.
        """
        asked_at = time.monotonic()
        async with self._reading:
            if self._looked_at > asked_at:
                return
            looked_at = time.monotonic()
            for row in await self._control.registered_since(self._seen_until):
                if row.signature not in self.known(row.namespace, row.name):
                    self.registered(row.namespace, {row.name: row.signature})
                self._seen_until = max(self._seen_until or row.registered_at, row.registered_at)
            self._looked_at = looked_at


def fitting_signature(
    workflow: str,
    signatures: Sequence[Signature],
    positional: Sequence[bytes | None],
    named: Mapping[str, bytes | None],
) -> Signature | None:
    """The newest signature that arguments fit, by number, names and types; None when none is known.

    positional, named: each argument as JSON, None when it is encoded in another way. Raises ArgumentsRejected as `bind`
    and `check_types` do.
    """
    refusal: ArgumentsRejected | None = None
    for signature in signatures:
        try:
            names = bind(workflow, signature, len(positional), list(named))
            check_types(workflow, signature, [*zip(names, positional, strict=True), *named.items()])
        except ArgumentsRejected as error:
            refusal = refusal or error
        else:
            return signature
    if refusal is not None:
        raise refusal
    return None


def bind(workflow: str, signature: Signature | None, positional: int, named: Sequence[str]) -> list[str]:
    """The parameter of each positional argument, in order. Raises ArgumentsRejected naming what does not fit.

    Without a signature, or beyond it, a position has no name and is called by its number.
    """
    if signature is None:
        return [f"#{place}" for place in range(positional)]
    parameters = signature["parameters"]
    takes_position = [one["name"] for one in parameters if one["kind"] != "named_only"]
    if positional > len(takes_position) and not signature["extra_positional"]:
        text = f"is one too many: the workflow takes {len(takes_position)} positional argument(s)"
        raise ArgumentsRejected(workflow, parameter=f"#{len(takes_position)}", reason=text)
    bound = takes_position[:positional]
    for name in named:
        if name in bound:
            raise ArgumentsRejected(workflow, parameter=name, reason="is given twice, by position and by name")
    by_name = {one["name"] for one in parameters if one["kind"] != "positional_only"}
    for name in named:
        if name not in by_name and not signature["extra_named"]:
            nearest = difflib.get_close_matches(name, by_name, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ArgumentsRejected(workflow, parameter=name, reason=f"is not a parameter of the workflow{hint}")
    given = {*bound, *named}
    for one in parameters:
        if one["required"] and one["name"] not in given:
            raise ArgumentsRejected(workflow, parameter=one["name"], reason="is missing")
    return [*bound, *(f"#{place}" for place in range(len(bound), positional))]
