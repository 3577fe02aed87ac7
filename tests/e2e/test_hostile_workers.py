"""A worker that reports what is not its own, twice, late, out of order and in absurd numbers, beside an honest one."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.api.v1 import journal_pb2, run_service_pb2, status_pb2, value_pb2, worker_service_pb2
from tests.support.bystanders import under_attack
from tests.support.raw_worker import RawWorker, entry, payload, transition

COMMITTED = worker_service_pb2.TRANSITION_STATUS_COMMITTED
NOT_TAKEN = {worker_service_pb2.TRANSITION_STATUS_SUPERSEDED, worker_service_pb2.TRANSITION_STATUS_REFUSED}
STOLEN = "stolen"
SECONDS = 5.0
ROUNDS_MIN = 6
"""With each fifth round the session is closed and opened anew."""
MANY = 5_000


class Siege:
    """A coordinator process, honest work beside, and one hostile worker in the test's own loop."""

    def __init__(self, runner: asyncio.Runner, address: str) -> None:
        self._runner = runner
        self.address = address
        self.worker = RawWorker(address, steps=("charge",))

    def run(self, coroutine: Any) -> Any:
        """What a coroutine returns."""
        return self._runner.run(coroutine)


@pytest.fixture(scope="module")
def siege(module_database: str) -> Iterator[Siege]:
    with under_attack(module_database) as (runner, address):
        siege = Siege(runner, address)
        runner.run(siege.worker.open())
        yield siege
        runner.run(siege.worker.close())


def test_who_claims_the_runs_of_another_worker_changes_nothing_in_them(siege: Siege) -> None:
    """By reports, heartbeats and a close of its session; that worker's runs all come to their own results."""
    siege.run(_claimed(siege.worker))


async def _claimed(worker: RawWorker) -> None:
    seen, until = Counter[str](), time.monotonic() + SECONDS
    number = 0
    while number < ROUNDS_MIN or time.monotonic() < until:
        number += 1
        listing = run_service_pb2.ListRunsRequest(workflow="honest_work", page_size=20)
        runs = [one.run_id for one in (await worker.runs.ListRuns(listing, timeout=20)).runs]
        epoch = number % 3 + 1
        answer = await worker.report(
            *(_stolen(run_id, epoch, number % 5) for run_id in runs), attempts=tuple(_stolen_step(one) for one in runs)
        )
        assert {one.status for one in answer.transitions} <= NOT_TAKEN, answer
        assert not any(one.recorded for one in answer.attempts), answer
        held = [worker_service_pb2.Held(run_id=one, step=step, epoch=epoch) for one in runs for step in (0, 1, 2)]
        session = {"session_id": worker.session_id, "attach_no": worker.attach_no}
        beat = worker_service_pb2.HeartbeatRequest(
            **session, held=held, msg_no=number, given_up=held, lost=held, loop_lag=Duration(seconds=1)
        )
        await worker.workers.Heartbeat(beat, timeout=20)
        poll = worker.poll_request(free_runs=0, free_slots=0)
        poll.received.extend(held)
        with_mail = [worker_service_pb2.Held(run_id=one, epoch=epoch, mail_seen=10**15) for one in runs]
        poll.received.extend(with_mail)
        with pytest.raises(grpc.aio.AioRpcError) as over:
            await worker.workers.Poll(poll, timeout=0.05)
        assert over.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        for run_id in runs[:2]:
            asked = worker_service_pb2.ReadJournalRequest(**session, run_id=run_id, epoch=epoch)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await worker.workers.ReadJournal(asked, timeout=20)
            seen[refused.value.code().name] += 1
        if number % 5 == 0:
            await worker.workers.CloseSession(worker_service_pb2.CloseSessionRequest(**session, lost=held), timeout=20)
            await worker.open()
    assert set(seen) <= {"FAILED_PRECONDITION", "NOT_FOUND"}, seen


def _stolen(run_id: str, epoch: int, length: int) -> worker_service_pb2.Transition:
    closed = journal_pb2.RunClosed(status=status_pb2.RUN_STATUS_COMPLETED, result=payload(STOLEN))
    return worker_service_pb2.Transition(
        run_id=run_id, epoch=epoch, expected_seq=length, transition_id=1, entries=[entry(run_closed=closed)],
        then=worker_service_pb2.THEN_CLOSE,
    )  # fmt: skip


def _stolen_step(run_id: str) -> worker_service_pb2.AttemptReport:
    record = journal_pb2.AttemptRecord(attempt=1, outcome=1)
    return worker_service_pb2.AttemptReport(
        run_id=run_id, step=2, attempt=1, epoch=1, record=record, result=payload(STOLEN)
    )


def test_a_completion_reported_twice_under_other_numbers_counts_once(siege: Siege) -> None:
    async def reported() -> None:
        worker = siege.worker
        lease = await worker.started()
        closed = journal_pb2.RunClosed(status=status_pb2.RUN_STATUS_COMPLETED, result=payload("first"))
        first = transition(lease, entry(run_closed=closed), then=worker_service_pb2.THEN_CLOSE)
        assert (await worker.report(first)).transitions[0].status == COMMITTED
        closed.result.CopyFrom(payload("second"))
        for number, epoch in ((1, lease.epoch), (2, lease.epoch), (2, lease.epoch + 1), (3, 10**15), (1, -1)):
            again = transition(lease, entry(run_closed=closed), then=worker_service_pb2.THEN_CLOSE, number=number)
            again.epoch = epoch
            await worker.report(again)
        described = await worker.described(lease.run_id)
        assert described.result.data == b'"first"'
        assert len(await worker.history(lease.run_id)) == 2

    siege.run(reported())


NUMBERS = st.integers(1, 3) | st.sampled_from((2**31 - 1,))
ATTEMPTS = st.builds(
    journal_pb2.AttemptRecord, attempt=NUMBERS, outcome=st.integers(1, 6), retry_delay=st.just(Duration(seconds=1))
)
FAILURE = value_pb2.Failure(error_type="E", message="m")
ENTRIES = st.one_of(
    st.builds(lambda number, name, placement, started: entry(step_scheduled=journal_pb2.StepScheduled(
        number=number, name=name, placement=placement, started=started)),
        NUMBERS, st.sampled_from(("charge", "other")), st.integers(1, 2), st.booleans()),
    st.builds(lambda number, attempt: entry(step_completed=journal_pb2.StepCompleted(
        number=number, attempt=attempt, result=payload(1))), NUMBERS, ATTEMPTS),
    st.builds(lambda number, attempt: entry(step_failed=journal_pb2.StepFailed(
        number=number, attempt=attempt, failure=FAILURE)), NUMBERS, ATTEMPTS),
    st.builds(lambda number: entry(step_cancelled=journal_pb2.StepCancelled(number=number)), NUMBERS),
    st.builds(lambda number, attempt: entry(attempt_started=journal_pb2.AttemptStarted(
        number=number, attempt=attempt)), NUMBERS, NUMBERS),
    st.builds(lambda number, attempt, alarm: entry(attempt_ended=journal_pb2.AttemptEnded(
        number=number, attempt=attempt, retry_by_alarm=alarm)), NUMBERS, ATTEMPTS, st.booleans()),
    st.builds(lambda number: entry(timer_set=journal_pb2.TimerSet(number=number, delay=Duration(nanos=1))), NUMBERS),
    st.builds(lambda number: entry(timer_cancelled=journal_pb2.TimerCancelled(number=number)), NUMBERS),
    st.builds(lambda number: entry(mail_consumed=journal_pb2.MailConsumed(number=number)), NUMBERS),
    st.builds(lambda number: entry(child_cancelled=journal_pb2.ChildCancelled(number=number)), NUMBERS),
    st.builds(lambda number: entry(user_span=journal_pb2.UserSpan(number=number, name="part")), NUMBERS),
    st.builds(lambda number: entry(user_span_began=journal_pb2.UserSpanBegan(number=number, name="part")), NUMBERS),
)  # fmt: skip
THENS = st.sampled_from((worker_service_pb2.THEN_CONTINUE,) * 4 + (worker_service_pb2.THEN_SUSPEND,))


@settings(max_examples=40, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
@given(parts=st.lists(st.tuples(st.lists(ENTRIES, max_size=12), THENS), min_size=1, max_size=4))
def test_a_journal_in_no_order_is_refused_or_can_be_read_traced_ended_and_retried(
    siege: Siege, parts: list[tuple[list[journal_pb2.Entry], int]]
) -> None:
    siege.run(_out_of_order(siege.worker, parts))


async def _out_of_order(worker: RawWorker, parts: list[tuple[list[journal_pb2.Entry], int]]) -> None:
    lease = await worker.started()
    await worker.runs.SignalRun(
        run_service_pb2.SignalRunRequest(run=lease.run_id, signal=journal_pb2.Signal(name="go")), timeout=20
    )
    for number, (entries, then) in enumerate(parts, 1):
        length = len(await worker.history(lease.run_id))
        made = transition(
            lease, *entries, then=then, number=number, expected_seq=length, waits=["a signal"], mail_seen=1
        )
        await worker.report(made)
    await _readable(worker, lease.run_id)
    await worker.runs.TerminateRun(run_service_pb2.TerminateRunRequest(run=lease.run_id), timeout=20)
    await _readable(worker, lease.run_id)
    retry = run_service_pb2.RetryRunRequest(run=lease.run_id, start_id=lease.run_id[-26:])
    call = worker.runs.RetryRun(retry, timeout=20)
    assert await call.code() in (grpc.StatusCode.OK, grpc.StatusCode.FAILED_PRECONDITION), await call.details()
    if await call.code() is grpc.StatusCode.OK:
        again = await call
        await _readable(worker, again.run.run_id)
        await worker.runs.TerminateRun(run_service_pb2.TerminateRunRequest(run=again.run.run_id), timeout=20)


async def _readable(worker: RawWorker, run_id: str) -> None:
    await worker.history(run_id)
    await worker.described(run_id)
    await worker.runs.GetTrace(run_service_pb2.GetTraceRequest(run=run_id), timeout=20)


def test_absurd_numbers_of_entries_polls_and_sessions_are_refused_or_served_without_harm(siege: Siege) -> None:
    async def many() -> None:
        worker = siege.worker
        lease = await worker.started()
        steps = [entry(step_scheduled=journal_pb2.StepScheduled(number=one + 1, name="charge")) for one in range(MANY)]
        answer = await worker.report(transition(lease, *steps), *[transition(lease, number=9)] * 200)
        assert answer.transitions[0].status in NOT_TAKEN | {COMMITTED}
        assert {one.status for one in answer.transitions[1:]} <= NOT_TAKEN
        held = [worker_service_pb2.Held(run_id=lease.run_id, step=one, epoch=one) for one in range(MANY)]
        beat = worker_service_pb2.HeartbeatRequest(session_id=worker.session_id, attach_no=worker.attach_no, held=held)
        await worker.workers.Heartbeat(beat, timeout=20)
        stream = worker.workers.Work()
        for _ in range(500):
            await stream.write(worker_service_pb2.WorkRequest(poll=worker.poll_request(free_runs=2**31 - 1)))
        stream.cancel()
        others = [RawWorker(siege.address) for _ in range(20)]
        await asyncio.gather(*(other.open() for other in others for _ in range(5)))
        await asyncio.gather(*(other.close() for other in others))
        await worker.runs.TerminateRun(run_service_pb2.TerminateRunRequest(run=lease.run_id), timeout=20)

    siege.run(many())
