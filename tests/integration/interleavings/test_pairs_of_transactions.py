"""Two replicas change one run at once: wherever one stands, what comes of both is what one after the other would do.

One replica is stopped after each of its statements and commits, in turn; the other does all of its own, or as much as
it can while the first has its locks. Then the first goes on. Rows and answers must be those of one of the two orders.
What is more than one transaction may have the other in between, and then only its own statements are held to that.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from tests.support.cell_rows import rows_of
from tests.support.core_transactions import (
    OF_SEVERAL,
    Case,
    Replica,
    Situation,
    answer_of,
    case_of,
    ended,
    gated_replica,
    leased,
    left_by,
    queued,
    ready,
    suspended,
)
from tests.support.gates import behind, gates
from tests.support.invariants import check

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEPS_MAX = 40
TIMEOUT_SECONDS = 15.0
IN_LINE = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
SITUATIONS: dict[str, tuple[Situation, list[str]]] = {
    "leased": (
        leased,
        ["start", "append", "suspend", "queue", "mail", "reap", "attach", "alarm", "close", "terminate"],
    ),
    "ready": (ready, ["claim", "start", "append", "mail", "reap", "attach", "alarm", "terminate"]),
    "suspended": (suspended, ["start", "mail", "cancel", "alarm", "terminate"]),
    "queued": (queued, ["report", "mail", "cancel", "reap", "alarm", "terminate"]),
    "ended": (ended, ["start", "restart", "retry"]),
}
PAIRS = [
    pytest.param(situation, one, other, id=f"{name}-{one}-{other}")
    for name, (situation, transactions) in SITUATIONS.items()
    for one, other in itertools.combinations_with_replacement(transactions, 2)
    if {"ready": "claim", "queued": "report"}.get(name, one) == one
    # A session that attaches elsewhere says what it holds, so it is given no step meanwhile.
    and {one, other} != {"queue", "attach"}
]


@dataclass(slots=True)
class World:
    """Two replicas, of which the first is stopped by its gate.

    rows, observer: connections that see the rows, and who waits for a lock.
    """

    rows: "psycopg.Connection[Any]"
    first: Replica
    second: Replica
    observer: "psycopg.AsyncConnection[Any]"

    async def somebody_waits_for_a_lock(self) -> bool:
        """True while a statement of this database does."""
        found = await (await self.observer.execute(IN_LINE)).fetchone()
        return bool(found and found[0])


@dataclass(slots=True, frozen=True)
class Outcome:
    """What came of two transactions: their answers, in the order of the pair, and the rows."""

    answers: str
    rows: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(module_database: str) -> AsyncIterator[World]:
    """See World."""
    with gates():
        async with (
            gated_replica(module_database, "r1") as first,
            gated_replica(module_database, "r2") as second,
            await psycopg.AsyncConnection.connect(module_database, autocommit=True) as observer,
        ):
            with psycopg.connect(module_database) as rows:
                yield World(rows, first, second, observer)


@pytest.mark.parametrize(("situation", "one", "other"), PAIRS)
async def test_whatever_two_replicas_do_to_a_run_is_as_if_one_had_come_after_the_other(
    world: World, situation: Situation, one: str, other: str
) -> None:
    await world.observer.execute(_EMPTY)
    serial = {await in_turn(world, situation, one, other), await in_turn(world, situation, other, one, swapped=True)}
    if one == "claim":
        serial.add(await alone(world, situation, other))
    halfway: list[tuple[str, Outcome, bool]] = []
    for paused, whole, swapped in [(one, other, False), (other, one, True)][: 1 if one == other else 2]:
        for steps in range(STEPS_MAX):
            interleaved = await stopped_after(world, situation, paused, whole, steps, swapped=swapped)
            if interleaved is None:
                break
            outcome, where, in_transaction = interleaved
            if paused in OF_SEVERAL and not in_transaction:
                serial.add(outcome)
            halfway.append((f"{paused} stopped {where}, {whole} came", outcome, in_transaction))
        assert steps > 1, f"{paused} sent nothing that could be stopped"
    for where, outcome, _ in halfway:
        assert outcome in serial, f"{where}\n{outcome}\nin turn:\n" + "\n".join(map(str, serial))


_EMPTY = """
DO $$ DECLARE name text; BEGIN
    FOR name IN
        SELECT tablename FROM pg_tables WHERE schemaname = 'holdfast_c00' AND tablename <> 'alembic_version'
    LOOP
        EXECUTE format('DELETE FROM holdfast_c00.%I', name);
    END LOOP;
END $$
"""


async def in_turn(world: World, situation: Situation, one: str, other: str, *, swapped: bool = False) -> Outcome:
    """One transaction after the other."""
    async with case_of(situation, world.first, world.second) as case:
        answers = [await answer_of(one, case, world.first), await answer_of(other, case, world.second)]
        return outcome_of(world, case, answers, swapped=swapped)


async def alone(world: World, situation: Situation, other: str) -> Outcome:
    """A claim does not wait for a run that somebody has locked: it passes it over, and finds nothing."""
    async with case_of(situation, world.first, world.second) as case:
        return outcome_of(world, case, [0, await answer_of(other, case, world.first)], swapped=False)


async def stopped_after(
    world: World, situation: Situation, paused: str, whole: str, steps: int, *, swapped: bool
) -> tuple[Outcome, str, bool] | None:
    """One transaction is stopped after so many steps, and the other made meanwhile, as far as it can.

    With the outcome: where it stopped, and whether in a transaction. None when it has not so many steps.
    """
    async with case_of(situation, world.first, world.second) as case, asyncio.timeout(TIMEOUT_SECONDS):
        gate = world.first.gate
        gate.stop_after(steps)
        with behind(gate):
            slow = asyncio.create_task(answer_of(paused, case, world.first))
        stopping = asyncio.create_task(gate.stopped.wait())
        await asyncio.wait((slow, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not gate.stopped.is_set():
            gate.open()
            await slow
            return None
        where, in_transaction = f"after {gate.log[-1] if gate.log else 'nothing'} ({steps})", gate.is_in_transaction
        quick = asyncio.create_task(answer_of(whole, case, world.second))
        while not quick.done() and not world.second.has_parked and not await world.somebody_waits_for_a_lock():
            pass
        gate.open()
        answers = [await slow, await quick]
        return outcome_of(world, case, answers, swapped=swapped), where, in_transaction


def outcome_of(world: World, case: Case, answers: list[Any], *, swapped: bool) -> Outcome:
    """What is to be seen, after the invariants were checked."""
    rows = rows_of(world.rows)
    check(rows)
    return Outcome(repr(answers[::-1] if swapped else answers), repr(left_by(case, rows)))
