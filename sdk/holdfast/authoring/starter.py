"""How `workflow.start(...)`, and a call outside a run, reach a client, without authoring knowing the client.

The client package calls `set_default_starter` when it is imported. Nothing connects before the first start. What was
made the default client of an event loop gets the calls there, too.
"""

import importlib
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from holdfast.definitions.definitions import WorkflowDefinition

if TYPE_CHECKING:  # a module that defines workflows needs no asyncio
    from asyncio import AbstractEventLoop

OnConflict = Literal["attach", "reject", "terminate"]
Reuse = Literal["attach", "new", "retry_failed"]
TraceRelation = Literal["link", "join"]
OnClose = Literal["cancel", "abandon", "terminate"]


@dataclass(slots=True, frozen=True)
class StartOptions:
    """What one start says; None and "" mean: as the workflow is defined, else as the coordinator does.

    id: the business id, where the start gives one; else the template of the workflow makes it.
    delay: a span, or an aware UTC instant. trace: what the run's trace has to do with the caller's. sampled: None
    leaves it to the coordinator's ratio, or to the caller's decision when the run joins its trace. on_close: what
    happens to a child when its parent closes; None for a run that is no child.
    """

    id: str = ""
    idempotency_key: str = ""
    queue: str = ""
    priority: int | None = None
    delay: timedelta | datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    on_conflict: OnConflict = "attach"
    reuse: Reuse = "attach"
    max_duration: timedelta | None = None
    trace: TraceRelation = "link"
    sampled: bool | None = None
    on_close: OnClose | None = None


Starter = Callable[[WorkflowDefinition, tuple[Any, ...], dict[str, Any], StartOptions], Awaitable[Any]]
"""Starts a run and gives its RunHandle once the start is committed."""

Caller = Callable[[WorkflowDefinition, tuple[Any, ...], dict[str, Any]], Coroutine[Any, Any, Any]]
"""Runs a workflow durably and gives its result."""

_CLIENT_PACKAGE = "holdfast.client"

_default_starter: Starter | None = None


def set_default_starter(starter: Starter | None) -> None:
    """Called by the client package: what starts runs where no client is named."""
    global _default_starter
    _default_starter = starter


def default_starter() -> Starter:
    """The starter of the default client. Imports the client package, which sets it, at first use."""
    if _default_starter is None:
        importlib.import_module(_CLIENT_PACKAGE)
    if _default_starter is None:
        raise RuntimeError("no default client is set; start with `await client.start(workflow, ...)` instead")
    return _default_starter


callers: "dict[AbstractEventLoop, Caller]" = {}
"""By event loop: what calls of workflows become there, set by `Client.as_default`."""


def caller_here() -> Caller | None:
    """What a call of a workflow becomes in the running event loop; None where no client was made its default."""
    return callers.get(_running_loop()) if callers else None


def has_running_loop() -> bool:
    """Whether an event loop runs in this thread: then calls give something to await."""
    return _running_loop() is not None


def _running_loop() -> Any:
    # Not imported: without asyncio no loop runs.
    events: Any = sys.modules.get("asyncio.events")
    return getattr(events, "_get_running_loop", _no_loop)()


def _no_loop() -> None:
    """Stands for asyncio's, also while another thread imports asyncio."""


BlockingCaller = Callable[[WorkflowDefinition, tuple[Any, ...], dict[str, Any]], Any]
"""Runs a workflow durably and gives its result, where no event loop runs."""

_blocking_caller: BlockingCaller | None = None


def set_blocking_caller(caller: BlockingCaller | None) -> None:
    """Called by `holdfast.blocking`: what calls of plain `def` workflows become where no event loop runs."""
    global _blocking_caller
    _blocking_caller = caller


def blocking_caller() -> BlockingCaller | None:
    """What `set_blocking_caller` was given last."""
    return _blocking_caller
