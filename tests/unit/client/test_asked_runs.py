"""Who asks whether runs are closed gets an answer at once, and many ask with few calls."""

import asyncio
from collections.abc import Collection

import pytest

from holdfast.channel.run_records import ClosedRun
from holdfast.client.closed_runs import AskedRuns
from holdfast.errors import RunNotFound
from holdfast.statuses import RunStatus

ROOM = 10


class Runs:
    """Answers as the coordinator does: what is closed, as far as there is room; an error for one that is missing."""

    def __init__(self, *closed: str, missing: str = "") -> None:
        self.calls: list[int] = []
        self._closed = closed
        self._missing = missing

    async def ask(self, run_ids: Collection[str]) -> list[ClosedRun]:
        self.calls.append(len(run_ids))
        await asyncio.sleep(0)
        if self._missing in run_ids:
            raise RunNotFound(self._missing)
        return [ClosedRun(one, RunStatus.COMPLETED) for one in self._closed if one in run_ids][:ROOM]


async def test_runs_asked_about_side_by_side_are_one_call() -> None:
    runs = Runs("run3")
    asked = AskedRuns(runs.ask)
    answers = await asyncio.gather(*(asked.closed(f"run{n}") for n in range(5)))
    assert [one is not None for one in answers] == [False, False, False, True, False]
    assert runs.calls == [5, 4]
    assert await asked.closed("run3") is not None
    assert runs.calls == [5, 4, 1]


async def test_closed_runs_for_which_one_answer_has_no_room_come_with_the_next() -> None:
    names = [f"run{n}" for n in range(35)]
    runs = Runs(*names)
    asked = AskedRuns(runs.ask, ids_max=20)
    assert None not in await asyncio.gather(*map(asked.closed, names))
    assert runs.calls == [20, 10, 15, 5]


async def test_a_run_that_does_not_exist_is_an_error_of_its_own() -> None:
    runs = Runs("run1", missing="run0")
    asked = AskedRuns(runs.ask)
    missing, closed = await asyncio.gather(asked.closed("run0"), asked.closed("run1"), return_exceptions=True)
    assert isinstance(missing, RunNotFound)
    assert isinstance(closed, ClosedRun)


async def test_one_who_gives_up_takes_the_answer_from_nobody_else() -> None:
    asked = AskedRuns(Runs("run0", "run1").ask)
    impatient = asyncio.create_task(asked.closed("run0"))
    patient = asyncio.create_task(asked.closed("run1"))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient is not None
    with pytest.raises(asyncio.CancelledError):
        await impatient
