"""Drives a run by hand: a crew without network, threads or clock, whose moments and slots a test sets."""

import asyncio
from datetime import UTC, datetime, timedelta

import holdfast.authoring.primitives as calls
from holdfast.authoring.apps import App
from holdfast.channel.leases import Lease, Transition, TransitionResult
from holdfast.codec import Codec
from holdfast.journal import Arguments, Entry, Failure, Mail, MailBody, MailConsumed, Payload, RunStarted
from holdfast.limits import DEFAULT_LIMITS, Limits
from holdfast.statuses import TransitionStatus
from holdfast.worker.holder import RunHolder
from holdfast.worker.retries import Raised, Returned
from holdfast.worker.step_progress import RunProgress, StepProgress, WorkerIdentity
from holdfast.workflow.commands import CallStep
from holdfast.workflow.current_run import RunInfo
from holdfast.workflow.instance import WorkflowInstance

START = datetime(2030, 1, 1, tzinfo=UTC)
RUN_ID = "run_aa01hzzzzzzzzzzzzzzzzzzzzzzz"


class Bench:
    """A crew whose time, slots and waits are plain attributes."""

    def __init__(self, *, slots: int = 10) -> None:
        self.moment = START
        self.slots = slots
        self.waiting: list[int] = []
        self.held: list[tuple[int, timedelta]] = []
        self.cancelled: list[int] = []
        self.queued: set[str] = set()

    def pass_time(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)

    def now(self) -> datetime:
        return self.moment

    def jitter(self) -> float:
        return 0.0

    def take_slot(self, *, keeps: bool = False) -> bool:
        if self.slots <= 0:
            return False
        self.slots -= 1
        return True

    def free_slot(self) -> None:
        self.slots += 1

    def wait_for_slot(self, holder: RunHolder, number: int) -> None:
        self.waiting.append(number)

    def stop_waiting_for_slot(self, run_id: str, number: int) -> None:
        self.waiting.remove(number)

    def hold_retry(self, holder: RunHolder, number: int, wait: timedelta) -> None:
        self.held.append((number, wait))

    def cancel_attempt(self, run_id: str, number: int) -> None:
        self.cancelled.append(number)
        self.slots += 1

    def runs_inline(self, call: CallStep) -> bool:
        return call.definition.name not in self.queued


class Journal:
    """What the coordinator has of a run: it commits transitions and adds the bodies of mail."""

    def __init__(self) -> None:
        self.entries: list[Entry] = [RunStarted(START, "flow")]
        self.mail: list[Mail] = []
        self.epoch = 0

    def lease(
        self, *, after_timeout: bool = False, mail: bool = True, lost: str = "", handed_back: bool = False
    ) -> Lease:
        self.epoch += 1
        return Lease(
            RUN_ID,
            self.epoch,
            "flow",
            len(self.entries),
            mail=tuple(self.mail) if mail else (),
            after_timeout=after_timeout,
            lost_session_id=lost,
            handed_back=handed_back,
        )

    def post(self, body: MailBody, *, at: datetime = START) -> Mail:
        number = 1 + max([one.number for one in self.mail] + self._consumed(), default=0)
        mail = Mail(number, at, body)
        self.mail.append(mail)
        return mail

    def _consumed(self) -> list[int]:
        return [entry.number for entry in self.entries if isinstance(entry, MailConsumed)]

    def commit(self, transition: Transition) -> TransitionResult:
        assert transition.expected_seq == len(self.entries)
        for entry in transition.entries:
            if isinstance(entry, MailConsumed):
                mail = self.mail.pop(0)
                assert mail.number == entry.number
                entry = MailConsumed(entry.at, entry.number, mail, entry.awaited_since)
            self.entries.append(entry)
        return TransitionResult(transition.run_id, TransitionStatus.COMMITTED)


def hold(
    app, journal: Journal, bench: Bench, *, limits: Limits = DEFAULT_LIMITS, part: int | None = None, **kept
) -> RunHolder:
    """A holder of the run, rebuilt from the journal, that has not advanced yet. `app` has the workflow `flow`.

    part: how many entries to replay at a time; all by default.
    """
    lease = journal.lease(**kept)
    info = RunInfo(RUN_ID, "flow", created_at=START)
    holder = RunHolder(
        lease,
        instance=WorkflowInstance(app.workflows["flow"], info, Arguments(), codec=Codec(), limits=limits),
        progress=RunProgress(app.steps, worker=WorkerIdentity("ses_1", "build-1")),
        crew=bench,
        build="build-1",
        limits=limits,
    )
    count = len(journal.entries)
    part = part or count
    for at in range(0, count, part):
        holder.advance()
        assert holder.take_transition() is None, "nothing is done before the whole journal is replayed"
        holder.replay(journal.entries[at : at + part], more=at + part < count)
    return holder


def settle(holder: RunHolder, journal: Journal) -> tuple[Transition, list[StepProgress]]:
    """Takes the next transition, commits it, and gives the holder the answer."""
    transition = holder.take_transition()
    assert transition is not None, "nothing to report"
    return transition, holder.settle(journal.commit(transition))


def go(holder: RunHolder, journal: Journal) -> tuple[Transition, list[StepProgress]]:
    """Advances and settles."""
    holder.advance()
    return settle(holder, journal)


def kinds(transition: Transition) -> list[str]:
    """The names of the entries."""
    return [type(entry).__name__ for entry in transition.entries]


def returned(value: object) -> Returned:
    return Returned(Codec().encode(value, what="a result"))


def raised(error: BaseException) -> Raised:
    return Raised(error, Failure(type(error).__name__, str(error)))


def payload(value: object) -> Payload:
    return Codec().encode(value, what="a value")


# Runs to drive


def one_step_app(**options):
    app = App("one-step")

    @app.step(**options)
    async def work() -> str:
        return "unused: attempts are played by the test"

    @app.workflow
    async def flow() -> str:
        return await work()

    return app


def started(app=None, bench=None, **options):
    """A run whose only step is running."""
    journal, bench = Journal(), bench or Bench()
    holder = hold(app or one_step_app(**options), journal, bench)
    _, ready = go(holder, journal)
    assert [step.number for step in ready] == [1]
    return holder, journal, bench


def with_one_step_not_awaited(**options) -> tuple[RunHolder, Journal, int, int]:
    """A run whose code ends with the step `sure`, while `spare` goes on. Both run; the numbers of `spare` and `sure`.

    options: of `spare`.
    """
    app = App("not-awaited")

    @app.step(**options)
    async def spare() -> None: ...

    @app.step
    async def sure() -> None: ...

    @app.workflow
    async def flow() -> None:
        left = asyncio.ensure_future(spare())
        await sure()
        del left

    journal = Journal()
    holder = hold(app, journal, Bench())
    _, ready = go(holder, journal)
    numbers = {step.name: step.number for step in ready}
    return holder, journal, numbers["spare"], numbers["sure"]


def sleeper():
    app = App("sleeper")

    @app.workflow
    async def flow() -> str:
        await calls.sleep("1h")
        return await calls.receive("word", str)

    return app
