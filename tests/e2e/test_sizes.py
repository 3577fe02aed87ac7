"""Values that are too large, alone or together, and many large ones that are not.

Whatever is within its limit must get through, however much of it comes together.
"""

import asyncio
import sys

import pytest

from holdfast import App, PayloadTooLarge, RunFailed, constant, receive
from holdfast.client import Client
from holdfast.journal import MailUndelivered
from holdfast.limits import DEFAULT_LIMITS
from tests.support.traces.stage import forget_peak_rss, peak_rss_bytes, rss_bytes
from tests.support.watching import kinds, until_status

from .conftest import Coordinator, WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

app = App("sizes", backoff=constant(0))
calls: list[str] = []

LIMIT = DEFAULT_LIMITS.payload_bytes
LARGEST = "x" * (LIMIT - 1_000)
"""Text that just fits, with what is around it."""


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    calls.clear()


@app.step(retries=3)
async def returns_bytes(count: int) -> str:
    calls.append("bytes")
    return "x" * count


@app.workflow
async def wants_bytes(count: int) -> int:
    return len(await returns_bytes(count))


@pytest.mark.feature("F60")
async def test_a_result_above_the_limit_fails_its_step_with_size_and_limit(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """One just below passes, and the coordinator goes on."""
    async with worker(workflows=[app]):
        start = wants_bytes.with_options(queue=queue)
        run = await client.start(start, 100_000_000)
        with pytest.raises(RunFailed, match=rf"100,000,002 bytes, the limit is {LIMIT:,}") as caught:
            await run.result(timeout=20)
        assert caught.value.error_type == "PayloadTooLarge"
        assert calls == ["bytes"]
        assert await client.run(start, LIMIT - 2) == LIMIT - 2


@app.workflow
async def takes_text(text: str, more: str = "") -> int:
    return len(text) + len(more)


@pytest.mark.feature("F60")
async def test_arguments_above_the_limit_are_refused_before_anything_is_stored(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Also when each is below it and only their sum is above; the error is typed with its facts."""
    async with worker(workflows=[app]):
        start = takes_text.with_options(queue=queue)
        for args, size in (("x" * LIMIT,), LIMIT + 2), (("x" * (LIMIT // 2), "y" * (LIMIT // 2)), LIMIT):
            with pytest.raises(PayloadTooLarge) as caught:
                await client.start(start, *args)
            assert caught.value.limit_bytes == LIMIT
            assert caught.value.size_bytes >= size
        assert not (await client.list(workflow="takes_text")).runs
        assert await client.run(start, "x" * (LIMIT - 1_000)) == LIMIT - 1_000


@app.workflow
async def receives_texts(count: int) -> int:
    return sum([len(await receive("text", str)) for _ in range(count)])


@pytest.mark.feature("F60")
async def test_a_signal_above_the_limit_is_refused_and_the_run_waits_on(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(receives_texts.with_options(queue=queue), 1)
        with pytest.raises(PayloadTooLarge, match="the payload of signal text"):
            await run.signal("text", "x" * LIMIT)
        await run.signal("text", "small")
        assert await run.result(timeout=10) == 5


@app.step
async def takes_much(*texts: str) -> int:
    return sum(map(len, texts))


@app.workflow
async def moves_much(steps: int, count: int) -> int:
    texts = await asyncio.gather(*(returns_bytes(count) for _ in range(steps)))
    await receive("go")
    return sum(map(len, texts))


@pytest.mark.feature("F60")
async def test_results_that_together_exceed_a_message_are_recorded_in_parts_and_read_again(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Each is within the limit; the next worker reads the journal in pages."""
    count = LIMIT - 2
    async with worker(workflows=[app]):
        run = await client.start(moves_much.with_options(queue=queue), 10, count)
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        await run.signal("go")
        assert await run.result(timeout=10) == 10 * count
    assert len(calls) == 10


@app.workflow
async def gives_a_step_too_much(count: int, size: int) -> str:
    try:
        return str(await takes_much(*["x" * size] * count))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test sees it
        return f"{type(error).__name__}: {error}"


@pytest.mark.feature("F60")
async def test_arguments_of_a_step_that_together_exceed_the_limit_are_refused_where_it_is_called(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    size = LIMIT // 2
    async with worker(workflows=[app]):
        run = await client.start(gives_a_step_too_much.with_options(queue=queue), 12, size)
        assert (await run.result(timeout=10)).startswith("PayloadTooLarge: the argument list of step takes_much has")
    assert await kinds(run) == ["RunStarted", "RunClosed"]


@pytest.mark.feature("F60")
async def test_signals_that_together_exceed_a_message_all_arrive(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """They wait for the first worker, and are rebuilt from the journal by the second one."""
    run = await client.start(receives_texts.with_options(queue=queue), 13)
    for _ in range(12):
        await run.signal("text", LARGEST)
    async with worker(workflows=[app]):
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        await run.signal("text", "")
        assert await run.result(timeout=20) == 12 * len(LARGEST)


@app.workflow
async def returns_text(text: str) -> str:
    return text


@pytest.mark.feature("F60")
async def test_runs_whose_arguments_together_exceed_a_message_are_all_executed_and_awaited(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Their starts, their leases and their results."""
    runs = await client.start_many(returns_text.with_options(queue=queue), [LARGEST] * 20)
    async with worker(workflows=[app]):
        assert await client.wait_many(runs, timeout=30) == [LARGEST] * 20


@app.step(placement="queued")
async def queued_text(text: str) -> str:
    return text


@app.workflow
async def queues_texts(count: int) -> int:
    texts = await asyncio.gather(*(queued_text(LARGEST) for _ in range(count)))
    return sum(map(len, texts))


@pytest.mark.feature("F60")
async def test_queued_steps_whose_values_together_exceed_a_message_are_all_executed(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Their claims, their reports and the mail with their results."""
    async with worker(workflows=[app]):
        run = await client.start(queues_texts.with_options(queue=queue), 12)
        assert await run.result(timeout=30) == 12 * len(LARGEST)


@pytest.mark.feature("F60", "F93")
async def test_signals_that_nobody_received_do_not_make_the_history_unreadable(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """They are in the journal, in several rows."""
    run = await client.start(receives_texts.with_options(queue=queue), 1)
    for _ in range(12):
        await run.signal("text", LARGEST)
    await run.terminate("enough")
    assert await kinds(run) == ["RunStarted", *["MailUndelivered"] * 12, "RunClosed"]


SIGNALS = 40
PEAK_BYTES_MAX = 40 * 1024 * 1024
"""Half of what the signals have together."""


@app.workflow
async def never_taken() -> None: ...


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_a_run_with_many_large_signals_unread_is_terminated_without_reading_them(
    client: Client, coordinator: Coordinator, queue: str
) -> None:
    """120 unread signals of 1.9 MB took 581 MB. The journal has all of them nevertheless, for a retry."""
    run = await client.start(never_taken.with_options(queue=queue))
    for number in range(SIGNALS):
        await run.signal("text", f"{number:02d}{LARGEST[2:]}")
    pid = coordinator.process.pid
    before = rss_bytes(pid)
    forget_peak_rss(pid)
    await run.terminate("too many")
    assert peak_rss_bytes(pid) - before < PEAK_BYTES_MAX
    bodies = [one.entry.mail.body for one in (await run.history()).entries if isinstance(one.entry, MailUndelivered)]
    texts = [body.payload.data for body in bodies]
    assert [(text[1:3], len(text)) for text in texts] == [(b"%02d" % number, LIMIT - 998) for number in range(SIGNALS)]
