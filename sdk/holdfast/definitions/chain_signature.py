"""The signature of functions that run one after the other: what the first one takes, and what the last one gives."""

from dataclasses import replace

from holdfast.definitions.signatures import CallSignature, _Resolved


class ChainSignature(CallSignature):
    """What is unknown yet of one of the functions is unknown of the whole too."""

    __slots__ = ("_first", "_last")

    def __init__(self, first: CallSignature, last: CallSignature) -> None:
        super().__init__(first._function, first._signature)
        self._first = first
        self._last = last

    def is_known(self) -> bool:
        return self._first.is_known() and self._last.is_known()

    def _resolved(self) -> _Resolved:
        if self._now is None:
            self._now = replace(self._first._resolved(), result=self._last.result)
        return self._now
