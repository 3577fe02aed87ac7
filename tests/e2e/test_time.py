"""Durable sleeps: every form, how long they take, what is recorded."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import holdfast
from holdfast import App, RunFailed, constant, sleep
from holdfast.client import Client, RunHandle
from holdfast.journal import TimerSet
from tests.support.watching import kinds, until_status

from .conftest import LOOK_SECONDS, WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(30)]

app = App("time", backoff=constant(0))
calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    calls.clear()


@app.step
async def noted(what: str) -> float:
    calls.append(what)
    return time.monotonic()


FORMS: dict[str, Any] = {
    "milliseconds": "300ms",
    "seconds": "0.3s",
    "number": 0.3,
    "timedelta": timedelta(milliseconds=300),
}


@app.workflow
async def sleeps_between(form: str) -> float:
    before = await noted("before")
    await sleep(FORMS[form])
    return await noted("after") - before


@pytest.mark.feature("F76", "F79")
@pytest.mark.alone
@pytest.mark.parametrize("form", FORMS)
async def test_a_sleep_between_two_steps_takes_its_time_and_suspends_the_run(
    client: Client, worker: WorkerFactory, queue: str, form: str
) -> None:
    """In every form, below a second too; the first step is executed once."""
    async with worker(workflows=[app]):
        run = await client.start(sleeps_between.with_options(queue=queue), form)
        await until_status(run, "suspended")
        assert calls == ["before"]
        assert 0.3 <= await run.result(timeout=10) < 0.6 + LOOK_SECONDS
    assert calls == ["before", "after"]


@app.workflow
async def sleeps_long(span: str) -> None:
    await sleep(span)


@pytest.mark.feature("F76")
@pytest.mark.parametrize(
    ("span", "seconds"), [("5s", 5), ("10m", 600), ("2h", 7_200), ("3d", 259_200), ("1w", 604_800)]
)
async def test_long_sleeps_are_set_for_their_full_length(
    client: Client, worker: WorkerFactory, queue: str, span: str, seconds: int
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(sleeps_long.with_options(queue=queue), span)
        await until_status(run, "suspended")
        assert [timer.delay for timer in await timers_of(run)] == [timedelta(seconds=seconds)]
        await run.terminate()


async def timers_of(run: RunHandle[Any]) -> list[TimerSet]:
    """The timers that a run has set, in order."""
    return [one.entry for one in await run.history() if isinstance(one.entry, TimerSet)]


@app.workflow
async def sleeps_until(moment: datetime) -> float:
    await sleep(moment)
    return (holdfast.now() - moment.replace(tzinfo=moment.tzinfo or UTC)).total_seconds()


@pytest.mark.feature("F78")
@pytest.mark.alone
@pytest.mark.parametrize("kind", ["aware", "naive"])
async def test_a_sleep_until_an_instant_wakes_then_and_a_naive_one_is_utc(
    client: Client, worker: WorkerFactory, queue: str, kind: str
) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=0.4)
    given = moment if kind == "aware" else moment.replace(tzinfo=None)
    async with worker(workflows=[app]):
        late = await client.run(sleeps_until.with_options(queue=queue), given)
    assert 0 <= late < 0.3 + LOOK_SECONDS
    assert 0 <= (datetime.now(UTC) - moment).total_seconds() < 1 + 2 * LOOK_SECONDS


@pytest.mark.feature("F78")
async def test_a_sleep_until_the_past_returns_at_once_and_is_not_recorded(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(sleeps_until.with_options(queue=queue), datetime(2020, 1, 1, tzinfo=UTC))
        assert await run.result(timeout=10) > 0
    assert await kinds(run) == ["RunStarted", "RunClosed"]


@pytest.mark.feature("F78")
async def test_a_sleep_whose_instant_passes_while_no_worker_is_there_wakes_with_the_next_worker(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Waking late is no error."""
    async with worker(workflows=[app]):
        moment = datetime.now(UTC) + timedelta(seconds=0.3)
        run = await client.start(sleeps_until.with_options(queue=queue), moment)
        await until_status(run, "suspended")
    await asyncio.sleep(0.4)  # nothing to wait for: the instant has to pass while nobody is there
    async with worker(workflows=[app]):
        assert await run.result(timeout=10) >= 0


@app.workflow
async def sleeps_by_name() -> None:
    await sleep("1h", name="wait_for_rate_limit")


@pytest.mark.feature("F80")
async def test_a_named_sleep_is_in_the_history_with_the_reason_and_the_length(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """The time of the entry and its delay give the time of resumption."""
    async with worker(workflows=[app]):
        run = await client.start(sleeps_by_name.with_options(queue=queue))
        await until_status(run, "suspended")
        (timer,) = await timers_of(run)
        assert (timer.name, timer.delay) == ("wait_for_rate_limit", timedelta(hours=1))
        assert abs(datetime.now(UTC) - timer.at) < timedelta(seconds=5)
        assert (await run.describe()).reason == "waits for timer 1 (wait_for_rate_limit)"
        await run.terminate()


BAD_SPANS: dict[str, Any] = {
    "words": "5 minutes",
    "negative": "-5s",
    "empty": "",
    "nan": float("nan"),
    "infinite": float("inf"),
    "absurd": "99999w",
    "truth": True,
    "nothing": None,
}


@app.workflow
async def sleeps_badly(which: str) -> None:
    await sleep(BAD_SPANS[which])


@pytest.mark.feature("F81")
@pytest.mark.parametrize("which", BAD_SPANS)
async def test_an_invalid_duration_fails_the_run_and_records_no_timer(
    client: Client, worker: WorkerFactory, queue: str, which: str
) -> None:
    """The message has the accepted forms, or the limit."""
    async with worker(workflows=[app]):
        run = await client.start(sleeps_badly.with_options(queue=queue), which)
        with pytest.raises(RunFailed, match=r'ValueError: .*("500ms", "5s", "10m"|ten years)'):
            await run.result(timeout=10)
    assert await kinds(run) == ["RunStarted", "RunClosed"]


@pytest.mark.feature("F82")
@pytest.mark.alone
async def test_a_sleep_outside_a_run_is_an_ordinary_sleep() -> None:
    begun = time.monotonic()
    await sleep("100ms")
    assert 0.1 <= time.monotonic() - begun < 0.3


@app.workflow
async def races() -> list[str]:
    order: list[str] = []

    async def after(seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(f"{seconds:g}")

    try:
        async with asyncio.timeout(0.2):
            await asyncio.gather(after(0.15), after(0.05), after(5))
    except TimeoutError:
        order.append("timeout")
    return order


@pytest.mark.feature("F76")
async def test_sleeps_and_timeouts_of_asyncio_are_durable_and_end_in_order(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(races.with_options(queue=queue))
        assert await run.result(timeout=10) == ["0.05", "0.15", "timeout"]
    assert (await kinds(run)).count("TimerSet") == 4
