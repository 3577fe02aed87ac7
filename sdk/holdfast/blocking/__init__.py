"""holdfast for code without asyncio: a client and a worker whose calls return when they are done, and plain workflows.

What workflow code uses is the same as in `holdfast`, under the same names. Here type checkers are told that it is
called by plain `def` code, which gets results and awaits nothing.

Importing this connects nowhere, and loads neither gRPC nor asyncio.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.authoring.blocking_shapes import (
        inline,
        parallel,
        receive,
        shield,
        sleep,
        step,
        wait_until,
        workflow,
    )
    from holdfast.blocking.background import CalledInEventLoop, ClientClosed
    from holdfast.blocking.client import Client, RunHandle, default_client, run, start
    from holdfast.blocking.one_process import embedded
    from holdfast.blocking.worker import Worker
else:
    from holdfast.authoring.apps import step, workflow
    from holdfast.authoring.primitives import parallel, receive, shield, sleep, wait_until

__all__ = [
    "CalledInEventLoop",
    "Client",
    "ClientClosed",
    "RunHandle",
    "Worker",
    "default_client",
    "embedded",
    "inline",
    "parallel",
    "receive",
    "run",
    "shield",
    "sleep",
    "start",
    "step",
    "wait_until",
    "workflow",
]

_LAZY = {
    "CalledInEventLoop": "holdfast.blocking.background",
    "ClientClosed": "holdfast.blocking.background",
    "Client": "holdfast.blocking.client",
    "RunHandle": "holdfast.blocking.client",
    "Worker": "holdfast.blocking.worker",
    "default_client": "holdfast.blocking.client",
    "embedded": "holdfast.blocking.one_process",
    "inline": "holdfast.authoring.inline_steps",
    "run": "holdfast.blocking.client",
    "start": "holdfast.blocking.client",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'holdfast.blocking' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
