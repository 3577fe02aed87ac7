"""Thousands of mails and children of one run: nothing is dropped, and nothing costs more for each than for one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from holdfast import ids
from holdfast.api.v1 import journal_pb2, run_service_pb2, status_pb2, worker_service_pb2
from holdfast_coordinator.app import coordinator
from holdfast_coordinator.config import Config
from tests.support.raw_worker import RawWorker, entry, payload, transition

MANY = 1_200
CLOSE = worker_service_pb2.THEN_CLOSE
COMMITTED = worker_service_pb2.TRANSITION_STATUS_COMMITTED


@asynccontextmanager
async def worker_of(database: str) -> AsyncIterator[RawWorker]:
    """A worker of a coordinator; its session lives for as long as a slow machine may take."""
    async with coordinator(Config(database_url=database, port=0, poll_wait="0.2s", session_ttl="300s")) as replica:
        worker = await RawWorker(replica.address).open()
        yield worker
        await worker.close()


async def signals(worker: RawWorker, run: str, count: int) -> None:
    """Sends signals to a run, all at once."""
    sent = run_service_pb2.SignalRunRequest(run=run, signal=journal_pb2.Signal(name="go", payload=payload(1)))
    await asyncio.gather(*(worker.runs.SignalRun(sent, timeout=60) for _ in range(count)))


async def test_of_a_burst_of_calls_none_is_cancelled_by_the_server(database: str) -> None:
    """Of 1,200 signals at once gRPC cancelled 4 to 11 at random, before any of our code had seen them."""
    async with worker_of(database) as worker:
        run = await worker.start()
        for _ in range(4):
            await signals(worker, run, MANY)
        assert (await worker.described(run)).status == status_pb2.RUN_STATUS_PENDING


async def test_mail_that_nobody_read_is_journaled_to_the_last_piece_when_its_run_ends(database: str) -> None:
    """Of 1,200 unread signals the first 1,000 were journaled, the others were gone."""
    async with worker_of(database) as worker:
        run = await worker.start()
        await signals(worker, run, MANY)
        await worker.runs.TerminateRun(run_service_pb2.TerminateRunRequest(run=run), timeout=60)
        numbers = [one.mail_undelivered.number for one in await worker.history(run) if one.HasField("mail_undelivered")]
        assert numbers == list(range(1, MANY + 1))


async def test_more_than_a_page_of_mail_is_offered_and_consumed(database: str) -> None:
    """A transition that consumed more than 1,000 was refused, and its run stalled."""
    async with worker_of(database) as worker:
        lease = await worker.started()
        await signals(worker, lease.run_id, MANY)
        seen = 0
        answer = await worker.report(transition(lease))
        length, number = lease.journal_length, 2
        while answer.transitions[0].mail:
            mail = answer.transitions[0].mail
            assert [one.number for one in mail] == list(range(seen + 1, seen + len(mail) + 1))
            seen += len(mail)
            asked = transition(lease, expected_seq=length, number=number, mail_seen=seen)
            answer, number = await worker.report(asked), number + 1
        assert seen == MANY
        consumed = [entry(mail_consumed=journal_pb2.MailConsumed(number=one)) for one in range(1, MANY + 1)]
        asked = transition(lease, *consumed, expected_seq=length, number=number, mail_seen=MANY)
        assert (await worker.report(asked)).transitions[0].status == COMMITTED
        assert len(await worker.history(lease.run_id)) == length + MANY


async def test_a_parent_gets_the_ends_of_more_children_than_a_page(database: str) -> None:
    async with worker_of(database) as worker:
        lease = await worker.started()
        started = [
            entry(
                child_started=journal_pb2.ChildStarted(
                    number=number, workflow="flow", run_id=ids.child_run_id(lease.run_id, number)
                )
            )
            for number in range(1, MANY + 1)
        ]
        await worker.report(transition(lease, *started))
        closed = 0
        while closed < MANY:
            leases = (await worker.poll(free_runs=200)).leases
            done = entry(run_closed=journal_pb2.RunClosed(status=status_pb2.RUN_STATUS_COMPLETED))
            await worker.report(*(transition(child, done, then=CLOSE) for child in leases))
            closed += len(leases)
        length, number, taken = lease.journal_length + MANY, 2, 0
        async with asyncio.timeout(60):
            while taken < MANY:
                answer = await worker.report(transition(lease, expected_seq=length, number=number, mail_seen=taken))
                mail, number = answer.transitions[0].mail, number + 1
                if mail:
                    consumed = [entry(mail_consumed=journal_pb2.MailConsumed(number=one.number)) for one in mail]
                    taken = mail[-1].number
                    asked = transition(lease, *consumed, expected_seq=length, number=number, mail_seen=taken)
                    assert (await worker.report(asked)).transitions[0].status == COMMITTED
                    length, number = length + len(mail), number + 1
        ends = [one for one in await worker.history(lease.run_id) if one.mail_consumed.mail.HasField("child_closed")]
        assert {one.mail_consumed.mail.child_closed.number for one in ends} == set(range(1, MANY + 1))


async def test_what_was_asked_once_is_kept_for_a_day_after_the_end_and_not_for_ten_years(database: str) -> None:
    async with worker_of(database) as worker:
        run = await worker.start()
        signal = journal_pb2.Signal(name="go")
        once = run_service_pb2.SignalRunRequest(run=run, signal=signal, request_id="first", once=True)
        assert (await worker.runs.SignalRun(once, timeout=20)).accepted
        await worker.runs.TerminateRun(run_service_pb2.TerminateRunRequest(run=run, request_id="t"), timeout=20)
        with psycopg.connect(database) as connection:
            sql = b"SELECT count(*) FROM holdfast_c00.requests WHERE expires_at > now() + interval '25 hours'"
            assert connection.execute(sql).fetchone() == (0,)
        assert (await worker.runs.SignalRun(once, timeout=20)).accepted, "a repeat gets the first answer"


async def test_describing_a_run_reads_of_its_journal_only_the_end(database: str) -> None:
    """The whole journal was read and decoded for the name of the step that a run works on."""
    async with worker_of(database) as worker:
        lease = await worker.started()
        length = lease.journal_length
        for number in (1, 2, 3):
            step = journal_pb2.StepScheduled(
                number=number, name=f"step-{number}", placement=status_pb2.STEP_PLACEMENT_INLINE, started=True
            )
            asked = transition(lease, entry(step_scheduled=step), expected_seq=length, number=number)
            assert (await worker.report(asked)).transitions[0].status == COMMITTED
            length += 1
        with psycopg.connect(database) as connection:
            before = (lease.run_id, length)
            connection.execute(
                "UPDATE holdfast_c00.journal SET entries = '\\xff' WHERE run_id = %s AND seq < %s", before
            )
        assert (await worker.described(lease.run_id)).current_step == "step-3"
        listed = await worker.runs.GetHistory(run_service_pb2.GetHistoryRequest(run=lease.run_id, after=length - 1))
        assert [row.seq for row in listed.rows] == [length]
