"""A run as it is on record: what replaying it needs, from wherever it came."""

from typing import TYPE_CHECKING, Any

from holdfast.journal import Arguments, Entry
from holdfast.record import record
from holdfast.workflow.current_run import RunInfo

if TYPE_CHECKING:
    from holdfast.client import RunHandle


@record
class StoredRun:
    """info: what its code can read of it. source: where it was read, for messages; "" where it has no name."""

    info: RunInfo
    arguments: Arguments
    entries: tuple[Entry, ...]
    source: str = ""


async def stored_run(handle: "RunHandle[Any]", *, namespace: str = "default") -> StoredRun:
    """A run of a coordinator, as it is stored there now. Raises RunNotFound."""
    return (await stored_with_epochs(handle, namespace=namespace))[0]


async def stored_with_epochs(
    handle: "RunHandle[Any]", *, namespace: str = "default"
) -> tuple[StoredRun, dict[int, int]]:
    """The same, and the epochs of its entries by their numbers."""
    described = await handle.describe()
    history = await handle.history()
    info = RunInfo(
        run_id=described.run_id,
        workflow=described.workflow,
        id=described.id or "",
        queue=described.queue,
        namespace=namespace,
        parent_run_id=described.parent_run_id or "",
        created_at=described.created_at,
        metadata=described.metadata,
    )
    stored = StoredRun(info, history.arguments, tuple(one.entry for one in history))
    return stored, {one.number: one.epoch for one in history}
