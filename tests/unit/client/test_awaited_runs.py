"""Many waits are few long polls, whatever the order in which runs are added, close, and are given up."""

import asyncio
import random
from collections.abc import Collection

import pytest

from holdfast.channel.run_records import ClosedRun
from holdfast.client.result_waits import AwaitedRuns
from holdfast.errors import CoordinatorUnavailable, HoldfastError, RunNotFound
from holdfast.statuses import RunStatus


class Runs:
    """Answers polls as the coordinator does: when at least one of the runs is closed."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.open_polls = 0
        self.idle = asyncio.Event()
        self._closed: set[str] = set()
        self._changed = asyncio.Condition()

    async def ask(self, run_ids: Collection[str]) -> list[ClosedRun]:
        self.asked.append(sorted(run_ids))
        self.open_polls += 1
        try:
            async with self._changed:
                self._changed.notify_all()
                await self._changed.wait_for(lambda: self._closed.intersection(run_ids))
            return [ClosedRun(one, RunStatus.COMPLETED) for one in run_ids if one in self._closed]
        finally:
            self.open_polls -= 1
            if not self.open_polls:
                self.idle.set()

    async def close(self, *run_ids: str) -> None:
        async with self._changed:
            self._closed.update(run_ids)
            self._changed.notify_all()

    async def until_asked(self, run_id: str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: any(run_id in ids for ids in self.asked))


async def test_runs_awaited_side_by_side_are_one_poll() -> None:
    runs = Runs()
    awaited = AwaitedRuns(runs.ask)
    waits = [asyncio.create_task(awaited.closed(f"run{n}")) for n in range(50)]
    await runs.until_asked("run0")
    assert len(runs.asked) == 1
    await runs.close(*(f"run{n}" for n in range(50)))
    assert {one.run_id for one in await asyncio.gather(*waits)} == {f"run{n}" for n in range(50)}
    assert len(runs.asked) == 1


async def test_a_run_that_is_added_during_a_long_poll_does_not_wait_for_its_end() -> None:
    runs = Runs()
    awaited = AwaitedRuns(runs.ask, polls_max=2)
    waits = []
    for number in range(20):
        waits.append(asyncio.create_task(awaited.closed(f"slow{number}")))
        await runs.until_asked(f"slow{number}")
    quick = asyncio.create_task(awaited.closed("quick"))
    await runs.until_asked("quick")
    await runs.close("quick")
    assert (await quick).run_id == "quick"
    await runs.close(*(f"slow{n}" for n in range(20)))
    assert len(await asyncio.gather(*waits)) == 20


async def test_adding_runs_one_by_one_asks_for_each_a_few_times_only() -> None:
    runs = Runs()
    awaited = AwaitedRuns(runs.ask)
    waits = []
    for number in range(300):
        waits.append(asyncio.create_task(awaited.closed(str(number))))
        await asyncio.sleep(0)
    await runs.until_asked("299")
    assert sum(map(len, runs.asked)) < 300 * 12
    assert runs.open_polls <= 4
    await runs.close(*map(str, range(300)))
    await asyncio.gather(*waits)


async def test_what_is_left_of_an_answered_poll_is_asked_again() -> None:
    runs = Runs()
    awaited = AwaitedRuns(runs.ask)
    first, second = (asyncio.create_task(awaited.closed(name)) for name in ("a", "b"))
    await runs.until_asked("b")
    await runs.close("a")
    await first
    await runs.close("b")
    assert (await second).run_id == "b"


async def test_two_who_wait_for_one_run_ask_once_and_both_get_it() -> None:
    runs = Runs()
    awaited = AwaitedRuns(runs.ask)
    both = [asyncio.create_task(awaited.closed("a")) for _ in range(2)]
    await runs.until_asked("a")
    await runs.close("a")
    assert len(await asyncio.gather(*both)) == 2
    assert runs.asked == [["a"]]


async def test_a_wait_that_was_given_up_is_asked_for_no_more() -> None:
    runs = Runs()
    awaited = AwaitedRuns(runs.ask)
    given_up, kept = (asyncio.create_task(awaited.closed(name)) for name in ("a", "b"))
    other = asyncio.create_task(awaited.closed("c"))
    await runs.until_asked("c")
    given_up.cancel()
    await asyncio.wait([given_up])
    await runs.close("b")
    await kept
    await runs.close("c")
    await other
    assert all("a" not in ids for ids in runs.asked[1:])


async def test_the_poll_ends_with_the_last_wait() -> None:
    runs = Runs()
    awaited = AwaitedRuns(runs.ask)
    wait = asyncio.create_task(awaited.closed("a"))
    await runs.until_asked("a")
    wait.cancel()
    await asyncio.wait([wait])
    await runs.idle.wait()


async def test_a_missing_run_fails_its_own_wait_only() -> None:
    runs = Runs()

    async def ask(run_ids: Collection[str]) -> list[ClosedRun]:
        if "missing" in run_ids:
            raise RunNotFound("missing")
        return await runs.ask(run_ids)

    awaited = AwaitedRuns(ask)
    missing, there = (asyncio.create_task(awaited.closed(name)) for name in ("missing", "there"))
    with pytest.raises(RunNotFound):
        await missing
    await runs.close("there")
    assert (await there).run_id == "there"


async def test_an_error_reaches_all_whose_poll_it_ended() -> None:
    async def ask(run_ids: Collection[str]) -> list[ClosedRun]:
        raise CoordinatorUnavailable("here:1")

    awaited = AwaitedRuns(ask)
    outcomes = await asyncio.gather(awaited.closed("a"), awaited.closed("b"), return_exceptions=True)
    assert all(isinstance(outcome, CoordinatorUnavailable) for outcome in outcomes)


async def test_closing_tells_those_who_wait() -> None:
    runs = Runs()
    awaited = AwaitedRuns(runs.ask)
    wait = asyncio.create_task(awaited.closed("a"))
    await runs.until_asked("a")
    awaited.close()
    with pytest.raises(HoldfastError, match="closed"):
        await wait


@pytest.mark.parametrize("seed", range(10))
async def test_every_wait_ends_whatever_the_order(seed: int) -> None:
    chance = random.Random(seed)
    runs = Runs()
    awaited = AwaitedRuns(runs.ask, polls_max=2, ids_max=20)
    waits: dict[str, asyncio.Task[ClosedRun]] = {}
    open_ids: list[str] = []
    for number in range(200):
        run_id = str(number)
        waits[run_id] = asyncio.create_task(awaited.closed(run_id))
        open_ids.append(run_id)
        if chance.random() < 0.2:
            waits[chance.choice(list(waits))].cancel()
        if chance.random() < 0.5:
            await runs.close(open_ids.pop(chance.randrange(len(open_ids))))
        if chance.random() < 0.3:
            await asyncio.sleep(0)
    await runs.close(*open_ids)
    done, pending = await asyncio.wait(waits.values(), timeout=10)
    assert not pending
    assert all(wait.cancelled() or wait.result().run_id for wait in done)


async def test_an_unknown_run_that_was_given_up_is_not_the_error_of_those_who_wait_for_others() -> None:
    asked = asyncio.Event()
    answer = asyncio.Event()
    polls = 0

    async def ask(run_ids: Collection[str]) -> list[ClosedRun]:
        nonlocal polls
        polls += 1
        if "nobody's" in run_ids:
            asked.set()
            await answer.wait()
            raise RunNotFound("nobody's")
        return [ClosedRun(one, RunStatus.COMPLETED) for one in run_ids]

    awaited = AwaitedRuns(ask)
    unknown = asyncio.create_task(awaited.closed("nobody's"))
    known = asyncio.create_task(awaited.closed("known"))
    await asked.wait()
    unknown.cancel()
    await asyncio.wait([unknown])
    answer.set()
    assert (await asyncio.wait_for(known, 1)).run_id == "known"
    assert polls == 2
