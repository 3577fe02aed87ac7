"""holdfast: durable execution for Python. The public names; everything else may change.

Importing this connects nowhere. It brings what a module of steps and workflows needs to be defined, which is neither
gRPC nor asyncio: what starts or runs them is loaded when it is first used. pydantic comes with the first hint that is
not made of Python's own types.
"""

import importlib
from typing import TYPE_CHECKING, Any

from holdfast.authoring.apps import App, step, workflow
from holdfast.authoring.primitives import (
    current_run,
    note,
    now,
    on_signal,
    parallel,
    patched,
    publish,
    random,
    receive,
    shield,
    sleep,
    timeout,
    unguarded,
    uuid4,
    wait_until,
)
from holdfast.authoring.span import span
from holdfast.authoring.steps import Step
from holdfast.authoring.workflows import Workflow
from holdfast.backoff import constant, exponential, linear
from holdfast.definitions.context import Context
from holdfast.errors import (
    ArgumentsRejected,
    CodecMissing,
    CoordinatorUnavailable,
    DuplicateStepId,
    FatalError,
    HoldfastError,
    HookAlreadyReceived,
    HookExpired,
    HookNotFound,
    InvalidRequest,
    KeyNotPublished,
    LimitExceeded,
    NamespaceNotFound,
    NonDeterminism,
    NotAwaited,
    OriginalError,
    PayloadNotSerializable,
    PayloadTooLarge,
    PermissionDenied,
    RetryableError,
    RunAlreadyClosed,
    RunAlreadyStarted,
    RunCancelled,
    RunConflict,
    RunFailed,
    RunNotFound,
    RunNotRetryable,
    RunNotStalled,
    RunTimedOut,
    StepFailed,
    UnguardedCall,
    WorkflowNotRegistered,
)
from holdfast.statuses import RunStatus, StepStatus
from holdfast.workflow.current_run import RunInfo

if TYPE_CHECKING:
    from holdfast.authoring.child_runs import start_child
    from holdfast.authoring.continuing import continue_as_new
    from holdfast.authoring.facts import set_metadata
    from holdfast.authoring.hooks import Hook, hook
    from holdfast.authoring.inline_steps import inline
    from holdfast.authoring.sagas import Saga
    from holdfast.authoring.step_contexts import set_context
    from holdfast.client import Client, RunHandle, start
    from holdfast.graphs import Graph, InvalidGraph
    from holdfast.logs import configure_logging
    from holdfast.one_process import embedded
    from holdfast.pipelines import pipeline
    from holdfast.worker import Worker
    from holdfast.worker.lifecycle import Lifecycle, LifecycleEvent
    from holdfast.workflow.child_handles import ChildHandle

__all__ = [
    "App",
    "ArgumentsRejected",
    "ChildHandle",
    "Client",
    "CodecMissing",
    "Context",
    "CoordinatorUnavailable",
    "DuplicateStepId",
    "FatalError",
    "Graph",
    "HoldfastError",
    "Hook",
    "HookAlreadyReceived",
    "HookExpired",
    "HookNotFound",
    "InvalidGraph",
    "InvalidRequest",
    "KeyNotPublished",
    "Lifecycle",
    "LifecycleEvent",
    "LimitExceeded",
    "NamespaceNotFound",
    "NonDeterminism",
    "NotAwaited",
    "OriginalError",
    "PayloadNotSerializable",
    "PayloadTooLarge",
    "PermissionDenied",
    "RetryableError",
    "RunAlreadyClosed",
    "RunAlreadyStarted",
    "RunCancelled",
    "RunConflict",
    "RunFailed",
    "RunHandle",
    "RunInfo",
    "RunNotFound",
    "RunNotRetryable",
    "RunNotStalled",
    "RunStatus",
    "RunTimedOut",
    "Saga",
    "Step",
    "StepFailed",
    "StepStatus",
    "UnguardedCall",
    "Worker",
    "Workflow",
    "WorkflowNotRegistered",
    "configure_logging",
    "constant",
    "continue_as_new",
    "current_run",
    "embedded",
    "exponential",
    "hook",
    "inline",
    "linear",
    "note",
    "now",
    "on_signal",
    "parallel",
    "patched",
    "pipeline",
    "publish",
    "random",
    "receive",
    "set_context",
    "set_metadata",
    "shield",
    "sleep",
    "span",
    "start",
    "start_child",
    "step",
    "timeout",
    "unguarded",
    "uuid4",
    "wait_until",
    "workflow",
]

_LAZY = {
    "embedded": "holdfast.one_process",
    "start": "holdfast.client",
    "set_context": "holdfast.authoring.step_contexts",
    "set_metadata": "holdfast.authoring.facts",
    "start_child": "holdfast.authoring.child_runs",
    "continue_as_new": "holdfast.authoring.continuing",
    "ChildHandle": "holdfast.workflow.child_handles",
    "Client": "holdfast.client",
    "Graph": "holdfast.graphs",
    "InvalidGraph": "holdfast.graphs",
    "RunHandle": "holdfast.client",
    "Saga": "holdfast.authoring.sagas",
    "Lifecycle": "holdfast.worker.lifecycle",
    "LifecycleEvent": "holdfast.worker.lifecycle",
    "Worker": "holdfast.worker",
    "configure_logging": "holdfast.logs",
    "pipeline": "holdfast.pipelines",
    "Hook": "holdfast.authoring.hooks",
    "hook": "holdfast.authoring.hooks",
    "inline": "holdfast.authoring.inline_steps",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
