"""A run as it is on record: what replaying it needs, from wherever it came."""

from holdfast.journal import Arguments, Entry
from holdfast.record import record
from holdfast.workflow.current_run import RunInfo


@record
class StoredRun:
    """info: what its code can read of it. source: where it was read, for messages; "" where it has no name."""

    info: RunInfo
    arguments: Arguments
    entries: tuple[Entry, ...]
    source: str = ""
