"""What a worker says of the mail of its runs: the coordinator sends the rest again."""

import asyncio

from holdfast.authoring.apps import App
from holdfast.authoring.primitives import receive
from holdfast.channel.leases import Held, Notice, Row, Work
from holdfast.journal import Arguments, Signal
from tests.support.worker_desk import Desk

app = App("mail_seen")
gates: dict[str, asyncio.Event] = {}


@app.step
async def through(gate: str) -> str:
    await gates[gate].wait()
    return gate


@app.workflow
async def at_work(gate: str) -> str:
    return await through(gate)


@app.workflow
async def patient() -> str:
    return await receive("word", str)


def notice(held: Held, *mail) -> Work:
    return Work(notices=(Notice(held, mail),))


async def at_work_on(gate: str):
    gates[gate] = asyncio.Event()
    desk = Desk(app)
    run = desk.start("at_work", gate)
    await desk.until(lambda: desk.crew.running_attempts == 1)
    return desk, run, Held(run.run_id, 0, run.epoch)


async def test_mail_is_acknowledged_up_to_the_first_piece_that_is_missing():
    desk, run, held = await at_work_on("gap")
    assert desk.crew.held == (held,)
    first, second, third = (run.post(Signal(name)) for name in ("a", "b", "c"))
    assert desk.crew.work_arrived(notice(held, first)) == [held._replace(mail_seen=1)]
    assert desk.crew.work_arrived(notice(held, third)) == [held._replace(mail_seen=1)]
    assert desk.crew.held == (held._replace(mail_seen=1),)
    assert desk.crew.work_arrived(notice(held, second, third)) == [held._replace(mail_seen=3)]
    assert desk.crew.held == (held._replace(mail_seen=3),)


async def test_mail_of_a_run_that_is_not_held_is_not_acknowledged():
    desk, run, held = await at_work_on("gone")
    mail = run.post(Signal("a"))
    assert desk.crew.work_arrived(notice(held._replace(epoch=held.epoch + 1), mail)) == []
    assert desk.crew.held == (held,)


async def test_a_lease_is_acknowledged_with_the_mail_that_it_brings_and_that_is_in_its_journal():
    desk = Desk(app)
    run = desk.start("patient")
    await desk.until(lambda: run.state == "suspend")
    other = Desk(app)
    other.runs[run.run_id] = run
    run.post(Signal("other"))
    lease = run.lease(whole=False)
    (received,) = other.crew.work_arrived(Work(leases=(lease,)))
    assert received == Held(run.run_id, 0, lease.epoch, 1)


async def test_mail_that_comes_while_a_run_is_rebuilt_is_acknowledged_and_goes_to_its_code():
    desk = Desk(app)
    run = desk.start("patient")
    await desk.until(lambda: run.state == "suspend")
    run.mail_taken = run.mail_count = 4  # as if signals that the code did not wait for had been consumed before
    other = Desk(app)
    other.runs[run.run_id] = run
    lease = other.hand(run, whole=False)
    held = Held(run.run_id, 0, lease.epoch)
    assert other.crew.held == (held._replace(mail_seen=4),)
    fifth, sixth = run.post(Signal("other")), run.post(Signal("other"))
    assert other.crew.work_arrived(notice(held, sixth)) == [held._replace(mail_seen=4)]
    assert other.crew.work_arrived(notice(held, fifth)) == [held._replace(mail_seen=6)]
    other.crew.runs.rows_arrived(lease, (Row(len(run.entries), 1, tuple(run.entries)),), Arguments(), more=False)
    await other.until(lambda: run.state == "suspend" and not run.mail)


async def test_a_lease_that_waits_for_the_answer_of_the_one_before_does_not_acknowledge_its_mail():
    desk, run, held = await at_work_on("before")
    run.post(Signal("a"))
    desk.crew.work_arrived(notice(held, run.mail[0]))
    desk.answering = False
    gates["before"].set()
    report = None
    while report is None:
        await asyncio.sleep(0)
        report = desk.crew.take_report()
    lease = run.lease()
    (received,) = desk.crew.work_arrived(Work(leases=(lease,)))
    assert received == Held(run.run_id, 0, lease.epoch)
