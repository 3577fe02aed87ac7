"""Asks whether runs are closed, without waiting: those asked about side by side go with one call.

The transport is handed in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from holdfast.channel.run_records import ClosedRun
from holdfast.errors import HoldfastError, RunNotFound
from holdfast.limits import WAITED_RUNS_MAX

AskNow = Callable[[Collection[str]], Awaitable[list[ClosedRun]]]
Answers = dict[str, ClosedRun | HoldfastError]


class AskedRuns:
    """See the module. ask_now: returns those of a set of ids that are closed, or as many as one answer has room for."""

    def __init__(self, ask_now: AskNow, *, ids_max: int = WAITED_RUNS_MAX) -> None:
        self._ask_now = ask_now
        self._ids_max = ids_max
        self._gathering: dict[str, None] = {}
        self._call: asyncio.Task[Answers] | None = None

    async def closed(self, run_id: str) -> ClosedRun | None:
        """The run when it is closed, else None. Raises RunNotFound, and whatever `ask_now` raises."""
        if self._call is None:
            self._gathering = {}
            self._call = asyncio.get_running_loop().create_task(self._ask(self._gathering))
        self._gathering[run_id] = None
        # Shielded: the others who asked go on waiting for it.
        answer = (await asyncio.shield(self._call)).get(run_id)
        if isinstance(answer, HoldfastError):
            raise answer
        return answer

    async def _ask(self, gathered: dict[str, None]) -> Answers:
        await asyncio.sleep(0)  # all who ask in this turn of the loop
        self._call = None
        answers: Answers = {}
        ids = list(gathered)
        for start in range(0, len(ids), self._ids_max):
            await self._ask_page(ids[start : start + self._ids_max], answers)
        return answers

    async def _ask_page(self, ids: list[str], answers: Answers) -> None:
        while ids:
            try:
                closed = await self._ask_now(ids)
            except RunNotFound as error:
                if error.run not in ids:
                    raise
                answers[error.run] = error
            else:
                if not closed:
                    return
                answers.update((one.run_id, one) for one in closed)
            ids = [run_id for run_id in ids if run_id not in answers]
