"""`assert_replays`: a history of a run, from wherever it came, against the code of today."""

from pathlib import Path
from typing import Any

from holdfast.authoring.apps import all_apps
from holdfast.authoring.workflows import Workflow
from holdfast.codec import Codec
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.errors import HoldfastError
from holdfast.graphs.problems import nearest
from holdfast.journal import RunStarted
from holdfast.replay.files import read_histories
from holdfast.replay.replaying import HistoryReplay
from holdfast.replay.stored import StoredRun
from holdfast.workflow.current_run import RunInfo


def assert_replays(history: Any, workflow: Workflow[..., Any] | None = None) -> None:
    """The code of today does what the history records, so that a run that is open there could go on with it.

    history: a run of `run_local` or of an `Environment`, what `RunHandle.history()` gives, or the path of a file that
    `holdfast runs history RUN --output json` has written. workflow: whose code; by default, of the defined one of that
    name.
    Raises ReplayMismatch, an AssertionError, which names the entry, what it records, what the code did, and where.
    """
    for stored in _stored(history):
        if workflow is not None:
            definition = workflow.registered
        else:
            definition = getattr(history, "definition", None) or _defined(stored.info.workflow)
        with HistoryReplay(stored, definition, codec=Codec()) as replay:
            replay.feed()


def _stored(history: Any) -> list[StoredRun]:
    from holdfast.client import History

    match history:
        case StoredRun():
            return [history]
        case str() | Path():
            return read_histories(Path(history))
        case History():
            entries = tuple(one.entry for one in history)
            started = entries[0] if entries else None
            if not isinstance(started, RunStarted):
                raise HoldfastError(f"assert_replays: the history of run {history.run_id} is empty")
            return [StoredRun(RunInfo(history.run_id, started.workflow), history.arguments, entries)]
    if hasattr(history, "info") and hasattr(history, "arguments") and hasattr(history, "history"):
        return [StoredRun(history.info, history.arguments, tuple(history.history))]
    raise TypeError(f"assert_replays takes a run of a test, a History or the path of a file, not {history!r}")


def _defined(name: str) -> WorkflowDefinition:
    found = [workflow for app in all_apps() for key, workflow in app.workflows.items() if key == name]
    if not found:
        known = {key for app in all_apps() for key in app.workflows}
        raise HoldfastError(f"assert_replays: no workflow is called {name!r}; import its module.{nearest(name, known)}")
    if len(found) > 1:
        apps = ", ".join(repr(one.app) for one in found)
        raise HoldfastError(
            f"assert_replays: the apps {apps} have a workflow {name!r}; say which one with workflow=..."
        )
    return found[0]
