"""Values of a run that its code lets anybody read, by key. Each is a decision of the code: a replay meets it again."""

from typing import ClassVar

from holdfast.journal import Payload
from holdfast.workflow.commands import PublishValue


class Publication:
    """The code has published a value under a key."""

    __slots__ = ("_value", "is_unrecorded", "key", "number")

    kind: ClassVar[str] = "publish"

    def __init__(self, key: str, value: Payload) -> None:
        self.key = key
        self._value = value
        self.number = 0
        self.is_unrecorded = False

    def command(self) -> PublishValue:
        return PublishValue(self.key, self._value)

    def describe(self) -> str:
        return f"published {self.key!r}"
