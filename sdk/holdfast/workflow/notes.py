"""Notes that workflow code writes for people, into the history of its run and so into its trace.

A replay passes over them, so code may gain and lose notes between deployments.
"""

from typing import ClassVar

from holdfast.journal import Payload
from holdfast.limits import NOTE_MAX
from holdfast.workflow.commands import WriteNote
from holdfast.workflow.tasks import Part, number_of


class NoteMade:
    """The code has written a note. part: the named part of the code that it is in."""

    __slots__ = ("_facts", "_level", "_part", "_text", "is_unrecorded", "number")

    kind: ClassVar[str] = "note"

    def __init__(self, text: str, level: str, facts: Payload | None, part: Part | None) -> None:
        self._text = storable_note(text)
        self._level = level
        self._facts = facts
        self._part = part
        self.number = 0
        self.is_unrecorded = False

    def command(self) -> WriteNote:
        return WriteNote(self._text, self._level, self._facts, number_of(self._part))

    def describe(self) -> str:
        return f"wrote the note {self._text[:50]!r}"


def storable_note(text: str) -> str:
    """A text that can be stored, cut to NOTE_MAX."""
    return text[:NOTE_MAX].encode("utf-8", "replace").decode()
