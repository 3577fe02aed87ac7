"""Signals that arrived and code that waits for them, per name, both in order.

A signal that is not waited for is kept; it goes to the next who asks for its name. A name that has a handler is that
handler's alone. One that does not fit the type that is asked for, or that is encoded in a way that this worker cannot
read, is set aside, which the journal records; whoever asked waits for the next. A signal never ends a run.
"""

from collections import deque
from datetime import datetime
from typing import Any

from holdfast.errors import CodecMissing
from holdfast.hints.refusals import problem_of
from holdfast.journal import Mail, Payload, Signal, SignalSetAside
from holdfast.limits import PROBLEM_MAX
from holdfast.workflow.calls import Misfit, ReceiveCall
from holdfast.workflow.handlers import RunningHandlers, SignalHandler
from holdfast.workflow.ledger import Ledger
from holdfast.workflow.loop import WorkflowLoop

_NOTHING = Payload(b"null")


class SignalInbox:
    """The signals of one run. waiting: receivers that wait, by name of the signal. handlers: by name too.

    running: the handlers at work.
    """

    __slots__ = ("_arrived", "_ledger", "_loop", "_read", "_set_aside", "handlers", "running", "waiting")

    def __init__(self, ledger: Ledger, loop: WorkflowLoop) -> None:
        self.handlers: dict[str, SignalHandler] = {}
        self.running = RunningHandlers(loop)
        self._ledger = ledger
        self._loop = loop
        self._arrived: dict[str, deque[tuple[Mail, Payload]]] = {}
        self._set_aside: set[int] = set()
        self._read: tuple[Payload, ReceiveCall | SignalHandler, Any] | None = None
        self.waiting: dict[str, deque[ReceiveCall]] = {}

    def foresee(self, number: int) -> None:
        """The journal says further on that this signal was set aside, whatever the code asks for by now."""
        self._set_aside.add(number)

    def arrive(self, mail: Mail, signal: Signal) -> None:
        """Give the signal to the first who waits for its name and whom it fits, or keep it. mail: that brought it."""
        number = mail.number
        payload = signal.payload or _NOTHING
        handler = self.handlers.get(signal.name)
        if handler is not None:
            self._handle(handler, number, payload)
            return
        waiting = self.waiting.get(signal.name)
        if not waiting:
            self._arrived.setdefault(signal.name, deque()).append((mail, payload))
            return
        problem = ""
        for receiver in list(waiting):
            problem = self._problem(receiver, number, payload)
            if not problem:
                receiver.stop_waiting()
                self._hand_over(receiver)
                return
        self._ledger.ask(Misfit(number, signal.name, problem))
        for receiver in list(waiting):
            receiver.was_refused()

    def handle_by(self, handler: SignalHandler) -> None:
        """From now on the signals of its name are the handler's; `deliver_early` gives it those that came before.

        Raises RuntimeError where somebody else takes them.
        """
        other = self.handlers.get(handler.name)
        if other is not None:
            raise RuntimeError(
                f"on_signal {handler.name!r}: {other} handles this signal already, and {handler} would get none; "
                "let a name have one handler"
            )
        if handler.name in self.waiting:
            raise RuntimeError(
                f"on_signal {handler.name!r}: a receive() waits for this signal, and only one can get it; "
                "let a name have a handler or be received"
            )
        self.handlers[handler.name] = handler

    def deliver_early(self) -> None:
        """Give the handlers what came before they were there, in the order in which it arrived, whatever its name."""
        early = [
            (mail.number, handler, payload)
            for name, handler in self.handlers.items()
            for mail, payload in self._arrived.pop(name, ())
        ]
        for number, handler, payload in sorted(early, key=lambda one: one[0]):
            self._handle(handler, number, payload)

    def receive(self, receiver: ReceiveCall) -> bool:
        """Give the receiver the oldest signal of its name that fits and return True, or let it wait.

        Raises RuntimeError where a handler takes the signals of this name.
        """
        handler = self.handlers.get(receiver.name)
        if handler is not None:
            raise RuntimeError(
                f"receive {receiver.name!r}: {handler} handles this signal, and only one can get it; "
                "let a name have a handler or be received"
            )
        arrived = self._arrived.get(receiver.name)
        while arrived:
            mail, payload = arrived.popleft()
            problem = self._problem(receiver, mail.number, payload)
            if not problem:
                self._hand_over(receiver)
                return True
            self._ledger.ask(Misfit(mail.number, receiver.name, problem))
        self.waiting.setdefault(receiver.name, deque()).append(receiver)
        return False

    def recorded(self, entry: SignalSetAside) -> None:
        """The journal has set this signal aside. Raises NonDeterminism when the code has taken it."""
        if self._ledger.signal_set_aside(entry):
            return
        arrived = self._arrived.get(entry.name, deque())
        kept = [one for one in arrived if one[0].number != entry.number]
        if len(kept) == len(arrived):
            self._ledger.diverge(f"signal {entry.name} (mail {entry.number}) set aside", None)
        self._arrived[entry.name] = deque(kept)

    def left(self) -> tuple[Mail, ...]:
        """The mail of signals that nobody has taken, in the order of arrival."""
        left = [mail for arrived in self._arrived.values() for mail, _ in arrived]
        return tuple(sorted(left, key=lambda mail: mail.number))

    def awaited_since(self, signal: Signal) -> datetime | None:
        """Since when whoever is to get this signal waits for it without a limit; None when no one does."""
        payload = signal.payload or _NOTHING
        if signal.name in self.handlers:
            return None
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

    def _handle(self, handler: SignalHandler, number: int, payload: Payload) -> None:
        problem = self._problem(handler, number, payload)
        if problem:
            self._ledger.ask(Misfit(number, handler.name, problem))
        else:
            self.running.begin(handler, self._take_read())

    def _problem(self, receiver: ReceiveCall | SignalHandler, number: int, payload: Payload) -> str:
        """Why the signal is not for this receiver or handler; "" when it is, and then it is read."""
        if number in self._set_aside:
            return "set aside before"
        if self._read is not None and self._read[0] is payload and self._read[1] is receiver:
            return ""
        try:
            self._read = payload, receiver, receiver.type.read(payload)
        except CodecMissing as error:
            if self._loop.is_quiet:
                # The journal says that the code took it, from a worker that could read it: so that the code sees the
                # same again, the run waits for such a worker.
                self._loop.break_off(error)
            return f"encoded as {payload.encoding}, which this worker does not read"[:PROBLEM_MAX]
        except Exception as error:  # noqa: BLE001 - validators of the user can raise anything; the sender is to blame
            text = f"not {receiver.type.name}: {problem_of(error)}"[:PROBLEM_MAX]
            return text.replace("\0", "\\0").encode(errors="replace").decode()
        return ""

    def _hand_over(self, receiver: ReceiveCall) -> None:
        assert self._read is not None
        assert self._read[1] is receiver, receiver.name
        receiver.set_result(self._take_read())

    def _take_read(self) -> Any:
        assert self._read is not None
        value, self._read = self._read[2], None
        return value
