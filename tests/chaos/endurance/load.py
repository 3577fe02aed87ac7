"""The users of an hour of load: runs of all kinds at a steady pace, each result compared; and a probe once a second."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from holdfast import CoordinatorUnavailable, HoldfastError, RunCancelled, RunFailed, Workflow
from holdfast.client import Client, RunHandle
from tests.chaos.endurance import flows
from tests.chaos.endurance.flows import PAYLOAD
from tests.chaos.endurance.growth import Point
from tests.support.watching import until

QUEUE = "endurance"
TICK_SECONDS = 0.05
PROBE_SECONDS = 1.0
OPEN_MAX = 1_000
"""So many runs are under way at most; a machine that does not keep up falls behind instead."""
WRONG_MAX = 20
"""So many wrong results are kept for the report; all are counted."""
SHARES: dict[str, int] = {
    "one step": 60, "one step with an id": 10, "queued step": 8, "sleeps": 7, "receives": 4, "has a child": 5,
    "retries soon": 2, "retries later": 1, "fails": 2, "is cancelled": 1,
}  # fmt: skip
"""Of a hundred starts. A child is a run too."""
RESIDENTS = 2_400
"""So many runs are suspended the whole time. Each of two workers keeps the 1,000 runs that it suspended last in memory,
also those that have gone on elsewhere since: without residents these few fill that cache in an hour, and not before."""
RESIDENTS_PAGE = 1_000
RESIDENTS_SECONDS_MAX = 120.0
RUNS_PER_START = 1 + SHARES["has a child"] / sum(SHARES.values())


class Users:
    """See the module.

    ended: runs by kind, without children, with probes. wrong: the first of what did not go as it should, and
    wrong_count how much. probes: seconds from start to result. lagged: ticks at which too much was under way to start
    what was due.
    """

    def __init__(self, client: Client, *, seed: int) -> None:
        self.ended: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.wrong_count = 0
        self.probes: list[Point] = []
        self.unanswered: list[str] = []
        self.lagged = 0
        self._client = client
        self._kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
        random.Random(seed).shuffle(self._kinds)
        self._open: set[asyncio.Task[None]] = set()
        self._started = 0
        self._residents: list[RunHandle[str]] = []
        self._is_over = asyncio.Event()

    @property
    def runs(self) -> int:
        """How many runs have ended, children included."""
        return self.ended.total() + self.ended["has a child"]

    async def move_in(self) -> None:
        """Starts the residents and waits until all of them are suspended."""
        resident = flows.is_cancelled.with_options(queue=QUEUE)
        self._residents = await self._client.start_many(resident, [PAYLOAD] * RESIDENTS)
        await until(self._suspended, lambda count: count == RESIDENTS, seconds=RESIDENTS_SECONDS_MAX)

    async def move_out(self) -> None:
        """Cancels the residents and waits until all of them have ended."""
        await asyncio.gather(*map(self._user_of, self._residents))

    async def _user_of(self, resident: RunHandle[str]) -> None:
        await self._used("resident", 0, _ends_by_cancel(resident))

    async def _suspended(self) -> int:
        count, cursor = 0, None
        while True:
            page = await self._client.list(status="suspended", limit=RESIDENTS_PAGE, cursor=cursor)
            count += len(page)
            if (cursor := page.next_cursor) is None:
                return count

    async def run(self, runs: int, *, seconds: float, seconds_max: float) -> None:
        """Starts `runs` over `seconds`, and waits for them. Starts none after seconds_max."""
        starts, begun_at = -int(-runs // RUNS_PER_START), time.monotonic()
        probing = asyncio.create_task(self._probe(), name="probes")
        try:
            while self._started < starts and (passed := time.monotonic() - begun_at) < seconds_max:
                due = min(starts, int(starts * passed / seconds)) - self._started
                room = OPEN_MAX - len(self._open)
                self.lagged += due > room
                for _ in range(min(due, room)):
                    self._start()
                await asyncio.sleep(TICK_SECONDS)
            while self._open:
                await asyncio.wait(self._open)
            self._is_over.set()
            await probing
        finally:
            for task in (probing, *self._open):
                task.cancel()
            await asyncio.gather(probing, *self._open, return_exceptions=True)

    def _start(self) -> None:
        kind = self._kinds[self._started % len(self._kinds)]
        self._started += 1
        task = asyncio.create_task(self._user(kind, self._started))
        self._open.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._note(repr(error))

    async def _user(self, kind: str, number: int) -> None:
        await self._used(kind, number, _KINDS[kind](self._client, number))

    async def _used(self, kind: str, number: int, use: Awaitable[str]) -> None:
        """Notes what came of the use of a run."""
        try:
            came = await use
        except CoordinatorUnavailable as error:
            self.unanswered.append(str(error))
            return
        except HoldfastError as error:
            came = repr(error)
        self.ended[kind] += 1
        if came:
            self._note(f"{kind}, start {number}: {came}")

    def _note(self, text: str) -> None:
        self.wrong_count += 1
        if len(self.wrong) < WRONG_MAX:
            self.wrong.append(text)

    async def _probe(self) -> None:
        while not self._is_over.is_set():
            begun_at = time.monotonic()
            await self._user("one step", 0)
            ended_at = time.monotonic()
            self.probes.append((ended_at, ended_at - begun_at))
            await asyncio.sleep(max(0.0, begun_at + PROBE_SECONDS - ended_at))


def _returns(workflow: Workflow[[str], str], *, has_id: bool = False) -> Callable[[Client, int], Awaitable[str]]:
    async def use(client: Client, number: int) -> str:
        target = workflow.with_options(queue=QUEUE, id=f"endurance-{number}" if has_id else None)
        result = await client.run(target, PAYLOAD)
        return "" if result == PAYLOAD else f"gave {result!r}"

    return use


async def _receives(client: Client, number: int) -> str:
    run = await client.start(flows.receives.with_options(queue=QUEUE), PAYLOAD)
    await run.signal("word", PAYLOAD)
    result = await run.result()
    return "" if result == PAYLOAD else f"gave {result!r}"


async def _fails(client: Client, number: int) -> str:
    try:
        result = await client.run(flows.fails.with_options(queue=QUEUE), PAYLOAD)
    except RunFailed as failed:
        return "" if "refused" in str(failed) else repr(failed)
    return f"gave {result!r}"


async def _is_cancelled(client: Client, number: int) -> str:
    return await _ends_by_cancel(await client.start(flows.is_cancelled.with_options(queue=QUEUE), PAYLOAD))


async def _ends_by_cancel(run: RunHandle[str]) -> str:
    if not await run.cancel("endurance"):
        return "its cancel was not accepted"
    try:
        result = await run.result()
    except RunCancelled:
        return ""
    return f"gave {result!r}"


_KINDS: dict[str, Callable[[Client, int], Awaitable[str]]] = {
    "one step": _returns(flows.one_step),
    "one step with an id": _returns(flows.one_step, has_id=True),
    "queued step": _returns(flows.queued_step),
    "sleeps": _returns(flows.sleeps),
    "receives": _receives,
    "has a child": _returns(flows.has_a_child),
    "retries soon": _returns(flows.retries_soon),
    "retries later": _returns(flows.retries_later),
    "fails": _fails,
    "is cancelled": _is_cancelled,
}
