"""What no SDK would send: it is refused by itself, nothing of it is recorded, and everybody else goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import ids
from holdfast.api.v1 import journal_pb2, run_service_pb2, status_pb2, value_pb2, worker_service_pb2
from holdfast_coordinator.app import Coordinator, coordinator
from holdfast_coordinator.config import Config
from tests.support.cell_rows import read_cell
from tests.support.invariants import check
from tests.support.raw_worker import RawWorker, entry, payload, start_id, transition
from tests.support.request_mutations import mutated

COMPLETED = status_pb2.RUN_STATUS_COMPLETED
REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
ABSURD = 10**15
CLOSE = worker_service_pb2.THEN_CLOSE
CONTINUE = worker_service_pb2.THEN_CONTINUE
STALL = worker_service_pb2.THEN_STALL


@asynccontextmanager
async def served(database: str) -> AsyncIterator[tuple[Coordinator, RawWorker]]:
    """A coordinator, and a worker of it; the invariants hold on what they leave."""
    async with coordinator(Config(database_url=database, port=0, poll_wait="0.2s", session_ttl="60s")) as replica:
        worker = await RawWorker(replica.address, steps=("charge",)).open()
        yield replica, worker
        assert not replica.failed.done(), replica.failed
        await worker.close()
    check(read_cell(database))


def closed(status: int = COMPLETED, **changed: Any) -> journal_pb2.Entry:
    """A RunClosed entry."""
    return entry(run_closed=journal_pb2.RunClosed(status=status, **changed))  # type: ignore[arg-type]


def child(lease: worker_service_pb2.Lease, number: int = 1, **changed: Any) -> journal_pb2.ChildStarted:
    """The start of a child."""
    return journal_pb2.ChildStarted(
        number=number, workflow="flow", run_id=ids.child_run_id(lease.run_id, max(number, 1)), **changed
    )


def at_absurd_time(made: journal_pb2.Entry) -> journal_pb2.Entry:
    """The entry, at a time that no calendar has."""
    made.at.seconds = ABSURD
    return made


Lease = worker_service_pb2.Lease
LONG = Duration(seconds=ABSURD)

MISSHAPEN: dict[str, Callable[[Lease], worker_service_pb2.Transition]] = {
    "a close whose only entry sets a timer": lambda lease: transition(
        lease, entry(timer_set=journal_pb2.TimerSet(number=1, delay=Duration(seconds=1))), then=CLOSE
    ),
    "a close without a close": lambda lease: transition(lease, then=CLOSE),
    "a close as running": lambda lease: transition(lease, closed(status_pb2.RUN_STATUS_RUNNING), then=CLOSE),
    "a close as terminated": lambda lease: transition(lease, closed(status_pb2.RUN_STATUS_TERMINATED), then=CLOSE),
    "a close as no status": lambda lease: transition(lease, closed(77), then=CLOSE),
    "two closes": lambda lease: transition(lease, closed(), closed(), then=CLOSE),
    "a close that something follows": lambda lease: transition(
        lease, closed(), entry(step_scheduled=journal_pb2.StepScheduled(number=1, name="a")), then=CLOSE
    ),
    "a close that goes on": lambda lease: transition(lease, closed(), then=CONTINUE),
    "a close with result and failure": lambda lease: transition(
        lease, closed(result=payload(1), failure=value_pb2.Failure(error_type="E")), then=CLOSE
    ),
    "a stall without a reason to": lambda lease: transition(lease, then=STALL),
    "a stall that something follows": lambda lease: transition(
        lease,
        entry(run_stalled=journal_pb2.RunStalled(reason="why")),
        entry(timer_cancelled=journal_pb2.TimerCancelled(number=1)),
        then=STALL,
    ),
    "no end of that name": lambda lease: transition(lease, then=99),
    "an entry without a body": lambda lease: transition(lease, entry()),
    "an entry of the coordinator": lambda lease: transition(lease, entry(run_resumed=journal_pb2.RunResumed())),
    "an entry at no time": lambda lease: transition(
        lease, at_absurd_time(entry(step_scheduled=journal_pb2.StepScheduled(number=1, name="a")))
    ),
    "a close at no time": lambda lease: transition(lease, at_absurd_time(closed()), then=CLOSE),
    "a child at no time": lambda lease: transition(lease, at_absurd_time(entry(child_started=child(lease)))),
    "a child without a number": lambda lease: transition(lease, entry(child_started=child(lease, 0))),
    "a child twice": lambda lease: transition(lease, *[entry(child_started=child(lease))] * 2),
    "a child that lasts for ever": lambda lease: transition(
        lease, entry(child_started=child(lease, max_duration=LONG))
    ),
    "a child of no policy": lambda lease: transition(lease, entry(child_started=child(lease, close_policy=42))),
    "a timer for ever": lambda lease: transition(lease, entry(timer_set=journal_pb2.TimerSet(number=1, delay=LONG))),
    "a timer until no time": lambda lease: transition(
        lease, entry(timer_set=journal_pb2.TimerSet(number=1, until=Timestamp(seconds=ABSURD)))
    ),
    "a timer that is never due": lambda lease: transition(lease, entry(timer_set=journal_pb2.TimerSet(number=1))),
    "a timer twice": lambda lease: transition(
        lease, *[entry(timer_set=journal_pb2.TimerSet(number=1, delay=Duration(seconds=1)))] * 2
    ),
    "a negative number": lambda lease: transition(lease, entry(timer_cancelled=journal_pb2.TimerCancelled(number=-1))),
    "a queued step without a name": lambda lease: transition(lease, queued(name="")),
    "a queued step with NUL in its id": lambda lease: transition(lease, queued(step_id="a\0b")),
    "a queued step in a queue of no name": lambda lease: transition(lease, queued(queue="\n")),
    "a queued step that is more than urgent": lambda lease: transition(lease, queued(priority=-1_000)),
    "a queued step that is lost less than never": lambda lease: transition(lease, queued(recoveries=-1)),
    "a queued step twice": lambda lease: transition(lease, queued(), queued()),
    "a step that ended at no time": lambda lease: transition(
        lease,
        entry(
            step_completed=journal_pb2.StepCompleted(
                number=1,
                attempt=journal_pb2.AttemptRecord(attempt=1, outcome=1, ended_at=Timestamp(seconds=-ABSURD)),
            )
        ),
    ),
    "an attempt that ended in no way": lambda lease: transition(
        lease, entry(attempt_ended=journal_pb2.AttemptEnded(number=1, attempt=journal_pb2.AttemptRecord(attempt=1)))
    ),
    "a signal awaited since no time": lambda lease: transition(
        lease, entry(mail_consumed=journal_pb2.MailConsumed(number=1, awaited_since=Timestamp(seconds=ABSURD)))
    ),
    "a transition without an id": lambda lease: transition(
        lease, entry(step_scheduled=journal_pb2.StepScheduled(number=1, name="a")), number=0
    ),
    "a journal of negative length": lambda lease: transition(lease, expected_seq=-1),
    "a deadline for ever": lambda lease: transition(lease, attempt_deadline=LONG),
}


def queued(**changed: Any) -> journal_pb2.Entry:
    """A queued step."""
    values: dict[str, Any] = {"number": 1, "name": "charge", "placement": status_pb2.STEP_PLACEMENT_QUEUED}
    return entry(step_scheduled=journal_pb2.StepScheduled(**{**values, **changed}))


async def test_a_misshapen_transition_is_refused_alone_and_its_neighbour_is_committed(database: str) -> None:
    async with served(database) as (_, worker):
        for what, make in MISSHAPEN.items():
            bad, good = await worker.started(), await worker.started()
            answer = await worker.report(make(bad), transition(good, closed(), then=CLOSE))
            refused, taken = answer.transitions
            assert refused.status == worker_service_pb2.TRANSITION_STATUS_REFUSED, what
            assert len(refused.refusal) > 10, what
            assert taken.status == worker_service_pb2.TRANSITION_STATUS_COMMITTED, what
            assert len(await worker.history(bad.run_id)) == 1, what
            again = await worker.report(transition(bad, closed(), then=CLOSE))
            assert again.transitions[0].status == worker_service_pb2.TRANSITION_STATUS_COMMITTED, what


async def test_a_report_about_runs_that_nobody_has_refuses_those_and_no_other(database: str) -> None:
    async with served(database) as (_, worker):
        good = await worker.started()
        strangers = [
            worker_service_pb2.Transition(run_id=run_id, epoch=1, transition_id=1, then=CONTINUE)
            for run_id in ("", "run_zz" + good.run_id[6:], "run_00\0", "x" * 5_000, good.run_id)
        ]
        answer = await worker.report(*strangers[:4], transition(good, closed(), then=CLOSE), strangers[4])
        statuses = [one.status for one in answer.transitions]
        refused, committed, superseded = (
            worker_service_pb2.TRANSITION_STATUS_REFUSED,
            worker_service_pb2.TRANSITION_STATUS_COMMITTED,
            worker_service_pb2.TRANSITION_STATUS_SUPERSEDED,  # whatever run it was, the worker has it no longer
        )
        assert statuses == [refused, superseded, refused, refused, committed, refused]


@pytest.mark.parametrize(
    "changed",
    [
        {"step": 0},
        {"attempt": 0},
        {"attempt": 2},
        {"epoch": -1},
        {"run_id": "\0"},
        {"result": None},
        {"outcome": 0},
        {"outcome": 3},
        {"retry_delay": LONG},
        {"retry_delay": Duration(seconds=1)},
        {"ended_at": Timestamp(seconds=ABSURD)},
    ],
    ids=str,
)
async def test_a_misshapen_end_of_a_queued_attempt_is_refused_with_a_sentence(
    database: str, changed: dict[str, Any]
) -> None:
    async with served(database) as (_, worker):
        lease = await worker.started()
        await worker.report(transition(lease, queued(), then=worker_service_pb2.THEN_SUSPEND, waits=["step charge"]))
        (attempt,) = (await worker.poll()).attempts
        good = worker_service_pb2.AttemptReport(
            run_id=attempt.run_id, step=attempt.step, attempt=attempt.attempt, epoch=attempt.epoch,
            record=journal_pb2.AttemptRecord(attempt=attempt.attempt, outcome=1), result=payload(1),
        )  # fmt: skip
        bad = worker_service_pb2.AttemptReport()
        bad.CopyFrom(good)
        for field, value in changed.items():
            target = bad if field in bad.DESCRIPTOR.fields_by_name else bad.record
            if value is None:
                target.ClearField(field)
            elif isinstance(value, int | str):
                setattr(target, field, value)
            else:
                getattr(target, field).CopyFrom(value)
        refused, recorded = (await worker.report(attempts=(bad, good))).attempts
        assert (refused.recorded, recorded.recorded) == (False, True)
        assert len(refused.refusal) > 10
        assert not recorded.refusal


# Whatever is changed in a valid request


class Peer:
    """A coordinator and a worker on a loop of their own, for tests that Hypothesis drives."""

    def __init__(self, runner: asyncio.Runner, database: str) -> None:
        self._runner = runner
        self._serving = served(database)
        self.replica, self.worker = runner.run(self._serving.__aenter__())

    def close(self) -> None:
        """Ends both; fails when the replica has."""
        self._runner.run(self._serving.__aexit__(None, None, None))

    def call(self, method: Any, request: Any) -> Any:
        """The answer, or the status of a refusal; any other error fails the test."""
        return self._runner.run(self._call(method, request))

    def run(self, coroutine: Any) -> Any:
        """What a coroutine returns."""
        return self._runner.run(coroutine)

    async def _call(self, method: Any, request: Any) -> Any:
        call = method(request, timeout=20)
        code = await call.code()
        if code is grpc.StatusCode.OK:
            return await call
        assert code in REFUSALS, f"{code}: {await call.details()}\n{request}"
        assert await call.details()
        return code


@pytest.fixture(scope="module")
def peer(module_database: str) -> Iterator[Peer]:
    with asyncio.Runner() as runner:
        opened = Peer(runner, module_database)
        yield opened
        opened.close()


FEW = settings(
    max_examples=60, deadline=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


def record() -> journal_pb2.AttemptRecord:
    """How an attempt went that will be repeated."""
    made = journal_pb2.AttemptRecord(attempt=1, outcome=2, failure=value_pb2.Failure(error_type="E"))
    for time in (made.scheduled_at, made.eligible_at, made.started_at, made.ended_at):
        time.GetCurrentTime()
    made.retry_delay.seconds = 1
    return made


def many_entries(lease: Lease) -> list[journal_pb2.Entry]:
    """Every kind of entry that a worker writes while it goes on."""
    done = journal_pb2.AttemptRecord(attempt=1, outcome=1)
    done.ended_at.GetCurrentTime()
    until = Timestamp()
    until.GetCurrentTime()
    return [
        entry(step_scheduled=journal_pb2.StepScheduled(number=1, name="a", placement=1, started=True)),
        entry(step_completed=journal_pb2.StepCompleted(number=1, result=payload(1), attempt=done)),
        queued(number=2, timeout=Duration(seconds=5), recoveries=3, step_id="x", priority=1),
        entry(attempt_ended=journal_pb2.AttemptEnded(number=3, attempt=record(), retry_by_alarm=True)),
        entry(timer_set=journal_pb2.TimerSet(number=1, delay=Duration(seconds=60))),
        entry(timer_set=journal_pb2.TimerSet(number=2, until=until)),
        entry(timer_cancelled=journal_pb2.TimerCancelled(number=1)),
        entry(mail_consumed=journal_pb2.MailConsumed(number=1)),
        entry(child_started=child(lease, close_policy=3, max_duration=Duration(seconds=60))),
        entry(child_cancelled=journal_pb2.ChildCancelled(number=1)),
        entry(user_span=journal_pb2.UserSpan(number=1, name="part")),
        entry(signal_set_aside=journal_pb2.SignalSetAside(number=1, name="go", problem="not int")),
        entry(step_failed=journal_pb2.StepFailed(number=4, failure=value_pb2.Failure(error_type="E"), attempt=done)),
        entry(step_cancelled=journal_pb2.StepCancelled(number=2)),
    ]


def valid_transition(lease: Lease, shape: int) -> worker_service_pb2.Transition:
    """One of the ways in which a transition may end."""
    match shape:
        case 0:
            return transition(lease, *many_entries(lease), mail_seen=1)
        case 1:
            return transition(lease, closed(result=payload(1)), then=CLOSE, mail_seen=1)
        case 2:
            timer = journal_pb2.TimerSet(number=1, delay=Duration(seconds=60))
            suspended = worker_service_pb2.THEN_SUSPEND
            return transition(lease, entry(timer_set=timer), then=suspended, waits=["timer 1"])
        case 3:
            return transition(lease, entry(run_stalled=journal_pb2.RunStalled(reason="r", build="b")), then=STALL)
        case _:
            return transition(lease, then=worker_service_pb2.THEN_RELEASE, attempt_deadline=Duration(seconds=5))


@FEW
@given(data=st.data(), shape=st.integers(0, 4))
def test_no_change_of_a_transition_makes_more_than_a_refusal(peer: Peer, data: st.DataObject, shape: int) -> None:
    worker = peer.worker
    lease, good = peer.run(worker.started()), peer.run(worker.started())
    signal = run_service_pb2.SignalRunRequest(run=lease.run_id, signal=journal_pb2.Signal(name="go"))
    peer.call(worker.runs.SignalRun, signal)
    bad = data.draw(mutated(valid_transition(lease, shape)))
    if bad.run_id == good.run_id:
        bad.run_id = lease.run_id
    answer = peer.call(worker.workers.Report, worker.report_request(bad, transition(good, closed(), then=CLOSE)))
    first, second = answer.transitions
    assert second.status == worker_service_pb2.TRANSITION_STATUS_COMMITTED, second
    if first.status == worker_service_pb2.TRANSITION_STATUS_REFUSED:
        assert first.refusal
        assert len(peer.run(worker.history(lease.run_id))) == 1
    peer.run(readable(peer, lease.run_id))
    end = run_service_pb2.TerminateRunRequest(run=lease.run_id)
    peer.call(worker.runs.TerminateRun, end)
    peer.run(readable(peer, lease.run_id))
    peer.call(worker.runs.RetryRun, run_service_pb2.RetryRunRequest(run=lease.run_id, start_id=start_id()))


async def readable(peer: Peer, run_id: str) -> None:
    """What was recorded can be read: the journal, the description, the trace."""
    runs = peer.worker.runs
    await peer.worker.history(run_id)
    await peer.worker.described(run_id)
    await runs.GetTrace(run_service_pb2.GetTraceRequest(run=run_id), timeout=20)


def start_spec() -> run_service_pb2.StartSpec:
    """A start with everything that it can have."""
    made = run_service_pb2.StartSpec(
        start_id=start_id(), workflow="flow", id=f"order {start_id()}", idempotency_key=start_id(), priority=3,
        on_conflict=1, reuse=1, join_trace=True, sampled=False,  # type: ignore[arg-type]
    )  # fmt: skip
    made.arguments.positional.append(payload(1))
    made.arguments.named["a"].CopyFrom(payload(2))
    made.delay.seconds = 1
    made.max_duration.seconds = 60
    made.metadata["customer"] = "7"
    made.trace.traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    return made


@FEW
@given(data=st.data())
def test_no_change_of_a_start_makes_more_than_a_refusal(peer: Peer, data: st.DataObject) -> None:
    runs = peer.worker.runs
    request = run_service_pb2.StartRunsRequest(namespace="default", starts=[start_spec(), start_spec()])
    answer = peer.call(runs.StartRuns, data.draw(mutated(request)))
    for outcome in getattr(answer, "outcomes", ()):
        if outcome.HasField("run"):
            peer.run(readable(peer, outcome.run.run_id))


def requests(peer: Peer, run_id: str) -> list[tuple[Any, Any]]:
    """A valid request of every other rpc, with its method."""
    pb, worker = run_service_pb2, peer.worker
    runs, workers = worker.runs, worker.workers
    session = {"session_id": worker.session_id, "attach_no": worker.attach_no}
    at = Timestamp()
    at.GetCurrentTime()
    listing = pb.ListRunsRequest(
        workflow="flow", statuses=[1, 6], metadata={"a": "b"}, started_after=at, started_before=at, text="x",
        page_size=10, idempotency_key="k",
    )  # fmt: skip
    held = worker_service_pb2.Held(run_id=run_id, step=1, epoch=1)
    introduction = worker.introduction()
    introduction.workflows[0].name = "another"  # what it says of its workflow counts for whoever starts one
    introduction.workflows[0].parameters.add(name="value", required=True, kind=1)  # type: ignore[arg-type]
    introduction.held.append(held)
    signal = journal_pb2.Signal(name="go", payload=payload(1))
    progress = worker_service_pb2.ProgressReport(run_id=run_id, step=1, attempt=1, epoch=1, details=payload(1))
    return [
        (runs.StartRun, pb.StartRunRequest(start=start_spec())),
        (runs.GetRun, pb.GetRunRequest(run=run_id)),
        (runs.ListRuns, listing),
        (runs.WaitRuns, pb.WaitRunsRequest(run_ids=[run_id], wait=Duration(nanos=1_000_000))),
        (runs.GetHistory, pb.GetHistoryRequest(run=run_id, after=1)),
        (runs.SignalRun, pb.SignalRunRequest(run=run_id, signal=signal, request_id="r", once=True)),
        (runs.CancelRun, pb.CancelRunRequest(run=run_id, reason="why", request_id="c")),
        (runs.TerminateRun, pb.TerminateRunRequest(run=run_id, reason="why", request_id="t")),
        (runs.RetryRun, pb.RetryRunRequest(run=run_id, start_id=start_id())),
        (runs.ResumeRun, pb.ResumeRunRequest(run=run_id, request_id="s")),
        (runs.GetTrace, pb.GetTraceRequest(run=run_id, after=1)),
        (runs.ExportTrace, pb.ExportTraceRequest(run=run_id)),
        (workers.OpenSession, introduction),
        (workers.Heartbeat, worker_service_pb2.HeartbeatRequest(**session, held=[held], loop_lag=Duration(nanos=5))),
        (workers.ReadJournal, worker_service_pb2.ReadJournalRequest(**session, run_id=run_id, epoch=1, after=1)),
        (workers.SaveProgress, worker_service_pb2.SaveProgressRequest(**session, progress=[progress])),
        (workers.ReadJournals, worker_service_pb2.ReadJournalsRequest(**session, leases=[held])),
        (workers.CloseSession, worker_service_pb2.CloseSessionRequest(**session)),
    ]


@FEW
@given(data=st.data())
def test_no_change_of_any_other_request_makes_more_than_a_refusal(peer: Peer, data: st.DataObject) -> None:
    run_id = peer.run(peer.worker.start())
    peer.run(peer.worker.open())  # an earlier request may have closed its session
    choices = requests(peer, run_id)
    method, request = choices[data.draw(st.integers(0, len(choices) - 1))]
    peer.call(method, data.draw(mutated(request, spared=frozenset({"wait"}))))
