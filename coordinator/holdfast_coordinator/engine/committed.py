"""What a transaction has committed: made once by the writer, for all that is made of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from holdfast_coordinator.domain.commands import CommitTransition, ReportAttempt
from holdfast_coordinator.domain.events import Event
from holdfast_coordinator.domain.rows import JournalRow, RunRow

Report = CommitTransition | ReportAttempt


@dataclass(slots=True)
class Committed:
    """Of one transaction, in the order of its commands.

    events: for the rest of the replica. reports: of workers, recorded now and not before. runs: the records of those
    that it made. rows: the journal rows of sampled runs, of each run in order; none where no spans are exported.
    """

    events: list[Event] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    runs: Sequence[RunRow] = ()
    rows: list[JournalRow] = field(default_factory=list)


OnCommit = Callable[[Committed], None]
