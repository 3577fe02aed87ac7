"""The example saga: a trip is booked whole or not at all."""

import pytest

from examples import saga
from holdfast import RunFailed
from holdfast.journal import StepScheduled
from holdfast.testing import run_local


@pytest.fixture(autouse=True)
def _nothing_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saga, "bookings", [])


async def test_a_trip_is_booked_whole() -> None:
    run = await run_local(saga.book_trip, "Ada", "Oslo")
    assert run.value() == "Ada goes to Oslo"
    assert saga.bookings == ["flight for Ada", "hotel for Ada", "car for Ada"]


async def test_a_part_that_fails_undoes_the_others_in_reverse() -> None:
    run = await run_local(saga.book_trip, "Ada", "Atlantis")
    with pytest.raises(RunFailed, match="no roads in Atlantis"):
        run.value()
    assert saga.bookings == []
    steps = [entry for entry in run.history if isinstance(entry, StepScheduled)]
    assert [step.name for step in steps] == ["book"] * 3 + ["cancel"] * 3
    undone = [step.arguments.positional[0].data.decode() for step in steps[3:]]
    assert undone == ['"car"', '"hotel"', '"flight"']
