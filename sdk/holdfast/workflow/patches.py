"""Changes of workflow code under open runs: which of them a run has, decided once when its code first asks.

A run that was there before the change, and so is replayed over the place where it would be asked, goes the old way to
its end. It never decides for a place that the journal has decided.
"""

from typing import ClassVar

from holdfast.workflow.commands import MarkPatched
from holdfast.workflow.ledger import Ledger


class PatchMark:
    """The code has asked for a change that the run has from here on."""

    __slots__ = ("change_id", "is_unrecorded", "number")

    kind: ClassVar[str] = "patch"

    def __init__(self, change_id: str) -> None:
        self.change_id = change_id
        self.number = 0
        self.is_unrecorded = False

    def command(self) -> MarkPatched:
        return MarkPatched(self.change_id)

    def describe(self) -> str:
        return f"asked for the change {self.change_id}"


class Patches:
    """The changes of one run.

    journal_length: of the journal that is replayed. read: how much of it is known. decided_at: the last place in that
    before which the code did what is recorded.
    """

    __slots__ = ("_answers", "_foreseen", "_ledger", "_marks", "decided_at", "journal_length", "read")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._answers: dict[str, bool] = {}
        self._foreseen: set[str] = set()
        self._marks: dict[str, PatchMark] = {}
        self.decided_at = 0
        self.journal_length = 0
        self.read = 0

    def foresee(self, change_id: str) -> None:
        """The journal says further on that the run has this change."""
        self._foreseen.add(change_id)

    def has(self, change_id: str) -> bool:
        """The answer, the same one whenever the code asks."""
        answer = self._answers.get(change_id)
        if answer is None:
            answer = self._answers[change_id] = change_id in self._foreseen or self.does_new_things
            if answer:
                mark = self._marks[change_id] = PatchMark(change_id)
                self._ledger.ask(mark)
        return answer

    @property
    def does_new_things(self) -> bool:
        """True where nothing in the journal says what the code did here."""
        return self._ledger.position >= self.decided_at and self.read >= self.journal_length

    def recorded(self, change_id: str) -> None:
        """The journal says that the run has this change. Code that does not ask for it any more may go on."""
        self._answers[change_id] = True
        mark = self._marks.pop(change_id, None)
        if mark is not None:
            self._ledger.matched(mark)
