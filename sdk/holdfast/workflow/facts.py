"""Facts that workflow code sets about its run, for filters and people."""

from typing import ClassVar

from holdfast.workflow.commands import SetMetadata


class FactSet:
    """The code has set a fact."""

    __slots__ = ("is_unrecorded", "key", "number", "value")

    kind: ClassVar[str] = "metadata"

    def __init__(self, key: str, value: str) -> None:
        self.key = key
        self.value = value
        self.number = 0
        self.is_unrecorded = False

    def command(self) -> SetMetadata:
        return SetMetadata(self.key, self.value)

    def describe(self) -> str:
        return f"set the metadata {self.key}={self.value[:50]}"
