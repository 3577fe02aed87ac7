"""The journal of a run as its readers see it: numbered, typed, gap-free."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import overload

from holdfast.client.notebooks import html_table
from holdfast.journal import Arguments, Entry


@dataclass(slots=True, frozen=True)
class HistoryEntry:
    """One entry. `number` counts from 1 without gaps; `epoch` is 0 for what the coordinator wrote."""

    number: int
    epoch: int
    entry: Entry

    @property
    def type(self) -> str:
        """The kind of entry: "RunStarted", "StepScheduled", ..."""
        return type(self.entry).__name__

    @property
    def at(self) -> datetime:
        """When it happened, by the writer's estimate of the database's clock."""
        return self.entry.at


@dataclass(slots=True, frozen=True)
class History(Sequence[HistoryEntry]):
    """All entries of a run at one moment, and what it was called with (still encoded)."""

    run_id: str
    arguments: Arguments
    entries: tuple[HistoryEntry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> HistoryEntry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[HistoryEntry]: ...
    def __getitem__(self, index: int | slice) -> HistoryEntry | Sequence[HistoryEntry]:
        return self.entries[index]

    def __iter__(self) -> Iterator[HistoryEntry]:
        return iter(self.entries)

    def _repr_html_(self) -> str:
        rows = [(one.number, one.type, getattr(one.entry, "name", None), one.at) for one in self.entries]
        return html_table(("entry", "type", "name", "at"), rows)
