"""The loops of a replica besides alarms: heartbeats, dead sessions, lost leases, other replicas' work, old rows."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial

from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.store.port import DoorbellStore, StoreError, StoreUnavailable

from .alarms import AlarmLoop
from .doorbell import DoorbellLoops
from .gauges import GAUGES_SECONDS, Gauges
from .periodic import periodic

OnReady = Callable[[bool], Awaitable[None]]

FLUSH_SECONDS = 1.0
DATABASE_SECONDS = 5.0
"""Seconds without an answer of the database that make the replica unready; fewer with a short TTL."""
LOOK_AROUND_SECONDS = 1.0
OVERDUE_SECONDS = 1.0
PRUNE_SECONDS = 300.0
ROWS_PRUNED_PAGE = 10_000


def all_loops(
    engine: Engine, *, on_ready: OnReady, doorbell: DoorbellStore | None = None
) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
    """Every loop of a replica, by name. on_ready: called after every heartbeat with whether the database answers.

    doorbell: None where replicas send each other nothing, and find everything by looking.
    """
    if doorbell is not None:
        yield from DoorbellLoops(engine.doorbell, doorbell, engine.look_at).all()
    sessions = engine.sessions
    ttl = sessions.policy.ttl
    # Several times in a TTL, however short: a late turn must not look like an outage.
    flush_seconds = min(FLUSH_SECONDS, ttl.total_seconds() / 8)
    # A turn that hangs ends before the replica is away, so that this is noticed when it happens.
    patience_seconds = min(DATABASE_SECONDS, sessions.policy.away_after.total_seconds() - flush_seconds)

    async def beat() -> None:
        try:
            async with asyncio.timeout(patience_seconds):
                await sessions.flush_heartbeats()
        except (StoreError, TimeoutError) as error:
            sessions.heartbeats.send_away()
            await on_ready(False)
            raise StoreUnavailable(str(error) or "it does not answer") from error
        await on_ready(True)

    async def sweep() -> None:
        # In turns: it probes an index for each owner of each cell, a hundred times as often with a hundred replicas.
        if engine.doorbell.has_turn(engine.database_time(), ttl):
            await sessions.sweep(await engine.cells.lease_owners())

    async def prune() -> None:
        for cell in engine.cells:
            while await cell.store.loops.prune_requests(ROWS_PRUNED_PAGE) == ROWS_PRUNED_PAGE:
                pass  # until a page is not full: else the table grows as soon as more come than one page a turn

    turns = [
        ("heartbeats", beat, flush_seconds),
        ("burials", sessions.reap, flush_seconds),
        ("unknown_grants", engine.unknown_grants.find, ttl.total_seconds()),
        ("clock", engine.stepped_clock.mend, FLUSH_SECONDS),
        ("sweep", sweep, ttl.total_seconds()),
        ("held_work", engine.held_work.look, LOOK_AROUND_SECONDS),
        ("work_elsewhere", engine.elsewhere.find_work, LOOK_AROUND_SECONDS),
        ("closed_elsewhere", engine.elsewhere.find_closed, LOOK_AROUND_SECONDS),
        ("registry", engine.registry.refresh, LOOK_AROUND_SECONDS),
        ("prune", prune, PRUNE_SECONDS),
    ]
    if engine.metrics is not None:
        turns.append(("gauges", Gauges(engine, engine.metrics).run_once, GAUGES_SECONDS))
    for cell in engine.cells:
        alarms = AlarmLoop(engine, cell)
        yield f"alarms {cell.name}", alarms.run()
        yield f"outbox {cell.name}", AlarmLoop(engine, cell, outbox=True).run()
        overdue = partial(alarms.end_overdue_attempts, ttl)
        turns.append((f"overdue attempts {cell.name}", overdue, OVERDUE_SECONDS))
    for name, run_once, seconds in turns:
        yield name, periodic(name, run_once, every_seconds=seconds)
