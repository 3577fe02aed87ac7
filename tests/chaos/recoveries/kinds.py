"""What is done to a fleet, once for each figure, and how long it takes until things go on.

Each function does it once and returns its measurements by name, in seconds. Times are of CLOCK_BOOTTIME, which all
processes share. An AssertionError says that something was lost or came out wrong.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from holdfast import HoldfastError
from holdfast.client import Client, RunHandle
from tests.chaos import ledger
from tests.chaos.fleet import Member
from tests.chaos.ledger import Line, boottime
from tests.chaos.recoveries import flows
from tests.chaos.replicas import Replicas
from tests.support.watching import until, until_status

QUEUE = "recoveries"
SESSION_TTL_SECONDS = 4.0
RUNS = 8
"""Under way at each blow."""
TICKS = 60
RESULT_SECONDS = 60.0
USER_SECONDS = 0.025
"""Between two starts of users who notice an outage."""
BEFORE_SECONDS, AFTER_SECONDS = 0.3, 1.0
"""For how long they start runs, before and after a coordinator is killed."""
OUTAGES_SECONDS = (0.0, 1.0, 3.0)
"""How long the database is away, in turn."""

Blow = Callable[["Scene", int], Awaitable[dict[str, float]]]


@dataclass(frozen=True, slots=True)
class Kind:
    """blow: see the module. bars: what each measurement may be at most, in seconds."""

    title: str
    blow: Blow
    bars: dict[str, float]


@dataclass(slots=True)
class Scene:
    """A fleet, a client of all its coordinators, and one of each alone."""

    fleet: Replicas
    client: Client
    clients: Sequence[Client]

    def lines(self, run_ids: Sequence[str]) -> list[Line]:
        """What the ledger has of these runs."""
        wanted = set(run_ids)
        return [line for line in ledger.read(self.fleet.directory / "ledger") if line.run_id in wanted]

    async def until_begun(self, run_ids: Sequence[str]) -> list[Line]:
        """Waits until each of these runs has begun a step."""

        async def look() -> list[Line]:
            return self.lines(run_ids)

        return await until(look, lambda lines: {line.run_id for line in lines} >= set(run_ids), seconds=RESULT_SECONDS)


async def scene(fleet: Replicas, stack: AsyncExitStack) -> Scene:
    """What a blow works on."""
    numbers = range(len(fleet.coordinators))
    clients = [await stack.enter_async_context(Client.connect(fleet.address_of(number))) for number in numbers]
    # An outage of the database may take longer than a client repeats by itself, on a machine that has other work.
    client = await stack.enter_async_context(Client.connect(fleet.address, retry_for=RESULT_SECONDS))
    return Scene(fleet, client, clients)


async def kill_a_worker(seen: Scene, number: int) -> dict[str, float]:
    """SIGKILL of the worker that holds most of the runs."""
    workflow = flows.is_held.with_options(queue=QUEUE)
    runs = await seen.client.start_many(workflow, [()] * RUNS)
    member = _holder(seen, await seen.until_begun([run.run_id for run in runs]))
    killed_at, pid = boottime(), member.pid
    life = await member.end(signal.SIGKILL, seconds=RESULT_SECONDS)
    assert life.code == -signal.SIGKILL, f"{member.name} ended with {life.code}"
    lost = [line.run_id for line in seen.lines([run.run_id for run in runs]) if line.pid == pid]
    ended_in: list[int] = await seen.client.wait_many(lost, timeout=RESULT_SECONDS)
    assert pid not in ended_in, f"{lost} ended in the process that was killed"
    went_on = ledger.recoveries(seen.lines(lost), pid, killed_at)
    assert len(went_on) == len(lost), f"{len(lost)} runs were lost, {len(went_on)} went on"
    await _end(runs, lost)
    return {"a run of it goes on elsewhere, the slowest": went_on[-1]}


async def stop_a_worker(seen: Scene, number: int) -> dict[str, float]:
    """SIGTERM of the worker that holds most of the runs: after the step that is under way others go on with them."""
    runs = await seen.client.start_many(flows.ticks.with_options(queue=QUEUE), [TICKS] * RUNS)
    ids = [run.run_id for run in runs]
    member = _holder(seen, await seen.until_begun(ids))
    asked_at, pid = boottime(), member.pid
    ending = asyncio.create_task(member.end(signal.SIGTERM, seconds=RESULT_SECONDS))
    assert set(await seen.client.wait_many(ids, timeout=RESULT_SECONDS)) == {TICKS}
    life = await ending
    assert life.code == 0, f"{member.name} ended with {life.code}"
    by_run: dict[str, list[Line]] = {run_id: [] for run_id in ids}
    for line in seen.lines(ids):
        by_run[line.run_id].append(line)
    gaps, ends = [], []
    for lines in by_run.values():
        theirs = [line.at for line in lines if line.pid == pid]
        others = [line.at for line in lines if line.pid != pid and line.at > asked_at]
        if theirs and max(theirs) > asked_at - flows.TICK_SECONDS * 2:
            assert others, "a run of the worker that left never went on"
            gaps.append(min(others) - max(theirs))
            ends.append(min(others) - asked_at)
    assert gaps, f"{member.name} held no run when it was asked to leave"
    return {
        "a run of it goes on elsewhere, the slowest": max(ends),
        "from its last step there to its next": max(gaps),
    }


async def kill_a_coordinator(seen: Scene, number: int) -> dict[str, float]:
    """SIGKILL of one of two, in turn, while users start runs."""
    member = seen.fleet.coordinators[number % len(seen.fleet.coordinators)]
    async with _Users(seen.client) as users:
        await asyncio.sleep(BEFORE_SECONDS)
        killed_at = boottime()
        life = await member.end(signal.SIGKILL, seconds=RESULT_SECONDS)
        assert life.code == -signal.SIGKILL, f"{member.name} ended with {life.code}"
        await asyncio.sleep(AFTER_SECONDS)
    calls = users.calls
    answers = [call.answered_at - max(call.begun_at, killed_at) for call in calls if call.answered_at > killed_at]
    results = [call.ended_at - max(call.begun_at, killed_at) for call in calls if call.ended_at > killed_at]
    return {
        "a start is answered, the first that was begun after it": _first_after(calls, killed_at),
        "a start is answered, the slowest": max(answers),
        "a run is completed, the slowest": max(results),
    }


async def crash_the_database(seen: Scene, number: int) -> dict[str, float]:
    """As `pg_ctl stop -m immediate`, and up again, while users start runs."""
    database = seen.fleet.database
    before = database.log.count("was not properly shut down")
    async with _Users(seen.client) as users:
        await asyncio.sleep(BEFORE_SECONDS)
        await database.crash()
        await asyncio.sleep(OUTAGES_SECONDS[number % len(OUTAGES_SECONDS)])
        await database.start()
        accepts_at = boottime()
        assert database.log.count("was not properly shut down") > before, "the database did not recover from a crash"
        await users.until_one_ends_after(accepts_at)
    calls = users.calls
    return {
        "a start is answered, the first": min(call.answered_at for call in calls if call.answered_at > accepts_at)
        - accepts_at,
        "a run is completed, the first": min(call.ended_at for call in calls if call.ended_at > accepts_at)
        - accepts_at,
        "a run is completed, the slowest": max(
            call.ended_at - max(call.begun_at, accepts_at) for call in calls if call.ended_at > accepts_at
        ),
    }


async def send_mail_over_replicas(seen: Scene, number: int) -> dict[str, float]:
    """A signal by the coordinator that the worker of the run is not attached to."""
    there, here = number % 2, (number + 1) % 2
    found = {}
    for name, workflow in (("a suspended run", flows.waits), ("a run that a worker holds", flows.waits_at_work)):
        run = await seen.clients[there].start(workflow.with_options(queue=f"{QUEUE}-{there}"))
        if workflow is flows.waits_at_work:
            await seen.until_begun([run.run_id])
        else:
            await until_status(run, "suspended")
        sent_at = boottime()
        await seen.clients[here].get(run.run_id).signal("word", "on")
        assert await run.result(timeout=RESULT_SECONDS) == "on"
        (heard,) = [line.at for line in seen.lines([run.run_id]) if line.step == "hear"]
        found[f"{name} executes its next step"] = heard - sent_at
    return found


KINDS: dict[str, Kind] = {
    "worker": Kind(
        "worker killed (SIGKILL)", kill_a_worker,
        {"a run of it goes on elsewhere, the slowest": SESSION_TTL_SECONDS + 2},
    ),
    "coordinator": Kind(
        "one of two coordinators killed (SIGKILL)", kill_a_coordinator,
        {
            "a start is answered, the first that was begun after it": 2.0,
            "a start is answered, the slowest": 2.0,
            "a run is completed, the slowest": SESSION_TTL_SECONDS + 2,
        },
    ),
    "database": Kind(
        "Postgres crashed (stop -m immediate), and started again", crash_the_database,
        {
            "a start is answered, the first": 2.0,
            "a run is completed, the first": 2.0,
            "a run is completed, the slowest": SESSION_TTL_SECONDS + 2,
        },
    ),
    "leaving": Kind(
        "worker asked to leave (SIGTERM)", stop_a_worker,
        {"a run of it goes on elsewhere, the slowest": 2.0, "from its last step there to its next": 2.0},
    ),
    "mail": Kind(
        "signal by another replica", send_mail_over_replicas,
        {"a suspended run executes its next step": 1.0, "a run that a worker holds executes its next step": 1.0},
    ),
}  # fmt: skip


def _holder(seen: Scene, lines: Sequence[Line]) -> Member:
    """The worker that executes most."""
    pids = [line.pid for line in lines]
    return max(seen.fleet.workers, key=lambda member: pids.count(member.pid))


async def _end(runs: Sequence[RunHandle[int]], ended: Sequence[str]) -> None:
    """Ends the runs that nothing happened to."""
    await asyncio.gather(*(run.terminate("not hit") for run in runs if run.run_id not in ended))


@dataclass(slots=True)
class _Call:
    begun_at: float
    answered_at: float = 0.0
    ended_at: float = 0.0


def _first_after(calls: Sequence[_Call], at: float) -> float:
    return min(call.answered_at for call in calls if call.begun_at > at) - at


class _Users:
    """Start runs for as long as the block lasts, at a steady pace, and wait for their results. None may be lost.

    At its end all calls have come to something. Raises what one of them has raised.
    """

    def __init__(self, client: Client) -> None:
        self.calls: list[_Call] = []
        self._client = client
        self._open: list[asyncio.Task[None]] = []
        self._starting: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._starting = asyncio.create_task(self._start(), name="users")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._starting is not None
        for task in (self._starting, *(self._open if kind else ())):
            task.cancel()
        await asyncio.gather(self._starting, return_exceptions=True)
        async with asyncio.timeout(RESULT_SECONDS):
            ends = await asyncio.gather(*self._open, return_exceptions=True)
        for met in ends if kind is None else ():
            if met is not None:
                raise met

    async def until_one_ends_after(self, at: float) -> None:
        """Returns when a run has ended after this moment."""
        async with asyncio.timeout(RESULT_SECONDS):
            while not any(call.ended_at > at for call in self.calls):
                self._news.clear()
                await self._news.wait()

    async def _start(self) -> None:
        while True:
            self._open.append(asyncio.create_task(self._use()))
            await asyncio.sleep(USER_SECONDS)

    async def _use(self) -> None:
        call = _Call(boottime())
        self.calls.append(call)
        try:
            run = await self._client.start(flows.ticks.with_options(queue=QUEUE), 1)
            call.answered_at = boottime()
            assert await run.result() == 1
        except HoldfastError as error:
            what = "waited for a result" if call.answered_at else "started a run"
            raise AssertionError(
                f"who {what} met {error!r}, {boottime() - call.begun_at:.1f} s after the call"
            ) from error
        finally:
            call.ended_at = boottime()
            self._news.set()
