"""The types under which the code of this worker takes signals: what the coordinator gets of them, each once."""

from holdfast.channel.leases import SignalRegistration
from holdfast.hints.value_types import ValueType

NAMES_MAX = 1_000
"""Of one workflow. Code that makes up names as it goes has no end of them: those beyond take anything."""


class DeclaredSignals:
    """See the module. Nothing of a run depends on it."""

    def __init__(self) -> None:
        self._declared: dict[str, dict[tuple[str, str], None]] = {}
        self._new: list[SignalRegistration] = []

    def declare(self, workflow: str, name: str, type: ValueType) -> None:
        """The code of a run takes signals of this name as this type."""
        declared = self._declared.setdefault(workflow, {})
        key = (name, type.schema_text())
        if key not in declared and len(declared) < NAMES_MAX:
            declared[key] = None
            self._new.append(SignalRegistration(workflow, *key))

    @property
    def new(self) -> tuple[SignalRegistration, ...]:
        """Those that the coordinator has not been told, as many as go into one call."""
        return tuple(self._new[:NAMES_MAX])

    def told(self, signals: tuple[SignalRegistration, ...]) -> None:
        """The coordinator has these, or wants none of them."""
        del self._new[: len(signals)]

    def __bool__(self) -> bool:
        return bool(self._new)
