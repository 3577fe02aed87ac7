"""The users of a chaos run: they start runs, signal, cancel, repair and retry them, and log what each call came to."""

import asyncio
import itertools
import random
import re
from asyncio import FIRST_COMPLETED
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from holdfast import (
    HoldfastError,
    RunAlreadyClosed,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunNotRetryable,
    RunTimedOut,
)
from holdfast.client import Client, RunHandle
from tests.chaos import ledger
from tests.chaos.fleet import QUEUE
from tests.chaos.flows import repair_file, run_program
from tests.chaos.ledger import boottime
from tests.chaos.programs import Generator, Plan, Sleep, payload_of

T = TypeVar("T")

Answer = Literal["acknowledged", "refused", "unknown"]
PROBE_SECONDS = 0.5
COMMITTED_SECONDS = 25.0
"""After which a call without an answer has been committed, or never will be: more than twice its deadline."""
OPERATOR_SECONDS = 2.0
_STATUSES: dict[type[RunFailed], str] = {RunCancelled: "cancelled", RunTimedOut: "timed out"}
OPEN_MAX = 120
"""So many plans are under way at most; more would measure the machine."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a user. answer: unknown when none came, so that it may or may not have happened."""

    what: str
    plan: str
    begun_at: float
    ended_at: float
    answer: Answer
    detail: str = ""


@dataclass(slots=True)
class Story:
    """What users know of one plan.

    run_ids: of its start and its retry. sent: the signals that were acknowledged. cancel: "accepted" or what else came
    of it. retry: what came of it. status, result, error: what its last run came to.
    """

    plan: Plan
    run_ids: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    cancel: str = ""
    retry: str = ""
    status: str = ""
    result: Any = None
    error: str = ""


class Load:
    """Starts plans at a steady rate until it is stopped.

    calls: the log of the clients. stories: what is known of each plan. resumed: stalls that an operator ended.
    """

    def __init__(
        self, address: str, generator: Generator, source: random.Random, *, prefix: str, directory: Path, rate: float
    ) -> None:
        """rate: starts per second."""
        self.calls: list[Call] = []
        self.stories: list[Story] = []
        self.resumed = 0
        self._address = address
        self._generator = generator
        self._random = source
        self._prefix = prefix
        self._directory = directory
        self._rate = rate
        self._clients: list[Client] = []
        self._users: list[asyncio.Task[None]] = []
        self._tickers: list[asyncio.Task[None]] = []

    @property
    def answers(self) -> Counter[str]:
        """How many calls came to what."""
        return Counter(call.answer for call in self.calls)

    async def start(self) -> None:
        """From now on plans are started."""
        self._clients = [await Client.connect(self._address) for _ in range(2)]
        self._tickers = [
            asyncio.create_task(self._start_plans(), name="plans"),
            asyncio.create_task(self._start_probes(), name="probes"),
            asyncio.create_task(self._operate(), name="operator"),
        ]

    async def stop(self) -> None:
        """Starts no more plans, and waits for what was started."""
        *starters, operator = self._tickers
        for ticker in starters:
            ticker.cancel()
        await asyncio.gather(*starters, return_exceptions=True)
        await asyncio.gather(*self._users)
        operator.cancel()
        await asyncio.gather(operator, return_exceptions=True)
        await asyncio.gather(*(client.close() for client in self._clients))

    async def abandon(self) -> None:
        """Ends all users without their results."""
        for task in (*self._users, *self._tickers):
            task.cancel()
        await asyncio.gather(*self._users, return_exceptions=True)
        await asyncio.gather(*(client.close() for client in self._clients))

    async def _start_probes(self) -> None:
        """Starts that are there at any time, however many plans are under way: how soon calls are answered again."""
        for number in itertools.count(1):
            self._users.append(asyncio.create_task(self._user(Story(Plan(f"probe-{number}", Sleep(ms=1))))))
            await asyncio.sleep(PROBE_SECONDS)

    async def _operate(self) -> None:
        """Resumes what has stalled because its workers were lost, as an operator does who knows why they were."""
        while True:
            await asyncio.sleep(OPERATOR_SECONDS)
            with suppress(HoldfastError):
                for run in await self._clients[0].list(status="stalled"):
                    if "workers were lost while they held it" in (run.reason or ""):
                        await self._clients[0].get(run.run_id).resume()
                        self.resumed += 1

    async def _start_plans(self) -> None:
        while True:
            user = asyncio.create_task(self._user(Story(self._generator.plan())))
            self._users.append(user)
            while len(waiting := [user for user in self._users if not user.done()]) >= OPEN_MAX:
                await asyncio.wait(waiting, return_when=FIRST_COMPLETED)
            await asyncio.sleep(self._random.expovariate(self._rate))

    async def _user(self, story: Story) -> None:
        self.stories.append(story)
        plan, client = story.plan, self._random.choice(self._clients)
        workflow = run_program.with_options(id=f"{self._prefix}-{plan.name}", queue=QUEUE)
        _, run = await self._call(story, "start", lambda: client.start(workflow, plan.program))
        if run is None:
            run = client.get(f"{self._prefix}-{plan.name}")
            if not await self._exists(run):
                return
        story.run_ids.append(run.run_id)
        async with asyncio.TaskGroup() as group:
            for name, after in plan.signals:
                group.create_task(self._signal(story, run, name, after))
            if plan.cancel_after is not None:
                group.create_task(self._cancel(story, run, plan.cancel_after))
            group.create_task(self._await(story, run))
        if plan.is_repaired and story.status == "failed":
            await self._repair(story, run)

    async def _exists(self, run: RunHandle[Any]) -> bool:
        """Whether a start whose answer did not come has happened, or will have. Asks until there is an answer."""
        until = boottime() + COMMITTED_SECONDS
        while True:
            try:
                await run
            except RunNotFound:
                if boottime() > until:
                    return False
                await asyncio.sleep(0.5)
            except HoldfastError:
                await asyncio.sleep(0.5)
            else:
                return True

    async def _signal(self, story: Story, run: RunHandle[Any], name: str, after: float) -> None:
        await asyncio.sleep(after)
        # Whoever gets no answer sends again: the run takes one signal of each name and leaves the others.
        answer: Answer = "unknown"
        while answer == "unknown":
            answer, _ = await self._call(story, f"signal {name}", lambda: run.signal(name, payload_of(name)))
        if answer == "acknowledged":
            story.sent.append(name)

    async def _cancel(self, story: Story, run: RunHandle[Any], after: float) -> None:
        await asyncio.sleep(after)
        answer, accepted = await self._call(story, "cancel", lambda: run.cancel("chaos"))
        story.cancel = "accepted" if accepted else answer

    async def _await(self, story: Story, run: RunHandle[Any]) -> None:
        try:
            story.result = await run.result()
            story.status = "completed"
        except RunFailed as failed:
            story.status, story.error = _STATUSES.get(type(failed), "failed"), str(failed)

    async def _repair(self, story: Story, run: RunHandle[Any]) -> None:
        broken = [line.key for line in self._failed_lines(story)]
        if not broken:
            return  # it failed for another reason, which the verdict says
        repair_file(self._directory, broken[-1]).touch()
        answer, retried = await self._call(story, "retry", run.retry)
        story.retry = answer
        until = boottime() + COMMITTED_SECONDS
        while answer == "unknown" and (retried is None or retried.run_id == story.run_ids[-1]) and boottime() < until:
            await asyncio.sleep(0.5)  # it may be committed yet, as long as its deadline has not passed
            retried = self._clients[0].get(f"{self._prefix}-{story.plan.name}")
            await self._exists(retried)
        if retried is not None and retried.run_id != story.run_ids[-1]:
            story.run_ids.append(retried.run_id)
            await self._await(story, retried)

    def _failed_lines(self, story: Story) -> list[ledger.Line]:
        lines = ledger.read(self._directory / "ledger")
        return [line for line in lines if line.what == "raises" and line.run_id == story.run_ids[-1]]

    async def _call(self, story: Story, what: str, call: Callable[[], Awaitable[T]]) -> tuple[Answer, T | None]:
        """What a call came to, and its value where it was acknowledged."""
        begun_at = boottime()
        answer: Answer = "acknowledged"
        detail, value = "", None
        try:
            value = await call()
        except (RunAlreadyClosed, RunNotFound, RunNotRetryable) as error:
            answer, detail = "refused", repr(error)
        except HoldfastError as error:
            answer, detail = "unknown", repr(error)
        self.calls.append(Call(what, story.plan.name, begun_at, boottime(), answer, detail))
        return answer, value


def without_tokens(value: Any) -> Any:
    """A result as `programs.expected` has it; see `flows.py` for the tokens."""
    if isinstance(value, list):
        return [without_tokens(part) for part in value]
    return re.sub("@[0-9a-f]+$", "", value)


def tokens_of(value: Any) -> list[tuple[str, str]]:
    """The steps whose results a value holds, and the token of the execution that each came from."""
    if isinstance(value, list):
        return [found for part in value for found in tokens_of(part)]
    match = re.fullmatch(r"(s\d+)/\d+@([0-9a-f]+)", value)
    return [(match[1], match[2])] if match else []
