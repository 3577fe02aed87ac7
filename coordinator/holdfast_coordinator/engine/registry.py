"""Which workflows workers have registered, and whether the arguments of a start fit one of them.

A name is refused as unknown only when sessions serve the queue and it was never registered in the namespace:
a worker that starts later must still find the run.
"""

import asyncio
import difflib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.errors import ArgumentsRejected, WorkflowNotRegistered
from holdfast_coordinator.store.port import ControlStore

from .matcher import Matcher

REFRESH_SECONDS = 1.0

Signature = Mapping[str, Any]
"""{"parameters": [{"name", "required", "kind"}], "extra_positional": bool, "extra_named": bool}; kind is
"either", "positional_only" or "named_only"."""


class Registry:
    """See the module. Signatures are kept in memory and read again when a name is missing."""

    def __init__(self, control: ControlStore, matcher: Matcher) -> None:
        self._control = control
        self._matcher = matcher
        self._known: dict[str, dict[str, Signature]] = {}
        self._read_at: dict[str, float] = {}
        self._reading = asyncio.Lock()

    def registered(self, namespace: str, workflows: Mapping[str, Signature]) -> None:
        """A session has registered these."""
        self._known.setdefault(namespace, {}).update(workflows)

    async def signature(self, namespace: str, queue: str, workflow: str) -> Signature | None:
        """The signature of a workflow, or None when no worker has come yet. Raises WorkflowNotRegistered."""
        found = self._known.get(namespace, {}).get(workflow)
        if found is not None:
            return found
        # One reads and the others wait for it: none may say that a name is unknown before it was looked up.
        async with self._reading:
            known = self._known.setdefault(namespace, {})
            if time.monotonic() - self._read_at.get(namespace, -REFRESH_SECONDS) >= REFRESH_SECONDS:
                known.update(await self._control.known_workflows(namespace))
                self._read_at[namespace] = time.monotonic()
            found = known.get(workflow)
        if found is None and self._matcher.serves((namespace, queue)):
            nearest = difflib.get_close_matches(workflow, known, n=1)
            raise WorkflowNotRegistered(workflow, namespace=namespace, suggestion=nearest[0] if nearest else "")
        return found


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
