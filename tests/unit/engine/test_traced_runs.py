"""Runs that a replica makes itself, children and retries, get their traces; without tracing nothing has one."""

import asyncio
from datetime import datetime, timedelta

import pytest

from holdfast.api.v1 import journal_pb2
from holdfast.ids import child_run_id, start_id
from holdfast.statuses import ClosePolicy, RunStatus, Then
from holdfast.traces import child_context, detached_root, segment_root
from holdfast_coordinator.domain.asks import StartChildAsk
from holdfast_coordinator.domain.commands import CommitTransition
from holdfast_coordinator.domain.rows import RunRow, Side
from holdfast_coordinator.domain.starts import Started
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.telemetry.identity import IdentityRules, Origins, facts_of, of_start
from holdfast_coordinator.telemetry.spans import Link
from tests.support.engine_replicas import FailingCell, replica, run_named
from tests.support.store_rows import T0, closing, open_run, starting, write

PARENT = run_named(1)
CHILD = child_run_id(PARENT, 1)
RULES = IdentityRules()
ORIGINS = Origins(RULES, lambda: b"\x07" * 16)
IDENTITY = of_start(RULES, PARENT, "default", "order", drawn=b"\x01" * 16)


async def parent(cell: FailingCell) -> None:
    """A traced run that session s1 holds, created at T0."""
    await write(cell, starting(open_run(PARENT, side=IDENTITY.side), trace=IDENTITY.trace))


async def child_of(engine: Engine, cell: FailingCell, policy: ClosePolicy, at: datetime) -> RunRow:
    """The child that the parent asked for at this time."""
    body = journal_pb2.ChildStarted(number=1, workflow="order", run_id=CHILD, close_policy=policy.value)  # type: ignore[arg-type]  # the same numbers
    entry = journal_pb2.Entry(child_started=body)
    entry.at.FromDatetime(at)
    framed = journal_pb2.JournalRow(entries=[entry]).SerializeToString()
    ask = StartChildAsk(1, CHILD, policy, entry.SerializeToString())
    (only,) = engine.cells
    await only.writer.submit(CommitTransition(PARENT, "s1", 1, 1, 99, 1, [framed], [ask], 0, Then.CONTINUE))
    async with asyncio.timeout(5):
        while CHILD not in cell.runs:  # noqa: ASYNC110  # it is made by a task of the engine
            await asyncio.sleep(0)
    return cell.runs[CHILD]


@pytest.mark.parametrize("policy", [ClosePolicy.CANCEL, ClosePolicy.TERMINATE])
async def test_an_awaited_child_is_in_the_trace_of_its_parent(policy: ClosePolicy) -> None:
    cell = FailingCell()
    await parent(cell)
    async with replica(cell, origins=ORIGINS) as engine:
        facts = facts_of(await child_of(engine, cell, policy, T0 + timedelta(hours=25)))
    second_day = segment_root(facts_of(cell.runs[PARENT]).trace, PARENT, 1)
    assert facts.trace.trace_id == second_day.trace_id
    assert facts.parent == child_context(second_day, PARENT, 1)
    assert Side.TRACE in cell.open_runs[CHILD].side


async def test_an_abandoned_child_has_a_trace_of_its_own() -> None:
    cell = FailingCell()
    await parent(cell)
    async with replica(cell, origins=ORIGINS) as engine:
        facts = facts_of(await child_of(engine, cell, ClosePolicy.ABANDON, T0))
    root = facts_of(cell.runs[PARENT]).trace
    assert facts.trace == detached_root(root, CHILD)
    assert facts.links == (Link(child_context(root, PARENT, 1), "parent"),)


async def test_a_retry_links_to_its_origin_and_is_sampled_as_it_was() -> None:
    cell = FailingCell()
    await parent(cell)
    await cell.move([closing_of_failure()], at=T0)
    async with replica(cell, origins=ORIGINS) as engine:
        started = await engine.retry(PARENT, start_id(2, bytes(10)))
    assert isinstance(started, Started)
    facts = facts_of(cell.runs[started.run_id])
    assert facts.trace.trace_id == b"\x07" * 16
    assert [link.relation for link in facts.links] == ["origin"]
    assert Side.TRACE in cell.open_runs[started.run_id].side


async def test_without_tracing_children_have_no_trace() -> None:
    cell = FailingCell()
    await write(cell, starting(open_run(PARENT)))
    async with replica(cell) as engine:
        child = await child_of(engine, cell, ClosePolicy.CANCEL, T0)
    assert child.trace == b""
    assert not cell.open_runs[CHILD].side


def closing_of_failure() -> CommitTransition:
    """The run fails."""
    asked = closing(PARENT)
    asked.asks[0].status = RunStatus.FAILED  # type: ignore[union-attr]  # it is a CloseAsk
    return asked
