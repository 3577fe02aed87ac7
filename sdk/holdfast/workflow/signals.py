"""Signals that arrived and code that waits for them, per name, both in order.

A signal that nobody waits for is kept; it goes to the next who asks for its name. It never drops one.
"""

from collections import deque
from datetime import datetime

from holdfast.codec import Codec
from holdfast.errors import HoldfastError
from holdfast.journal import Payload, Signal
from holdfast.workflow.calls import ReceiveCall


class SignalInbox:
    """The signals of one run. waiting: receivers that wait, by name of the signal."""

    __slots__ = ("_arrived", "_codec", "waiting")

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._arrived: dict[str, deque[Payload | None]] = {}
        self.waiting: dict[str, deque[ReceiveCall]] = {}

    def arrive(self, signal: Signal) -> None:
        """Give the signal to the first who waits for its name, or keep it."""
        waiting = self.waiting.get(signal.name)
        if waiting:
            receiver = waiting[0]
            receiver.stop_waiting()
            self._hand_over(receiver, signal.payload)
        else:
            self._arrived.setdefault(signal.name, deque()).append(signal.payload)

    def receive(self, receiver: ReceiveCall) -> bool:
        """Give the receiver the oldest signal of its name and return True, or let it wait."""
        arrived = self._arrived.get(receiver.name)
        if not arrived:
            self.waiting.setdefault(receiver.name, deque()).append(receiver)
            return False
        self._hand_over(receiver, arrived.popleft())
        return True

    def awaited_since(self, name: str) -> datetime | None:
        """Since when somebody waits without a limit for the next signal of this name; None when nobody does."""
        waiting = self.waiting.get(name)
        return waiting[0].since if waiting and waiting[0].timer is None else None

    def forget(self, call: ReceiveCall) -> None:
        """The receiver no longer waits."""
        waiting = self.waiting[call.name]
        waiting.remove(call)
        if not waiting:
            del self.waiting[call.name]

    def _hand_over(self, receiver: ReceiveCall, payload: Payload | None) -> None:
        if payload is None:
            receiver.set_result(None)
            return
        try:
            value = self._codec.decode(payload, receiver.type_hint, what=f"the payload of signal {receiver.name!r}")
        except HoldfastError as error:
            receiver.set_exception(error)
            receiver._log_traceback = False
        else:
            receiver.set_result(value)
