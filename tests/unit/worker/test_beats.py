"""Signs of life of attempts: what they save, and how long they may be silent."""

import asyncio
import contextvars
from datetime import timedelta

import pytest

from holdfast.journal import Payload
from holdfast.worker import beats
from holdfast.worker.beats import Beats


class Kept:
    """What was saved, in order, and the silences that were too long."""

    def __init__(self) -> None:
        self.details: list[bytes] = []
        self.silences: list[timedelta] = []
        self.changed = asyncio.Event()
        self.beats = Beats(
            asyncio.get_running_loop(), contextvars.copy_context(), save=self._save, silent=self._was_silent
        )

    def _save(self, details: Payload) -> "asyncio.Future[None]":
        self.details.append(details.data)
        self.changed.set()
        return asyncio.get_running_loop().create_future()

    def _was_silent(self, silence: timedelta) -> None:
        self.silences.append(silence)
        self.changed.set()

    async def next(self) -> None:
        self.changed.clear()
        await asyncio.wait_for(self.changed.wait(), 10)


async def test_of_many_heartbeats_the_first_and_then_the_last_are_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "SAVE_SECONDS", 0.05)
    kept = Kept()
    for number in range(1_000):
        kept.beats.beat(Payload(str(number).encode()))
    assert kept.details == [b"0"]
    await kept.next()
    assert kept.details == [b"0", b"999"]
    kept.beats.end()


async def test_an_attempt_that_gives_signs_of_life_is_not_taken_for_silent() -> None:
    kept = Kept()
    kept.beats.expect_within(timedelta(seconds=0.3))
    for _ in range(6):
        await asyncio.sleep(0.1)
        kept.beats.beat(None)
    assert kept.silences == []
    await kept.next()
    assert kept.silences == [timedelta(seconds=0.3)]


async def test_an_attempt_that_is_over_is_not_taken_for_silent_and_saves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(beats, "SAVE_SECONDS", 0.05)
    kept = Kept()
    kept.beats.expect_within(timedelta(seconds=0.05))
    kept.beats.beat(Payload(b"1"))
    kept.beats.beat(Payload(b"2"))
    kept.beats.end()
    await asyncio.sleep(0.2)
    assert (kept.details, kept.silences) == ([b"1"], [])
