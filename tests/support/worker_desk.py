"""A crew with a coordinator in memory: reports are committed as soon as they are made, nothing touches a network."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count

from holdfast.channel.leases import AttemptReportResult, Held, Lease, ReportAnswer, Row, TransitionResult, Work
from holdfast.codec import Codec
from holdfast.journal import Arguments, Entry, Mail, MailBody, MailConsumed, RunClosed, RunStarted, RunTrace
from holdfast.limits import DEFAULT_LIMITS
from holdfast.statuses import Then, TransitionStatus
from holdfast.worker.attempts import AttemptRunner
from holdfast.worker.clock import SessionClock, boot_seconds
from holdfast.worker.crew import Report, WorkCrew
from holdfast.worker.holder_factory import CrewOptions
from holdfast.worker.threads import DaemonThreads

TTL = timedelta(seconds=10)


class Run:
    """What the coordinator has of one run."""

    def __init__(self, run_id: str, workflow: str, arguments: Arguments, *, trace: RunTrace | None = None) -> None:
        self.run_id = run_id
        self.trace = trace
        self.workflow = workflow
        self.arguments = arguments
        self.entries: list[Entry] = [RunStarted(datetime.now(UTC), workflow)]
        self.mail: list[Mail] = []
        self.mail_count = 0
        self.mail_taken = 0
        self.epoch = 0
        self.state = "ready"

    def lease(self, *, whole: bool = True) -> Lease:
        self.epoch += 1
        self.state = "leased"
        rows = (Row(len(self.entries), 0, tuple(self.entries)),) if whole else ()
        return Lease(
            self.run_id,
            self.epoch,
            self.workflow,
            len(self.entries),
            arguments=self.arguments,
            rows=rows,
            mail=tuple(self.mail),
            mail_taken=self.mail_taken,
            created_at=self.entries[0].at,
            trace=self.trace,
        )

    def post(self, body: MailBody) -> Mail:
        self.mail_count += 1
        mail = Mail(self.mail_count, datetime.now(UTC), body)
        self.mail.append(mail)
        return mail

    @property
    def close(self) -> RunClosed | None:
        last = self.entries[-1]
        return last if isinstance(last, RunClosed) else None


class Desk:
    """One worker's crew and all the runs of its coordinator. Use it inside a running loop."""

    def __init__(self, app, *, slots: int = 10, answering: bool = True, **options) -> None:
        self.runs: dict[str, Run] = {}
        self.asked_for: list[Lease] = []
        self.reports: list[Report] = []
        self.answering = answering
        self.clock = SessionClock()
        self.hear()
        self._numbers = count(1)
        self._committing = False
        self.changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.crew = WorkCrew(
            loop,
            CrewOptions(slots=slots, build="b1", **options),
            workflows=app.workflows,
            steps=app.steps,
            codec=Codec(),
            clock=self.clock,
            make_runner=lambda crew, context: AttemptRunner(
                loop, codec=Codec(), executor=DaemonThreads(4), listener=crew, context=context
            ),
            tasks=self,
        )
        self.crew.session_opened("ses_1", DEFAULT_LIMITS)

    def report_soon(self) -> None:
        """The crew has something to report."""
        asyncio.get_running_loop().call_soon(self.commit)

    def read_journal(self, lease: Lease) -> None:
        """The crew wants a journal."""
        self.asked_for.append(lease)

    def hear(self, *, age: float = 0.0) -> None:
        """A heartbeat that was sent so many seconds ago is acknowledged."""
        now = boot_seconds() - age
        self.clock.acknowledged(datetime.now(UTC), sent=now, received=now, ttl=TTL)

    def start(self, workflow: str, *arguments, trace: RunTrace | None = None) -> Run:
        codec = Codec()
        run = Run(
            f"run_{next(self._numbers):04}",
            workflow,
            Arguments(tuple(codec.encode(one, what="argument") for one in arguments)),
            trace=trace,
        )
        self.runs[run.run_id] = run
        self.hand(run)
        return run

    def hand(self, run: Run, *, whole: bool = True) -> Lease:
        lease = run.lease(whole=whole)
        self.crew.work_arrived(Work(leases=(lease,)))
        return lease

    def commit(self) -> None:
        """Commits what the crew has to report and answers it, unless answers are held back."""
        if self._committing or not self.answering:
            return
        self._committing = True
        report = self.crew.take_report()
        if report is not None:
            self.answer(report)
        self._committing = False

    def answer(self, report: Report) -> None:
        self.reports.append(report)
        results = tuple([self._take(transition) for transition in report.transitions])
        attempts = tuple(AttemptReportResult(one.run_id, one.step, True) for one in report.attempts)
        self.crew.report_answered(ReportAnswer(results, attempts))
        self.changed.set()

    def _take(self, transition) -> TransitionResult:
        run = self.runs[transition.run_id]
        if run.epoch != transition.epoch:
            return TransitionResult(run.run_id, TransitionStatus.SUPERSEDED)
        assert transition.expected_seq == len(run.entries)
        for entry in transition.entries:
            if isinstance(entry, MailConsumed):
                entry = MailConsumed(entry.at, entry.number, run.mail.pop(0))
                run.mail_taken = entry.number
            run.entries.append(entry)
        if transition.then is Then.SUSPEND and run.mail:
            return TransitionResult(run.run_id, TransitionStatus.COMMITTED_WITH_MAIL, tuple(run.mail))
        if transition.then is not Then.CONTINUE:
            run.state = transition.then.name.lower()
        return TransitionResult(run.run_id, TransitionStatus.COMMITTED)

    async def until(self, condition) -> None:
        """Waits until something that was committed makes the condition true."""
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    @property
    def held(self) -> tuple[Held, ...]:
        return self.crew.held
