"""The work of a session as a whole: leases, slots, reports, the cache, losing and handing back."""

import asyncio
from datetime import UTC, datetime

from holdfast.authoring.apps import App
from holdfast.authoring.primitives import receive, sleep
from holdfast.backoff import constant
from holdfast.channel.leases import Held, Notice, QueuedAttempt, Row, Work
from holdfast.journal import Arguments, AttemptEnded, Signal, StepScheduled, TimerFired
from holdfast.statuses import AttemptOutcome, Placement, RunStatus
from tests.support.worker_desk import Desk
from tests.support.worker_driving import payload

app = App("crew")
gates: dict[str, asyncio.Event] = {}
most_at_once = [0, 0]
tries: dict[str, int] = {}


@app.step
async def add(left: int, right: int) -> int:
    return left + right


@app.step
async def through(gate: str) -> str:
    await gates[gate].wait()
    return gate


@app.step
async def counted() -> None:
    most_at_once[0] += 1
    most_at_once[1] = max(most_at_once)
    await asyncio.sleep(0)
    most_at_once[0] -= 1


@app.step(retries=3, backoff=constant(0.01))
async def third_time(key: str) -> int:
    tries[key] = tries.get(key, 0) + 1
    if tries[key] < 3:
        raise KeyError(key)
    return tries[key]


@app.workflow
async def total(numbers: int) -> int:
    found = 0
    for number in range(numbers):
        found = await add(found, number)
    return found


@app.workflow
async def gated(gate: str) -> str:
    return await through(gate)


@app.workflow
async def fan_out(width: int) -> int:
    await asyncio.gather(*(counted() for _ in range(width)))
    return width


@app.workflow
async def stubborn(key: str) -> int:
    return await third_time(key)


@app.workflow
async def patient() -> str:
    await sleep("1h")
    return await receive("word", str)


def result(run):
    close = run.close
    assert close is not None
    assert close.status is RunStatus.COMPLETED, close.failure
    return close.result.data


async def test_many_runs_are_carried_to_their_ends_with_shared_reports():
    desk = Desk(app)
    runs = [desk.start("total", 5) for _ in range(20)]
    await desk.until(lambda: all(run.close for run in runs))
    assert {result(run) for run in runs} == {b"10"}
    assert desk.held == ()
    assert len(desk.reports) < 20, "reports carry what accumulated, not one run each"


async def test_no_more_attempts_run_at_once_than_there_are_slots():
    most_at_once[:] = [0, 0]
    desk = Desk(app, slots=3)
    run = desk.start("fan_out", 12)
    await desk.until(lambda: run.close)
    assert most_at_once[1] == 3
    assert desk.crew.slots.free == 3


async def test_a_retry_with_a_short_wait_happens_here():
    desk = Desk(app)
    run = desk.start("stubborn", "here")
    await desk.until(lambda: run.close)
    assert result(run) == b"3"
    assert len([entry for entry in run.entries if isinstance(entry, AttemptEnded)]) == 2


async def test_a_suspended_run_is_kept_and_goes_on_without_a_replay():
    desk = Desk(app)
    run = desk.start("patient")
    await desk.until(lambda: run.state == "suspend")
    assert desk.held == ()
    run.post(TimerFired(1))
    run.post(Signal("word", payload("hi")))
    desk.hand(run, whole=False)
    await desk.until(lambda: run.close)
    assert result(run) == b'"hi"'
    assert desk.asked_for == [], "no journal was read"


async def test_a_run_that_is_not_at_hand_is_rebuilt_from_the_pages_of_its_journal():
    desk = Desk(app)
    run = desk.start("total", 3)
    run_two = desk.start("patient")
    await desk.until(lambda: run.close and run_two.state == "suspend")
    other = Desk(app)
    other.runs[run_two.run_id] = run_two
    lease = other.hand(run_two, whole=False)
    assert other.asked_for == [lease]
    for index, entry in enumerate(run_two.entries):
        more = index + 1 < len(run_two.entries)
        arguments = Arguments() if index == 0 else None
        assert other.crew.runs.rows_arrived(lease, (Row(index + 1, 1, (entry,)),), arguments, more=more)
    mail = run_two.post(TimerFired(1))
    other.crew.work_arrived(Work(notices=(Notice(Held(run_two.run_id, 0, lease.epoch), (mail,)),)))
    await other.until(lambda: run_two.state == "suspend" and not run_two.mail)


async def test_nothing_starts_before_the_session_is_sure_of_its_leases():
    gates["sure"] = asyncio.Event()
    gates["sure"].set()
    desk = Desk(app)
    desk.hear(age=9.5)
    run = desk.start("gated", "sure")
    await desk.until(lambda: len(run.entries) == 2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(run.entries) == 2
    assert desk.crew.running_attempts == 1
    desk.hear()
    desk.crew.sure_again()
    await desk.until(lambda: run.close)


async def test_a_lease_that_ended_elsewhere_is_dropped_and_its_attempt_cancelled():
    gates["lost"] = asyncio.Event()
    desk = Desk(app)
    run = desk.start("gated", "lost")
    await desk.until(lambda: len(run.entries) == 2)
    desk.crew.ended_elsewhere([Held(run.run_id, 0, run.epoch - 1)])
    assert desk.held == (Held(run.run_id, 0, 1),), "another epoch is another lease"
    desk.crew.ended_elsewhere([Held(run.run_id, 0, run.epoch)])
    assert desk.held == ()
    async with asyncio.timeout(5):
        while desk.crew.slots.free < 10:  # noqa: ASYNC110 - the task ends in a few turns of the loop
            await asyncio.sleep(0)
    assert len(run.entries) == 2


async def test_an_end_that_crosses_a_report_is_decided_by_the_answer():
    desk = Desk(app, answering=False)
    run = desk.start("patient")
    await asyncio.sleep(0)
    report = desk.crew.take_report()
    desk.crew.ended_elsewhere([Held(run.run_id, 0, run.epoch)])
    desk.answer(report)
    assert run.state == "suspend"
    run.post(TimerFired(1))
    desk.answering = True
    desk.hand(run, whole=False)
    await desk.until(lambda: run.state == "suspend" and not run.mail)
    assert desk.asked_for == [], "what it knew was kept"


async def test_a_lease_that_overtakes_the_answer_to_the_report_before_it_waits_for_that_answer():
    desk = Desk(app, answering=False)
    run = desk.start("patient")
    await asyncio.sleep(0)
    report = desk.crew.take_report()
    (transition,) = report.transitions
    committed = desk._take(transition)
    run.post(TimerFired(1))
    desk.hand(run, whole=False)
    assert desk.held == (Held(run.run_id, 0, 1),)
    desk.crew.report_answered(type("Answer", (), {"transitions": (committed,), "attempts": ()}))
    assert desk.held == (Held(run.run_id, 0, 2, 1),)
    desk.answering = True
    await desk.until(lambda: run.state == "suspend" and not run.mail)


async def test_a_lease_handed_out_twice_is_taken_once():
    gates["twice"] = asyncio.Event()
    desk = Desk(app)
    run = desk.start("gated", "twice")
    await desk.until(lambda: len(run.entries) == 2)
    run.epoch -= 1
    desk.hand(run)
    gates["twice"].set()
    await desk.until(lambda: run.close)
    assert len([entry for entry in run.entries if isinstance(entry, StepScheduled)]) == 1


async def test_a_draining_crew_lets_attempts_finish_and_gives_their_runs_back():
    gates["drain"] = asyncio.Event()
    desk = Desk(app)
    run, idle = desk.start("gated", "drain"), desk.start("total", 2)
    await desk.until(lambda: idle.close and len(run.entries) == 2)
    desk.crew.drain()
    assert (desk.crew.free_slots, desk.crew.free_runs) == (0, 0)
    gates["drain"].set()
    async with asyncio.timeout(5):
        await desk.crew.emptied.wait()
    assert run.close


async def test_a_draining_crew_with_nothing_to_do_is_done_at_once():
    desk = Desk(app)
    desk.crew.drain()
    async with asyncio.timeout(5):
        await desk.crew.emptied.wait()


async def test_what_still_runs_is_handed_back_and_others_repeat_it():
    gates["back"] = asyncio.Event()
    desk = Desk(app)
    run = desk.start("gated", "back")
    await desk.until(lambda: len(run.entries) == 2)
    desk.crew.hand_back()
    async with asyncio.timeout(5):
        await desk.crew.emptied.wait()
    assert run.state == "release"
    assert run.entries[-1].attempt.outcome is AttemptOutcome.HANDED_BACK
    gates["back"].set()
    other = Desk(app)
    other.runs[run.run_id] = run
    other.hand(run)
    await other.until(lambda: run.close)
    assert result(run) == b'"back"'


async def test_a_dead_session_drops_everything_and_reports_nothing_of_it():
    gates["dead"] = asyncio.Event()
    desk = Desk(app)
    run = desk.start("gated", "dead")
    await desk.until(lambda: len(run.entries) == 2)
    desk.crew.drop_everything()
    gates["dead"].set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert desk.held == ()
    assert desk.crew.take_report() is None
    assert desk.crew.slots.free == 10


async def test_a_fan_out_waits_for_the_slots_of_its_worker_and_goes_to_the_queue_from_ten_times_as_many_on():
    desk = Desk(app, slots=1)
    run = desk.start("fan_out", 14)
    await desk.until(lambda: len(run.entries) > 14)
    placements = [entry.placement for entry in run.entries if isinstance(entry, StepScheduled)]
    assert placements == [Placement.INLINE] * 11 + [Placement.QUEUED] * 3


def claim_of(name: str, *arguments, epoch: int = 1) -> QueuedAttempt:
    encoded = Arguments(tuple(map(payload, arguments)))
    return QueuedAttempt("run_q", 2, 1, epoch, name, encoded, "flow", *[datetime.now(UTC)] * 3)


async def test_a_queued_attempt_runs_in_a_slot_and_is_reported():
    desk = Desk(app)
    received = desk.crew.work_arrived(Work(attempts=(claim_of("add", 2, 3),)))
    assert received == [Held("run_q", 2, 1)]
    assert desk.crew.slots.free == 9
    await desk.until(lambda: desk.reports)
    (report,) = desk.reports[0].attempts
    assert report.result.data == b"5"
    assert (desk.held, desk.crew.slots.free) == ((), 10)


async def test_a_cancelled_queued_attempt_is_stopped_and_not_reported():
    gates["queued"] = asyncio.Event()
    desk = Desk(app)
    desk.crew.work_arrived(Work(attempts=(claim_of("through", "queued"),)))
    desk.crew.work_arrived(Work(notices=(Notice(Held("run_q", 2, 1), cancelled=True),)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (desk.held, desk.crew.slots.free, desk.reports) == ((), 10, [])


async def test_a_run_of_a_workflow_that_the_worker_has_not_is_not_held_and_logged(caplog):
    desk = Desk(app)
    run = desk.start("nobody")
    assert desk.held == ()
    assert caplog.messages == [
        f"run {run.run_id} is left to others: this worker has no workflow nobody; "
        "start a worker whose modules define it"
    ]


async def test_the_cache_of_a_crew_is_bounded():
    desk = Desk(app, cached_runs_max=1)
    runs = [desk.start("patient") for _ in range(3)]
    await desk.until(lambda: all(run.state == "suspend" for run in runs))
    runs[0].post(TimerFired(1))
    desk.hand(runs[0], whole=False)
    assert len(desk.asked_for) == 1
