"""What a parent sends its child: signals and requests to end, each once and in the order of sending."""

from holdfast.errors import HoldfastError, RunNotFound

from .chains import went_on
from .commands import DeliverToChild
from .interventions import ask_to_end
from .mail import MailKind
from .rows import AlarmKind
from .rules import Rule, Rules
from .snapshot import Reads
from .workspace import Workspace


class EarlierOneUnderWay(HoldfastError):
    """What was sent to the same child before has not arrived, and this one must not overtake it."""

    def __init__(self, run_id: str, message: int) -> None:
        super().__init__(f"message {message} to child run {run_id} was sent before, and has not arrived")


def _reads(reads: Reads, asked: DeliverToChild) -> None:
    reads.wants_run(asked.run_id, "")
    reads.wants_outbox(asked.outbox)
    if asked.after:
        reads.alarms.add((asked.outbox.run_id, AlarmKind.OUTBOX_CHILD_MAIL, asked.after))
    if asked.signal is None:
        reads.wants_all_of(asked.run_id)


def deliver_to_child(space: Workspace, asked: DeliverToChild) -> bool | HoldfastError:
    """Delivers one message; False when it was delivered before, or when the child has closed."""
    run = space.runs.get(asked.run_id)
    if run is None and asked.run_id not in space.results:
        return RunNotFound(asked.run_id)  # its start is still on its way
    if run is None and (answer := went_on(space, asked.run_id)) is not None:
        return answer
    if asked.after and (asked.outbox.run_id, AlarmKind.OUTBOX_CHILD_MAIL, asked.after) in space.alarms:
        return EarlierOneUnderWay(asked.run_id, asked.after)
    if not space.clear_outbox(asked.outbox) or run is None:
        return False
    run = space.change(run)
    if asked.signal is None:
        ask_to_end(space, run, asked.reason)
    else:
        space.deliver(run, MailKind.SIGNAL, asked.signal)
    return True


RULES: Rules = {
    DeliverToChild: Rule(_reads, deliver_to_child, size=lambda asked: len(asked.signal.payload) if asked.signal else 0)
}
