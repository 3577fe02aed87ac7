"""Failing steps: how often, when and whether they are repeated, and what is recorded."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import holdfast
from holdfast import App, FatalError, RetryableError, RunFailed, constant, exponential, linear, receive
from holdfast.client import Client, RunHandle
from holdfast.journal import AttemptEnded, AttemptRecord, Mail, MailConsumed, StepCompleted, StepFailed, StepResult
from tests.support.watching import kinds, until_status

from .conftest import LOOK_SECONDS, WorkerFactory

CLOCK_ERROR_SECONDS = 0.05
"""How far a worker's estimate of the database's clock may be off on a loaded machine."""

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(30)]

app = App("retries", backoff=constant(0))
calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    calls.clear()


async def attempts_of(run: RunHandle[Any]) -> list[AttemptRecord]:
    """The records of all ended attempts of a run, in order; those of queued steps come with their results."""
    records: list[AttemptRecord] = []
    for one in await run.history():
        match one.entry:
            case MailConsumed(mail=Mail(body=StepResult(attempts=attempts))):
                records += attempts
            case AttemptEnded(attempt=record) | StepCompleted(attempt=record) | StepFailed(attempt=record):
                records += [record] if record is not None else []
    return records


async def delays_of(run: RunHandle[Any]) -> list[float]:
    """The recorded waits before the retries of a run, in seconds."""
    return [record.retry_delay.total_seconds() for record in await attempts_of(run) if record.retry_delay is not None]


@app.step(retries=4)
async def fails(times: int) -> int:
    calls.append("fails")
    if len(calls) <= times:
        raise KeyError(f"failure {len(calls)}")
    return len(calls)


@app.workflow
async def uses_fails(times: int) -> int:
    return await fails(times)


@pytest.mark.feature("F61", "F67", "F70")
async def test_a_step_that_fails_twice_succeeds_with_its_third_attempt(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Each attempt has its record, the failed ones with type, text and traceback."""
    async with worker(workflows=[app]):
        run = await client.start(uses_fails.with_options(queue=queue), 2)
        assert await run.result(timeout=10) == 3
    records = await attempts_of(run)
    assert [(record.attempt, record.outcome.name) for record in records] == [
        (1, "FAILED_RETRYABLE"),
        (2, "FAILED_RETRYABLE"),
        (3, "COMPLETED"),
    ]
    for number, record in enumerate(records[:2], start=1):
        assert record.failure is not None
        assert (record.failure.error_type, record.failure.message) == ("KeyError", f"'failure {number}'")
        assert 'raise KeyError(f"failure {len(calls)}")' in record.failure.traceback
        assert record.scheduled_at <= record.eligible_at <= record.started_at <= record.ended_at
    assert records[2].failure is None


@pytest.mark.feature("F72")
async def test_exhausted_retries_fail_the_run_with_the_last_error(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(uses_fails.with_options(queue=queue), 10)
        with pytest.raises(RunFailed, match="KeyError: 'failure 5'") as caught:
            await run.result(timeout=10)
    assert caught.value.error_type == "KeyError"
    assert isinstance(caught.value.__cause__, KeyError)
    assert len(calls) == 5
    assert [record.attempt for record in await attempts_of(run)] == [1, 2, 3, 4, 5]
    failure = (await run.describe()).failure
    assert failure is not None
    assert failure.step is not None
    assert (failure.step.name, failure.step.number, failure.step.attempts) == ("fails", 1, 5)


@app.workflow
async def fails_with(backoff: str) -> int:
    return await fails.with_options(backoff=BACKOFFS[backoff])(4)


BACKOFFS: dict[str, Any] = {
    "exponential": exponential(base=0.5, max=0.2),
    "linear": linear(start=0.02, step=0.03),
    "constant": constant(0.05),
    "text": "50ms",
    "number": 0.05,
    "list": [0.05, 0.02],
    "callable": lambda retry: retry / 100,
}


@pytest.mark.feature("F62", "F63", "F64")
@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        ("exponential", [0.2, 0.2, 0.125, 0.0625]),
        ("linear", [0.02, 0.05, 0.08, 0.11]),
        ("constant", [0.05] * 4),
        ("text", [0.05] * 4),
        ("number", [0.05] * 4),
        ("list", [0.05, 0.02, 0.02, 0.02]),
        ("callable", [0.01, 0.02, 0.03, 0.04]),
    ],
)
async def test_retries_wait_as_their_backoff_says(
    client: Client, worker: WorkerFactory, queue: str, backoff: str, expected: list[float]
) -> None:
    """What is recorded, and what passes between the attempts."""
    async with worker(workflows=[app]):
        run = await client.start(fails_with.with_options(queue=queue), backoff)
        assert await run.result(timeout=10) == 5
    assert await delays_of(run) == pytest.approx(expected)
    records = await attempts_of(run)
    for before, after, delay in zip(records, records[1:], expected, strict=False):
        assert -0.005 < (after.started_at - before.ended_at).total_seconds() - delay < 0.2 + LOOK_SECONDS


@app.step(retries=4, backoff=[1.2, 0])
async def fails_once_for_long() -> int:
    calls.append("long")
    if len(calls) == 1:
        raise ValueError("not yet")
    return len(calls)


@app.workflow
async def waits_long_for_a_retry() -> int:
    return await fails_once_for_long()


@pytest.mark.feature("F63")
async def test_a_long_wait_for_a_retry_is_kept_by_the_coordinator(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """The run is suspended meanwhile, so it outlives its worker."""
    async with worker(workflows=[app]):
        run = await client.start(waits_long_for_a_retry.with_options(queue=queue))
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        assert await run.result(timeout=10) == 2
    first, second = await attempts_of(run)
    assert 1.2 <= (second.started_at - first.ended_at).total_seconds() < 1.6 + LOOK_SECONDS


@app.step(retries=5)
async def refuses() -> None:
    calls.append("refuses")
    raise FatalError("no such customer")


@app.workflow
async def uses_refuses() -> None:
    await refuses()


@pytest.mark.feature("F65")
async def test_a_fatal_error_is_not_retried(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        run = await client.start(uses_refuses.with_options(queue=queue))
        with pytest.raises(RunFailed, match="FatalError: no such customer") as caught:
            await run.result(timeout=10)
    assert isinstance(caught.value.__cause__, FatalError)
    assert calls == ["refuses"]
    assert [record.outcome.name for record in await attempts_of(run)] == ["FAILED_FINAL"]


def _soon(form: str) -> Any:
    match form:
        case "text":
            return "100ms"
        case "number":
            return 0.1
        case "timedelta":
            return timedelta(seconds=0.1)
        case _:
            return datetime.now(UTC) + timedelta(seconds=0.1)


@app.step(retries=3, backoff="60s")
async def asks_for_a_retry(form: str) -> int:
    calls.append(form)
    if len(calls) == 1:
        raise RetryableError("busy", retry_after=_soon(form))
    return len(calls)


@app.step(retries=3, backoff="60s", placement="queued")
async def asks_for_a_retry_in_the_queue(form: str) -> int:
    return int(await asks_for_a_retry.function(form))


@app.workflow
async def uses_asks_for_a_retry(form: str, *, queued: bool) -> int:
    return await (asks_for_a_retry_in_the_queue if queued else asks_for_a_retry)(form)


@pytest.mark.feature("F66")
@pytest.mark.parametrize("queued", [False, True], ids=["inline", "queued"])
@pytest.mark.parametrize("form", ["text", "number", "timedelta", "datetime"])
async def test_the_wait_that_a_retryable_error_asks_for_overrides_the_backoff(
    client: Client, worker: WorkerFactory, queue: str, form: str, queued: bool
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(uses_asks_for_a_retry.with_options(queue=queue), form, queued=queued)
        assert await run.result(timeout=10) == 2
    first, second = await attempts_of(run)
    assert first.retry_delay is not None
    # An instant comes nearer until the failure is looked at, by an estimate of the database's clock.
    assert 0 < first.retry_delay.total_seconds() <= 0.1 + (CLOCK_ERROR_SECONDS if form == "datetime" else 0.0)
    waited = second.started_at - first.ended_at
    assert first.retry_delay - timedelta(milliseconds=1) <= waited < timedelta(seconds=0.4 + LOOK_SECONDS)


no_retries = App("no retries", retries=0)


@no_retries.step
async def fails_always() -> None:
    calls.append("fails_always")
    raise ValueError("always")


@no_retries.step(retries=1, backoff=constant(0))
async def fails_always_twice() -> None:
    calls.append("fails_always_twice")
    raise ValueError("always")


@no_retries.workflow
async def uses_fails_always() -> list[int]:
    attempts = []
    for step in (fails_always, fails_always_twice):
        try:
            await step()
        except holdfast.StepFailed as failure:
            attempts.append(failure.attempts)
    return attempts


@pytest.mark.feature("F68")
async def test_the_defaults_of_an_app_hold_for_its_steps_unless_they_say_otherwise(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[no_retries]):
        run = await client.start(uses_fails_always.with_options(queue=queue))
        assert await run.result(timeout=10) == [1, 2]
    assert calls == ["fails_always", "fails_always_twice", "fails_always_twice"]


@app.step(retries=2)
async def fails_three_times() -> None:
    calls.append("fails_three_times")
    raise ConnectionError("refused")


@app.workflow
async def catches() -> str:
    try:
        await fails_three_times()
    except holdfast.StepFailed as failure:
        caught = f"{failure.step} {failure.number} {failure.attempts} {failure.error_type}: {failure.message}"
        cause = type(failure.__cause__).__name__
    await receive("go")
    return f"{caught} ({cause})"


@pytest.mark.feature("F71")
async def test_a_caught_failure_is_replayed_and_not_executed_again(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(catches.with_options(queue=queue))
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        await run.signal("go")
        assert await run.result(timeout=10) == "fails_three_times 1 3 ConnectionError: refused (ConnectionError)"
    assert len(calls) == 3


AWKWARD = "{oops} %s %(name)s \\n\n\r\t\x00 \x1b[31m \ud800 \U0001f600 " + "long " * 200_000


@app.step(retries=1)
async def fails_awkwardly() -> str:
    calls.append("fails_awkwardly")
    raise RuntimeError(AWKWARD)


@app.workflow
async def uses_fails_awkwardly() -> str:
    return await fails_awkwardly()


@pytest.mark.feature("F73")
async def test_awkward_error_texts_are_stored_listed_and_cut(client: Client, worker: WorkerFactory, queue: str) -> None:
    """And the retry happens all the same."""
    async with worker(workflows=[app]):
        run = await client.start(uses_fails_awkwardly.with_options(queue=queue))
        with pytest.raises(RunFailed, match=r"RuntimeError: \{oops\} %s") as caught:
            await run.result(timeout=10)
    assert len(calls) == 2
    message = caught.value.message
    assert message.startswith("{oops} %s %(name)s \\n\n\r\t\\x00 \x1b[31m \\ud800 \U0001f600 long")
    assert 40_000 < len(message.encode()) <= 64 * 1024
    failure = (await run.describe()).failure
    assert failure is not None
    assert failure.cut
    (listed,) = await client.list(text=run.run_id)
    assert listed.error is not None
    assert listed.error.startswith("RuntimeError: {oops}")
    assert await kinds(run) == [
        "RunStarted", "StepScheduled", "AttemptEnded", "AttemptStarted", "StepFailed", "RunClosed",
    ]  # fmt: skip


class NeedsTwoArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@app.step(retries=0)
async def raises(which: str) -> None:
    match which:
        case "arguments":
            raise NeedsTwoArguments(7, "seven")
        case "unprintable":
            raise Unprintable
        case "exit":
            raise SystemExit(3)
        case "group":
            raise ExceptionGroup("several", [ValueError("a"), KeyError("b")])
        case _:
            raise StopAsyncIteration


@app.workflow
async def uses_raises(which: str) -> None:
    await raises(which)


@pytest.mark.feature("F72", "F73")
@pytest.mark.parametrize(
    ("which", "error_type", "text"),
    [
        ("arguments", "NeedsTwoArguments", r"seven \(7\)"),
        ("unprintable", "Unprintable", "cannot be made"),
        ("exit", "SystemExit", "3"),
        ("group", "ExceptionGroup", "several"),
        ("stop", "RuntimeError|StopAsyncIteration", ""),
    ],
)
async def test_every_kind_of_error_fails_its_run_with_type_and_text(
    client: Client, worker: WorkerFactory, queue: str, which: str, error_type: str, text: str
) -> None:
    """The worker survives them all."""
    async with worker(workflows=[app]):
        run = await client.start(uses_raises.with_options(queue=queue), which)
        with pytest.raises(RunFailed, match=rf"({error_type}).*{text}"):
            await run.result(timeout=10)
        other = await client.start(uses_fails.with_options(queue=queue), 0)
        assert await other.result(timeout=10) == 1
