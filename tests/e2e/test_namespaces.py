"""Nothing of one namespace is visible in another, through any rpc of clients or workers (invariant 12).

A run lives in `default`; everything is then tried from `other`, by a client, and by a worker that lies.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

import holdfast
from holdfast import App, HookNotFound, InvalidRequest, NamespaceNotFound, RunNotFound
from holdfast.api.v1 import run_service_pb2, worker_service_pb2
from holdfast.channel.leases import Held, Introduction, Lease, ProgressReport, Transition, WorkflowRegistration
from holdfast.channel.run_calls import RunCalls
from holdfast.channel.worker_calls import HeartbeatCalls, WorkerCalls
from holdfast.client import Client, RunHandle, by_name
from holdfast.client.start_specs import start_spec, target_of
from holdfast.ids import hook_token, run_id
from holdfast.journal import Arguments, AttemptStarted, ChildStarted, Payload
from holdfast.session_refusals import ReattachRequired, SessionExpired
from holdfast.statuses import RunStatus, Then, TransitionStatus
from tests.support.watching import kinds, until_status

from .conftest import Coordinator, WorkerFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUEUE = "shared-name"
app = App("tenants")


@app.step
async def reserve(number: int) -> int:
    return number


@app.workflow(id="order-{number}")
async def order(number: int) -> str:
    await reserve(number)
    return await holdfast.receive("word", str)


@app.workflow
async def quick() -> str:
    return "done"


@dataclass
class Tenants:
    """Clients of two namespaces, and an open and a closed run in the first one."""

    client: Client
    stranger: Client
    open: RunHandle[str]
    closed: RunHandle[str]


@pytest_asyncio.fixture(loop_scope="module")
async def tenants(coordinator: Coordinator, client: Client, worker: WorkerFactory) -> AsyncIterator[Tenants]:
    """One tenant with a worker and two runs, and a stranger."""
    async with (
        Client.connect(coordinator.address, namespace="other") as stranger,
        worker(workflows=[app], queue=QUEUE),
    ):
        opened = await client.start(order.with_options(queue=QUEUE, reuse="new"), 7)
        closed = await client.start(quick.with_options(queue=QUEUE, id="closed-one", reuse="new"))
        await closed.result(timeout=10)
        await until_status(opened, "suspended")
        try:
            yield Tenants(client, stranger, opened, closed)
        finally:
            await opened.signal("word", "bye")
            assert await opened.result(timeout=10) == "bye"


RunProbe = Callable[[RunCalls, str], Awaitable[object]]
PROBES: dict[str, RunProbe] = {
    "GetRun": lambda calls, run: calls.get_run(run),
    "WaitRuns": lambda calls, run: asyncio.wait_for(calls.wait_runs([run]), 5),
    "GetHistory": lambda calls, run: calls.get_history(run),
    "GetPublished": lambda calls, run: calls.get_published(run, "key"),
    "SignalRun": lambda calls, run: calls.signal(run, "word", None, request_id="s", once=False),
    "CancelRun": lambda calls, run: calls.cancel(run, "", request_id="c"),
    "TerminateRun": lambda calls, run: calls.terminate(run, "", request_id="t"),
    "RetryRun": lambda calls, run: calls.retry(run, start_id="0" * 26),
    "ResumeRun": lambda calls, run: calls.resume(run, request_id="r"),
    "GetTrace": lambda calls, run: calls.get_trace(run),
    "ExportTrace": lambda calls, run: calls.export_trace(run),
}
"""What names a run. Each must answer to a stranger as if there were no such run."""
OTHERS = {"StartRun", "StartRuns", "ListRuns", "DeliverHook"}
"""DeliverHook names a token, which is all that it takes; who has none learns nothing, see below."""
WORKER_RPCS = {
    "OpenSession", "Poll", "Report", "Work", "Heartbeat", "SaveProgress", "ReadJournal", "ReadJournals", "CloseSession",
    "RegisterSignals",
}  # fmt: skip
"""Work carries polls and reports, which the worker's side sends over it or by themselves."""


async def test_every_rpc_is_tried_here() -> None:
    runs = run_service_pb2.DESCRIPTOR.services_by_name["RunService"]
    workers = worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"]
    assert {method.name for method in runs.methods} == PROBES.keys() | OTHERS
    assert {method.name for method in workers.methods} == WORKER_RPCS


@pytest.mark.parametrize("rpc", PROBES)
async def test_a_run_of_another_namespace_does_not_exist(tenants: Tenants, coordinator: Coordinator, rpc: str) -> None:
    calls = RunCalls(tenants.stranger.connection, "other")
    before = await kinds(tenants.open), await kinds(tenants.closed)
    by_id = ["order-7", "closed-one"] if rpc != "WaitRuns" else []
    for run in (tenants.open.run_id, tenants.closed.run_id, *by_id):
        with pytest.raises(RunNotFound) as foreign:
            await PROBES[rpc](calls, run)
        unknown = run_id("00", "0" * 26)
        with pytest.raises(RunNotFound) as absent:
            await PROBES[rpc](calls, unknown)
        assert str(foreign.value).replace(run, "") == str(absent.value).replace(unknown, "")
    assert (await kinds(tenants.open), await kinds(tenants.closed)) == before


async def test_who_has_no_token_hears_the_same_of_runs_that_exist_and_that_do_not(tenants: Tenants) -> None:
    for run in (tenants.open.run_id, tenants.closed.run_id, run_id("00", "0" * 26)):
        with pytest.raises(HookNotFound):
            await tenants.stranger.deliver(hook_token(run, 1, bytes(16)), "x")


async def test_listings_show_runs_of_their_namespace_only(tenants: Tenants) -> None:
    assert len(await tenants.client.list()) >= 2
    assert len(await tenants.stranger.list()) == 0
    for status in RunStatus:
        assert len(await tenants.stranger.list(status=status, text="order")) == 0
    assert len(await tenants.stranger.list(workflow="order")) == 0


async def test_one_business_id_in_two_namespaces_is_two_runs(tenants: Tenants) -> None:
    theirs = await tenants.stranger.start(order.with_options(queue=QUEUE, idempotency_key="k"), 7)
    assert theirs.run_id != tenants.open.run_id
    assert [one.run_id for one in await tenants.stranger.list()] == [theirs.run_id]
    # The queue of that name in the other namespace has no worker.
    assert await theirs.status() is RunStatus.PENDING
    assert (await tenants.client.list(idempotency_key="k")).runs == ()
    await theirs.terminate()


async def test_a_start_id_of_another_namespace_is_refused(tenants: Tenants) -> None:
    spec = start_spec(target_of(quick.with_options(queue=QUEUE)), (), {}, tenants.stranger.codec)
    taken = tenants.closed.run_id[-26:]
    (outcome,) = await RunCalls(tenants.stranger.connection, "other").start_runs([replace(spec, start_id=taken)])
    assert isinstance(outcome, InvalidRequest)
    assert "start_id" in str(outcome)


async def test_an_unknown_namespace_is_refused(coordinator: Coordinator) -> None:
    async with Client.connect(coordinator.address, namespace="nowhere") as lost:
        with pytest.raises(NamespaceNotFound):
            await lost.start("order", 1)
        with pytest.raises(NamespaceNotFound):
            await lost.list()


def introduction(namespace: str, session_host: str = "liar") -> Introduction:
    """A worker that says it serves the shared queue and knows all workflows."""
    return Introduction(
        namespace=namespace, queue=QUEUE, workflows=(), steps=("any",), build="b", host=session_host, pid=1, slots=10,
        runs_max=10,
    )  # fmt: skip


async def test_a_worker_is_offered_work_of_its_namespace_only(
    tenants: Tenants, worker: WorkerFactory, queue: str
) -> None:
    async with worker(client=tenants.stranger, workflows=[app]):
        ours = await tenants.client.start(quick.with_options(queue=queue))
        theirs = await tenants.stranger.start(quick.with_options(queue=queue))
        assert await theirs.result(timeout=10) == "done"
        assert await ours.status() is RunStatus.PENDING
        assert await kinds(ours) == ["RunStarted"]
    async with worker(workflows=[app]):
        assert await ours.result(timeout=10) == "done"


async def test_a_worker_cannot_take_over_or_report_what_is_not_its_own(
    tenants: Tenants, coordinator: Coordinator
) -> None:
    """Sessions, leases and journals of another namespace, with their true ids and numbers."""
    async with Client.connect(coordinator.address) as inside:
        honest = WorkerCalls(inside.connection)
        victim = await honest.open_session(introduction("default", "victim"))
        liar = WorkerCalls(tenants.stranger.connection)
        with pytest.raises(SessionExpired):
            await liar.open_session(introduction("other"), session_id=victim.session_id, held=[])
        await honest.close_session(victim.session_id, victim.attach_no)

    opened = await liar.open_session(introduction("other"))
    run = tenants.open.run_id
    described = await tenants.open.describe()
    with pytest.raises(RunNotFound):
        await liar.read_journal(opened.session_id, opened.attach_no, run, 1, after=0)
    epochs = {entry.epoch for entry in await tenants.open.history() if entry.epoch}
    claimed = [Lease(run, epoch, "w", 1) for epoch in (1, *epochs)]
    for lease in claimed:
        (beginning,) = await liar.read_journals(opened.session_id, opened.attach_no, [lease])
        assert (beginning.rows, beginning.more) == ((), False)
    for epoch, is_queued in itertools.product((1, *epochs), (False, True)):
        save = ProgressReport(run, 1, 1, epoch, is_queued, Payload(b'"mine"'))
        (saved,) = await liar.save_progress(opened.session_id, opened.attach_no, [save])
        assert (saved.saved, saved.busy, saved.refusal) == (False, False, "")
    for epoch in epochs:
        for expected, transition_id in itertools.product((1, described.journal_length), (1, 2)):
            entry = AttemptStarted(datetime.now(UTC), 1, 1)
            lie = Transition(run, epoch, expected, transition_id, (entry,), 0, Then.CONTINUE)
            answer = await liar.report(opened.session_id, opened.attach_no, [lie], [])
            assert answer.transitions[0].status is TransitionStatus.SUPERSEDED
    heartbeats = HeartbeatCalls(tenants.stranger.connection.address)
    pulse = await asyncio.to_thread(
        heartbeats.heartbeat, opened.session_id, opened.attach_no, 1, (Held(run, 0, max(epochs)),),
        loop_lag=timedelta(), draining=False, timeout=5.0,
    )  # fmt: skip
    heartbeats.close()
    assert pulse.ended == ()
    await liar.close_session(opened.session_id, opened.attach_no)
    with pytest.raises(ReattachRequired):
        await liar.poll(
            opened.session_id, opened.attach_no, 1, free_slots=1, free_runs=1, received=(), wait=timedelta()
        )
    assert await tenants.open.status() is RunStatus.SUSPENDED


async def test_a_worker_cannot_reach_another_namespace_through_a_child(
    tenants: Tenants, coordinator: Coordinator
) -> None:
    liar = WorkerCalls(tenants.stranger.connection)
    knows = WorkflowRegistration("lies", extra_positional=True, extra_named=True)
    opened = await liar.open_session(replace(introduction("other"), queue="liars", workflows=(knows,)))
    started = await tenants.stranger.start(by_name("lies").with_options(queue="liars"))
    work = await liar.poll(
        opened.session_id, opened.attach_no, 1, free_slots=1, free_runs=1, received=(), wait=timedelta(seconds=5)
    )
    (lease,) = work.leases
    child = ChildStarted(datetime.now(UTC), 1, "order", tenants.open.run_id, Arguments())
    lie = Transition(lease.run_id, lease.epoch, lease.journal_length, 1, (child,), 0, Then.CONTINUE)
    (answer,) = (await liar.report(opened.session_id, opened.attach_no, [lie], [])).transitions
    assert answer.status is TransitionStatus.REFUSED
    assert "run_id" in answer.refusal
    assert await kinds(started) == ["RunStarted"]
    await started.terminate()
    await liar.close_session(opened.session_id, opened.attach_no)
    assert await tenants.open.status() is RunStatus.SUSPENDED
