"""Signals that arrived and code that waits for them, per name, both in order.

A signal that is not waited for is kept; it goes to the next who asks for its name. One that does not fit the type that
is asked for is set aside, which the journal records; whoever asked waits for the next. A signal never ends a run.
"""

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from holdfast.hints.refusals import problem_of
from holdfast.journal import Payload, Signal, SignalSetAside
from holdfast.limits import PROBLEM_MAX
from holdfast.workflow.calls import Misfit, ReceiveCall
from holdfast.workflow.ledger import Ledger

_NOTHING = Payload(b"null")


class SignalInbox:
    """The signals of one run. waiting: receivers that wait, by name of the signal."""

    __slots__ = ("_arrived", "_ledger", "_read", "_set_aside", "waiting")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._arrived: dict[str, deque[tuple[int, Payload]]] = {}
        self._set_aside: set[int] = set()
        self._read: tuple[Payload, ReceiveCall, Any] | None = None
        self.waiting: dict[str, deque[ReceiveCall]] = {}

    def foresee(self, numbers: Iterable[int]) -> None:
        """The journal says further on that these signals were set aside, whatever the code asks for by now."""
        self._set_aside.update(numbers)

    def arrive(self, number: int, signal: Signal) -> None:
        """Give the signal to the first who waits for its name and whom it fits, or keep it. number: of its mail."""
        payload = signal.payload or _NOTHING
        waiting = self.waiting.get(signal.name)
        if not waiting:
            self._arrived.setdefault(signal.name, deque()).append((number, payload))
            return
        problem = ""
        for receiver in list(waiting):
            problem = self._problem(receiver, number, payload)
            if not problem:
                receiver.stop_waiting()
                self._hand_over(receiver)
                return
        self._ledger.ask(Misfit(number, signal.name, problem))

    def receive(self, receiver: ReceiveCall) -> bool:
        """Give the receiver the oldest signal of its name that fits and return True, or let it wait."""
        arrived = self._arrived.get(receiver.name)
        while arrived:
            number, payload = arrived.popleft()
            problem = self._problem(receiver, number, payload)
            if not problem:
                self._hand_over(receiver)
                return True
            self._ledger.ask(Misfit(number, receiver.name, problem))
        self.waiting.setdefault(receiver.name, deque()).append(receiver)
        return False

    def recorded(self, entry: SignalSetAside) -> None:
        """The journal has set this signal aside. Raises NonDeterminism when the code has taken it."""
        if self._ledger.signal_set_aside(entry):
            return
        arrived = self._arrived.get(entry.name, deque())
        kept = [one for one in arrived if one[0] != entry.number]
        if len(kept) == len(arrived):
            self._ledger.diverge(f"signal {entry.name} (mail {entry.number}) set aside", None)
        self._arrived[entry.name] = deque(kept)

    def awaited_since(self, signal: Signal) -> datetime | None:
        """Since when whoever is to get this signal waits for it without a limit; None when no one does."""
        payload = signal.payload or _NOTHING
        for receiver in self.waiting.get(signal.name, ()):
            if not self._problem(receiver, 0, payload):
                return receiver.since if receiver.timer is None else None
        return None

    def forget(self, call: ReceiveCall) -> None:
        """The receiver no longer waits."""
        waiting = self.waiting[call.name]
        waiting.remove(call)
        if not waiting:
            del self.waiting[call.name]

    def _problem(self, receiver: ReceiveCall, number: int, payload: Payload) -> str:
        """Why the signal is not for this receiver; "" when it is, and then it is read."""
        if number in self._set_aside:
            return "set aside before"
        if self._read is not None and self._read[0] is payload and self._read[1] is receiver:
            return ""
        try:
            self._read = payload, receiver, receiver.type.read(payload)
        except Exception as error:  # noqa: BLE001 - validators of the user can raise anything; the sender is to blame
            text = f"not {receiver.type.name}: {problem_of(error)}"[:PROBLEM_MAX]
            return text.replace("\0", "\\0").encode(errors="replace").decode()
        return ""

    def _hand_over(self, receiver: ReceiveCall) -> None:
        assert self._read is not None
        assert self._read[1] is receiver, receiver.name
        value, self._read = self._read[2], None
        receiver.set_result(value)
