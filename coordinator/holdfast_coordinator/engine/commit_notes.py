"""What is noted of everything that is committed: log lines, metrics, and the rows that spans are made of."""

from collections.abc import Callable, Sequence

from holdfast_coordinator.domain.events import LeaseLost, ResumedRun, RunEnded, StalledRun
from holdfast_coordinator.domain.rows import JournalRow, RunRow

from .commit_metrics import CommitMetrics
from .committed import Committed
from .facts import Facts

OnJournal = Callable[[Sequence[JournalRow], Sequence[RunRow]], None]


class CommitNotes:
    """See the module. measures: None when metrics are off. on_journal: see Engine."""

    def __init__(self, facts: Facts, measures: CommitMetrics | None, on_journal: OnJournal | None) -> None:
        self._facts = facts
        self._measures = measures
        self._on_journal = on_journal

    def note(self, committed: Committed) -> None:
        """Log lines, metrics and spans of it."""
        measures = self._measures
        for event in committed.events:
            match event:
                case RunEnded(result):
                    self._facts.closed(result)
                    if measures is not None:
                        measures.closed(result)
                case LeaseLost():
                    self._facts.lost(event)
                    if measures is not None:
                        measures.lost(event)
                case StalledRun():
                    self._facts.stalled(event)
                case ResumedRun():
                    self._facts.resumed(event)
                case _:
                    pass
        if committed.rows and self._on_journal is not None:
            self._on_journal(committed.rows, committed.runs)
        if measures is not None:
            measures.committed(committed)
