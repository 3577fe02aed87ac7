"""What can be claimed in every cell store, and what is held: the same suite on Postgres and on the model."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import ClaimRuns, ClaimTasks
from holdfast_coordinator.domain.mail import MailKind, MailRow, SignalMail
from holdfast_coordinator.domain.rows import (
    RunState,
    TaskState,
)
from holdfast_coordinator.domain.snapshot import Reads
from holdfast_coordinator.store.port import (
    CellStore,
    ClaimHeld,
    HeldNews,
    LeaseHeld,
    QueuedStep,
)
from tests.support.store_rows import (
    T0,
    at,
    decide,
    open_run,
    read,
    ready_run,
    starting,
    task,
    write,
)


async def test_what_became_ready_before_a_step_back_of_the_clock_can_be_claimed(store: CellStore) -> None:
    now = (await read(store, Reads())).now
    before = now + timedelta(hours=1)  # what the clock said
    run = open_run("r1", state=RunState.READY, ready_at=before)
    await write(store, starting(run))
    ready = task("r1", 1, ready_at=before)
    waits = task("r1", 2, ready_at=before + timedelta(seconds=5))
    await write(store, Changes(tasks_added={("r1", 1): ready, ("r1", 2): waits}))
    claim = Reads(
        claim_runs=[ClaimRuns("default", "default", ("order",), 5)],
        claim_tasks=[ClaimTasks("default", "default", ("charge",), 5)],
    )
    snapshot = await read(store, claim)
    assert [row.run_id for row, _ in snapshot.claimed_runs[0]] == ["r1"]
    assert snapshot.claimed_tasks == [[]]
    assert await store.pull_back(now, before) == 1
    assert [row.number for row in (await read(store, claim)).claimed_tasks[0]] == [1]


async def test_what_sessions_hold_and_nobody_knows_of_is_found(store: CellStore) -> None:
    for name in ("r1", "r2", "r3"):
        await write(store, starting(open_run(name, owner="s2" if name == "r3" else "s1", epoch=4)))
    claimed = {("r1", number): task("r1", number, state=TaskState.CLAIMED, owner="s1", epoch=7) for number in (1, 2)}
    await write(store, Changes(tasks_added=claimed))
    known = {"s1": [("r1", 0, 4), ("r2", 0, 3), ("r1", 1, 7)]}
    assert sorted(await store.unknown_to(known, 10)) == [("s1", ("r1", 2, 7)), ("s1", ("r2", 0, 4))]
    assert sorted(await store.unknown_to({"s1": [], "s2": []}, 10)) == [
        ("s1", ("r1", 0, 4)), ("s1", ("r1", 1, 7)), ("s1", ("r1", 2, 7)), ("s1", ("r2", 0, 4)), ("s2", ("r3", 0, 4)),
    ]  # fmt: skip


async def test_the_queued_step_that_waits_first_is_named(store: CellStore) -> None:
    held = task("r1", 1, state=TaskState.CLAIMED, owner="s1", started_at=T0)
    waiting = [task("r1", 3, queue="gpu", name="render"), task("r1", 4)]
    await write(store, Changes(tasks_added={(row.run_id, row.number): row for row in (held, *waiting)}))
    assert await store.queued_step("r1") == QueuedStep("gpu", "render")
    assert await store.queued_step("r2") is None


async def test_what_sessions_hold_is_compared_with_the_rows(store: CellStore) -> None:
    same, later, taken, suspended, to_come = (
        open_run("same"), open_run("later", epoch=2), open_run("taken", owner="s2"),
        open_run("suspended", state=RunState.SUSPENDED),
        open_run("to-come", state=RunState.SUSPENDED, epoch=0),
    )  # fmt: skip
    await write(store, starting(same, later, taken, suspended, to_come, open_run("mail", mail_next=5, mail_taken=2)))
    steps = [task("same", number, state=TaskState.CLAIMED, epoch=1) for number in (1, 2)]
    steps[1].epoch = 2
    steps.append(task("same", 3, epoch=1))
    await write(store, Changes(tasks_added={(step.run_id, step.number): step for step in steps}))
    leases = [LeaseHeld("s1", run_id, 1) for run_id in ("same", "later", "taken", "suspended", "to-come", "gone")]
    with_mail = [LeaseHeld("s1", "mail", 1, seen) for seen in (0, 3, 4)]
    claims = [ClaimHeld("s1", "same", number, 1) for number in (1, 2, 3, 4)]
    news = await store.news_of_held([*leases, *with_mail], claims)
    assert [one.run_id for one in news.leases_ended] == ["later", "taken", "suspended", "gone"]
    assert [one.mail_seen for one in news.with_mail] == [0, 3]
    assert [(one.number, is_gone) for one, is_gone in news.claims_ended] == [(2, False), (3, False), (4, True)]
    assert await store.news_of_held([], []) == HeldNews()
    assert await store.news_of_held([], claims[:1]) == HeldNews()


async def test_names_of_which_work_is_ready_are_found(store: CellStore) -> None:
    runs = [ready_run("r1", 0), ready_run("r2", 0, workflow="other"), open_run("r3", workflow="leased")]
    await write(store, starting(*runs))
    later = task("r3", 3, name="later", ready_at=at(10_000_000_000))  # it waits for its retry
    tasks = [later, task("r3", 1), task("r3", 2, name="held", state=TaskState.CLAIMED, owner="s1", started_at=T0)]
    await write(store, Changes(tasks_added={(step.run_id, step.number): step for step in tasks}))
    workflows = [("default", "default", name) for name in ("leased", "order", "unknown", "other")]
    steps = [("default", queue, name) for queue in ("gpu", "default") for name in ("charge", "held", "later")]
    with_runs, with_steps = await store.waiting_names(workflows, steps)
    assert [name for *_, name in with_runs] == ["order", "other"]
    assert with_steps == [("default", "default", "charge")]
    assert await store.waiting_names([], []) == ([], [])


async def test_a_claim_gives_ready_runs_in_order_of_priority_and_time(store: CellStore) -> None:
    runs = [
        ready_run("r1", 3), ready_run("r2", 1), ready_run("r3", 9, priority=-1), ready_run("r4", 0, priority=5),
        ready_run("r5", 0, workflow="unknown"), ready_run("r6", 0, queue="other"), open_run("r7"),
        ready_run("r8", 2, workflow="refund"), ready_run("r9", 10**9),
    ]  # fmt: skip
    changes = starting(*runs)
    changes.mail_added.append(MailRow("r2", 1, MailKind.SIGNAL, T0, SignalMail("s", b"")))
    runs[1].mail_next = 2
    await write(store, changes)
    claim = ClaimRuns("default", "default", ("order", "refund"), 4)
    snapshot = await read(store, Reads(claim_runs=[claim, replace(claim, limit=1)]))
    (claimed, again) = snapshot.claimed_runs
    assert [run.run_id for run, _ in claimed] == ["r3", "r2", "r8", "r1"]
    assert again == []
    assert [record.workflow for _, record in claimed] == ["order", "order", "refund", "order"]
    assert snapshot.runs.keys() == {"r3", "r2", "r8", "r1"}
    assert [row.number for row in snapshot.mail["r2"]] == [1]


async def test_claims_go_on_behind_what_was_claimed_and_find_what_becomes_ready_before_it(
    store: CellStore,
) -> None:
    claim = Reads(claim_runs=[ClaimRuns("default", "default", ("order",), 2)])

    def lease(snapshot: Any) -> Changes:
        leased = {
            run.run_id: replace(run, state=RunState.LEASED, owner="s1", ready_at=None)
            for run, _ in snapshot.claimed_runs[0]
        }
        return Changes(updated=leased)

    await write(store, starting(*(ready_run(f"r{number}", number, priority=1) for number in range(5))))
    assert [run.run_id for run, _ in (await decide(store, claim, lease)).claimed_runs[0]] == ["r0", "r1"]
    assert [run.run_id for run, _ in (await read(store, claim)).claimed_runs[0]] == ["r2", "r3"]
    assert [run.run_id for run, _ in (await decide(store, claim, lease)).claimed_runs[0]] == ["r2", "r3"]
    await write(store, starting(ready_run("r9", 0, priority=1), ready_run("r8", 9, priority=0)))
    assert [run.run_id for run, _ in (await decide(store, claim, lease)).claimed_runs[0]] == ["r8", "r9"]
    assert [run.run_id for run, _ in (await decide(store, claim, lease)).claimed_runs[0]] == ["r4"]


async def test_queued_steps_keep_everything_and_are_claimed_when_they_are_due(store: CellStore) -> None:
    full = task(
        "r1", 1, priority=2, attempt=3, failures=1, losses=1, epoch=4, timeout=timedelta(days=2, microseconds=5),
        recoveries=None, retry=b"retry", step_id="own", workflow="order", attempts_ended=(b"\x08\x01", b"\x08\x02"),
    )  # fmt: skip
    later = task("r1", 2, ready_at=at(10**9))
    held = task("r1", 3, state=TaskState.CLAIMED, owner="s1", started_at=T0, deadline_at=at(1))
    changes = Changes(tasks_added={(row.run_id, row.number): row for row in (full, later, held)})
    await write(store, changes)
    claim = ClaimTasks("default", "default", ("charge", "other"), 5)
    assert (await read(store, Reads(claim_tasks=[claim]))).claimed_tasks == [[full]]
    snapshot = await read(store, Reads(tasks={("r1", 1)}, tasks_of={"r1"}))
    assert snapshot.tasks == {("r1", 1): full, ("r1", 2): later, ("r1", 3): held}
    assert await store.overdue_tasks(timedelta(seconds=5), 10) == [held]
    assert await store.lease_owners() == {"s1"}
    assert await store.held_by(["s1", "s2"], 10) == ([], [held])
    retried = task("r1", 3, attempts_ended=(b"\x08\x01",), epoch=5)
    await write(store, Changes(tasks_updated={("r1", 3): retried}, tasks_deleted={("r1", 1)}))
    assert (await read(store, Reads(tasks_of={"r1"}))).tasks == {("r1", 2): later, ("r1", 3): retried}
