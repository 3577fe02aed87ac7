"""The ledger of a run: what its code has asked for, what the journal records of it, and where they differ.

In a replay every entry that records a decision must meet the request that led to it: requests of one kind in
order, steps with a step_id by that id. It never advances code and resolves nothing.
"""

from collections import deque
from collections.abc import Callable
from typing import NoReturn

from holdfast.errors import LimitExceeded, NonDeterminism
from holdfast.ids import child_run_id
from holdfast.journal import (
    Arguments,
    ChildCancelled,
    ChildStarted,
    Failure,
    MailSent,
    MetadataSet,
    Payload,
    Published,
    RunClosed,
    SignalSetAside,
    StepCancelled,
    StepScheduled,
    StepSkipped,
    TimerCancelled,
    TimerSet,
)
from holdfast.statuses import RunStatus
from holdfast.workflow.calls import (
    Asked,
    Cancellation,
    ChildCall,
    Ending,
    Message,
    Misfit,
    Skip,
    StepCall,
    TimerCall,
    message_words,
    step_words,
)
from holdfast.workflow.commands import Close, Command
from holdfast.workflow.facts import FactSet
from holdfast.workflow.publications import Publication
from holdfast.workflow.sameness import differing_argument
from holdfast.workflow.tasks import LoopTimer

_CLOSED_BY_CODE = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.CONTINUED_AS_NEW})


_LIMIT_EXCEEDED = f"{LimitExceeded.__module__}:{LimitExceeded.__name__}"


class KeptStep:
    """A recorded step with a step_id that the code has not called yet. Its result waits for the call."""

    __slots__ = ("arguments", "name", "number", "outcome", "step_id")

    def __init__(self, entry: StepScheduled) -> None:
        self.number = entry.number
        self.name = entry.name
        self.step_id = entry.step_id
        self.arguments = entry.arguments
        self.outcome: Payload | Failure | None = None


class Ledger:
    """Numbers and matches what the code asks for.

    A request gets its number when an entry or a command first stands for it, so numbers follow the order of the calls
    and have no gaps, also when a call is cancelled before its command was taken. Children are the exception:
    their run id is known at the call and contains the number.

    position: entries fed so far. steps, timers, children: recorded and open, by number. is_closed: the code has ended,
    or the journal says that the run has. is_ended: that, or the code was dropped.
    """

    __slots__ = (
        "_children_foreseen",
        "_children_last",
        "_kept",
        "_kept_by_number",
        "_messages_last",
        "_messages_to",
        "_skipped",
        "_steps_by_id",
        "_steps_last",
        "_timers_last",
        "_unrecorded",
        "_waits",
        "children",
        "is_closed",
        "is_ended",
        "position",
        "steps",
        "timers",
    )

    def __init__(self, waits: Callable[[], list[str]]) -> None:
        self.position = 0
        self.is_closed = False
        self.is_ended = False
        self.steps: dict[int, StepCall] = {}
        self.timers: dict[int, TimerCall | LoopTimer] = {}
        self.children: dict[int, ChildCall] = {}
        self._waits = waits
        self._unrecorded: deque[Asked] = deque()
        self._steps_by_id: dict[str, StepCall] = {}
        self._kept: dict[str, KeptStep] = {}
        self._kept_by_number: dict[int, KeptStep] = {}
        self._skipped: dict[str, str] = {}
        self._steps_last = 0
        self._timers_last = 0
        self._children_last = 0
        self._children_foreseen: dict[int, str] = {}
        self._messages_last = 0
        self._messages_to: dict[int, int] = {}

    # What the code does

    def ask(self, asked: Asked) -> None:
        """Note a request, in call order."""
        asked.is_unrecorded = True
        self._unrecorded.append(asked)

    def ask_identified(self, call: StepCall) -> KeptStep | None:
        """Note a step with a step_id. Returns the recorded step that it takes over, if the journal has one."""
        step_id = call.overrides.step_id
        kept = self._kept.pop(step_id, None)
        if kept is None:
            self._steps_by_id[step_id] = call
            self.ask(call)
            return None
        del self._kept_by_number[kept.number]
        if kept.name != call.definition.name:
            expected = step_words(kept.name, kept.step_id, kept.number)
            raise NonDeterminism(position=self.position, expected=expected, actual=call.describe())
        self._check_arguments(call, kept.arguments, kept.number)
        call.number = kept.number
        if kept.outcome is None:
            self.steps[kept.number] = call
        return kept

    def skip(self, skip: Skip) -> None:
        """Note that a step is left out, unless the journal says so already."""
        if self._skipped.pop(skip.step_id, None) != skip.name:
            self.ask(skip)

    def close(self, close: Close) -> None:
        """Note that the code has ended, and how."""
        self.ask(Ending(close))
        self.is_closed = True
        self.end()

    def end(self) -> None:
        """The code has ended or is dropped: nothing is asked any more, and nothing is awaited."""
        self.is_ended = True
        self.steps.clear()
        self.timers.clear()
        self.children.clear()

    def next_child_number(self) -> int:
        """The number of a child that is about to be started."""
        self._children_last += 1
        return self._children_last

    def foresee_child(self, entry: ChildStarted) -> None:
        """The journal says further on which run this child is."""
        self._children_foreseen[entry.number] = entry.run_id

    def child_run_id(self, of_run_id: str, number: int) -> str:
        """The run id of child `number` of this run."""
        return self._children_foreseen.pop(number, "") or child_run_id(of_run_id, number)

    def withdraw(self, call: StepCall | TimerCall | ChildCall | LoopTimer) -> None:
        """Note that the code no longer awaits `call`: nothing when its command was not taken, else a cancellation."""
        if self.is_ended:
            return
        if call.is_unrecorded:
            call.is_unrecorded = False
            if isinstance(call, StepCall):
                self._steps_by_id.pop(call.overrides.step_id, None)
        elif self._forget(call):
            self.ask(Cancellation(call))

    def _forget(self, call: StepCall | TimerCall | ChildCall | LoopTimer) -> bool:
        if isinstance(call, StepCall):
            return self.steps.pop(call.number, None) is not None
        if isinstance(call, ChildCall):
            return self.children.pop(call.number, None) is not None
        return self.timers.pop(call.number, None) is not None

    # What the driver takes

    def take(self) -> list[Command]:
        """The commands that no entry stands for, in call order; they count as recorded from now on."""
        if not self._unrecorded:
            return []
        commands = []
        for asked in self._unrecorded:
            if asked.is_unrecorded:
                asked.is_unrecorded = False
                self._register(asked)
                commands.append(asked.command())
        self._unrecorded.clear()
        return commands

    def _register(self, asked: Asked) -> None:
        if isinstance(asked, StepCall):
            self._steps_last = asked.number = self._steps_last + 1
            self.steps[asked.number] = asked
            if asked.overrides.step_id:
                del self._steps_by_id[asked.overrides.step_id]
        elif isinstance(asked, Skip):
            self._steps_last = asked.number = self._steps_last + 1
        elif isinstance(asked, (TimerCall, LoopTimer)):
            self._timers_last = asked.number = self._timers_last + 1
            self.timers[asked.number] = asked
        elif isinstance(asked, ChildCall):
            self.children[asked.number] = asked
        elif isinstance(asked, Message):
            asked.message = self._messages_last + 1
            asked.after = self._messages_to.get(asked.number, 0)
            self._sent(asked.number, asked.message)

    def _sent(self, child: int, message: int) -> None:
        self._messages_last = max(self._messages_last, message)
        self._messages_to[child] = message

    # What the journal says

    def step_scheduled(self, entry: StepScheduled) -> None:
        if entry.number > self._steps_last:
            self._steps_last = entry.number
        if entry.step_id:
            call = self._steps_by_id.pop(entry.step_id, None)
            if call is None:
                kept = KeptStep(entry)
                self._kept[entry.step_id] = self._kept_by_number[entry.number] = kept
                return
        else:
            call = self._first_numbered_step()
        if call is None or call.definition.name != entry.name:
            self.diverge(step_words(entry.name, entry.step_id, entry.number), call)
        self._check_arguments(call, entry.arguments, entry.number)
        call.is_unrecorded = False
        call.number = entry.number
        call.values = None
        self.steps[entry.number] = call
        self._drop_matched()

    def step_skipped(self, entry: StepSkipped) -> None:
        """Meet the decision of the code to leave this step out, which it may also come to later, or no more."""
        if entry.number > self._steps_last:
            self._steps_last = entry.number
        for asked in self._unrecorded:
            if asked.is_unrecorded and isinstance(asked, Skip) and asked.step_id == entry.step_id:
                asked.is_unrecorded = False
                self._drop_matched()
                return
        self._skipped[entry.step_id] = entry.name

    def timer_set(self, entry: TimerSet) -> None:
        timer = self._first("timer")
        if not isinstance(timer, (TimerCall, LoopTimer)) or timer.name != entry.name:
            self.diverge(f"timer {entry.number}{f' ({entry.name})' if entry.name else ''}", timer)
        timer.is_unrecorded = False
        timer.number = self._timers_last = entry.number
        self.timers[entry.number] = timer

    def child_started(self, entry: ChildStarted) -> None:
        child = self._first("child")
        fits = isinstance(child, ChildCall) and child.number == entry.number
        if not fits or not isinstance(child, ChildCall) or child.definition.name != entry.workflow:
            self.diverge(f"child run {entry.number} of {entry.workflow}", child)
        different = differing_argument(child.definition.signature, child.arguments, entry.arguments)
        if different:
            words = f"child run {entry.number} of {entry.workflow}"
            self._differs(words, different, child)
        child.is_unrecorded = False
        self.children[entry.number] = child

    def step_cancelled(self, entry: StepCancelled) -> None:
        kept = self._kept_by_number.pop(entry.number, None)
        if kept is not None:
            del self._kept[kept.step_id]
            return
        self._cancellation("step", entry.number)

    def timer_cancelled(self, entry: TimerCancelled) -> None:
        self._cancellation("timer", entry.number)

    def child_cancelled(self, entry: ChildCancelled) -> None:
        self._cancellation("child", entry.number)

    def mail_sent(self, entry: MailSent) -> None:
        for asked in self._unrecorded:
            if asked.is_unrecorded and isinstance(asked, Message) and asked.number == entry.number:
                if asked.signal != entry.signal:
                    self.diverge(f"what {message_words(entry.number, entry.signal)}", asked)
                asked.is_unrecorded = False
                self._sent(entry.number, entry.message)
                self._drop_matched()
                return
        self.diverge(f"what {message_words(entry.number, entry.signal)}", None)

    def metadata_set(self, entry: MetadataSet) -> None:
        asked = self._first("metadata")
        if not isinstance(asked, FactSet) or (asked.key, asked.value) != (entry.key, entry.value):
            self.diverge(f"the metadata {entry.key}={entry.value[:50]}", asked)
        self.matched(asked)

    def signal_set_aside(self, entry: SignalSetAside) -> bool:
        """Meet the decision of the code to set this signal aside; False: it has made none."""
        for asked in self._unrecorded:
            if asked.is_unrecorded and asked.number == entry.number and asked.kind == Misfit.kind:
                asked.is_unrecorded = False
                self._drop_matched()
                return True
        return False

    def published(self, entry: Published) -> None:
        publication = self._first(Publication.kind)
        if not isinstance(publication, Publication) or publication.key != entry.key:
            self.diverge(f"{entry.key!r} published", publication)
        self.matched(publication)

    def matched(self, asked: Asked) -> None:
        """The journal records this request."""
        asked.is_unrecorded = False
        self._drop_matched()

    def run_closed(self, entry: RunClosed) -> None:
        if entry.failure is not None and entry.failure.error_class == _LIMIT_EXCEEDED:
            self._unrecorded.clear()  # the worker has ended it, wherever its code was
        elif entry.status in _CLOSED_BY_CODE:
            ending = self._first("close")
            if not isinstance(ending, Ending) or ending.close.status is not entry.status:
                self.diverge(f"the end of the run as {entry.status}", ending)
            self._unrecorded.clear()
        self.is_closed = True

    def settle_kept(self, number: int, outcome: Payload | Failure) -> None:
        """Note the result of a step that no open call awaits: kept, or cancelled, or unknown to the code."""
        kept = self._kept_by_number.get(number)
        if kept is not None:
            kept.outcome = outcome
        elif number > self._steps_last:
            self.diverge(f"a result of step {number}", None)

    def _check_arguments(self, call: StepCall, recorded: Arguments, number: int) -> None:
        """The call must be the recorded one also in what it is called with: its result belongs to that."""
        different = differing_argument(call.definition.signature, call.arguments, recorded, call.values)
        if different:
            words = step_words(call.definition.name, call.overrides.step_id, number)
            self._differs(words, different, call)

    def _differs(self, words: str, argument: str, call: StepCall | ChildCall) -> NoReturn:
        expected = f"{words} with the argument {argument!r} that it was recorded with"
        actual = f"{call.describe()} with another {argument!r}"
        raise NonDeterminism(position=self.position, expected=expected, actual=actual, asked=call)

    def diverge(self, expected: str, instead: Asked | None) -> NoReturn:
        """Raise NonDeterminism. instead: what the code did in the place of `expected`; None: look for it."""
        found = instead or next((one for one in self._unrecorded if one.is_unrecorded and one.kind != "span"), None)
        if found is not None:
            actual = found.describe()
        else:
            waits = self._waits()
            actual = f"waits for {', '.join(waits)}" if waits else "asked for nothing more"
        raise NonDeterminism(position=self.position, expected=expected, actual=actual, asked=found)

    def _cancellation(self, kind: str, number: int) -> None:
        for asked in self._unrecorded:
            if asked.is_unrecorded and asked.number == number and asked.kind == f"cancel {kind}":
                asked.is_unrecorded = False
                self._drop_matched()
                return
        self.diverge(f"the cancellation of {kind} {number}", None)

    def _first_numbered_step(self) -> StepCall | None:
        for asked in self._unrecorded:
            if asked.is_unrecorded and isinstance(asked, StepCall) and not asked.overrides.step_id:
                return asked
        return None

    def _first(self, kind: str) -> Asked | None:
        self._drop_matched()
        for asked in self._unrecorded:
            if asked.is_unrecorded and asked.kind == kind:
                return asked
        return None

    def _drop_matched(self) -> None:
        unrecorded = self._unrecorded
        while unrecorded and not unrecorded[0].is_unrecorded:
            unrecorded.popleft()
