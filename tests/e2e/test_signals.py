"""Signals: waiting, early ones, order, `once`, replay, and runs that take none."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from holdfast import App, InvalidRequest, RunAlreadyClosed, RunFailed, RunNotFound, constant, receive
from holdfast.client import Client
from holdfast.journal import SignalSetAside
from tests.support.watching import kinds, until, until_status

from .conftest import Coordinator, WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(30)]

app = App("signals", backoff=constant(0))


@app.workflow
async def receives(count: int) -> list[Any]:
    return [await receive("item") for _ in range(count)]


@pytest.mark.feature("F93")
async def test_a_waiting_run_is_suspended_and_says_for_which_signal(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(receives.with_options(queue=queue), 1)
        await until_status(run, "suspended")
        assert (await run.describe()).reason == "waits for signal item"
        assert await run.signal("item", "now") is None
        assert await run.result(timeout=10) == ["now"]


@pytest.mark.feature("F93")
async def test_signals_before_the_first_worker_arrive_in_the_order_of_sending(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    run = await client.start(receives.with_options(queue=queue), 50)
    for number in range(50):
        await run.signal("item", number)
    async with worker(workflows=[app]):
        assert await run.result(timeout=10) == list(range(50))


@pytest.mark.feature("F93")
async def test_signals_of_one_name_wait_while_another_name_is_received(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(receives_two_names.with_options(queue=queue))
        for name, payload in (("b", 1), ("b", 2), ("a", 3), ("b", 4)):
            await run.signal(name, payload)
        assert await run.result(timeout=10) == [3, 1, 2, 4]


@app.workflow
async def receives_two_names() -> list[Any]:
    return [await receive("a"), await receive("b"), await receive("b"), await receive("b")]


@pytest.mark.feature("F93")
async def test_falsy_payloads_are_kept_and_replayed(client: Client, worker: WorkerFactory, queue: str) -> None:
    """The second worker rebuilds the run from its journal."""
    payloads = [0, False, "", None, [], {}, 0.0]
    run = await client.start(receives.with_options(queue=queue), len(payloads) + 1)
    async with worker(workflows=[app]):
        for payload in payloads:
            await run.signal("item", payload)
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        await run.signal("item", "last")
        assert repr(await run.result(timeout=10)) == repr([*payloads, "last"])


@pytest.mark.feature("F93")
async def test_with_once_only_the_first_signal_of_a_name_counts(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Also of many at once, and beside other names."""
    async with worker(workflows=[app]):
        run = await client.start(receives.with_options(queue=queue), 2)
        answers = await asyncio.gather(*(run.signal("item", number, once=True) for number in range(10)))
        assert sorted(map(bool, answers)) == [False] * 9 + [True]
        assert await run.signal("other", once=True) is True
        await run.signal("item", "second")
        assert await run.result(timeout=10) == [answers.index(True), "second"]


@app.workflow
async def times_out() -> str:
    try:
        await receive("item", timeout=0.1)
    except TimeoutError as error:
        first = str(error)
    return f"{first}; {await receive('item', timeout='5s')}"


@pytest.mark.feature("F93")
async def test_a_receive_times_out_and_a_later_one_still_receives(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(times_out.with_options(queue=queue))
        await until(lambda: kinds(run), lambda seen: "MailConsumed" in seen)
        await run.signal("item", "late")
        assert await run.result(timeout=10) == "no signal 'item' came in time; late"


@pytest.mark.feature("F94")
async def test_a_closed_run_takes_no_signal(client: Client, worker: WorkerFactory, queue: str) -> None:
    """The error is typed and names the run."""
    async with worker(workflows=[app]):
        run = await client.start(receives.with_options(queue=queue), 0)
        assert await run.result(timeout=10) == []
    for once in (False, True):
        with pytest.raises(RunAlreadyClosed, match="is closed") as caught:
            await run.signal("item", once=once)
        assert caught.value.run_id == run.run_id


@pytest.mark.feature("F94")
@pytest.mark.parametrize("run", ["run_0001m7wa3e5vkgn9p7yhpsw3es4t", "order-unknown", "run_malformed", "x" * 5_000])
async def test_an_unknown_run_takes_no_signal(client: Client, run: str) -> None:
    """By run id, by business id, and by what is neither."""
    with pytest.raises(RunNotFound) as caught:
        await client.get(run).signal("item")
    assert caught.value.run == run


@pytest.mark.feature("F94")
async def test_a_run_of_another_namespace_takes_no_signal(client: Client, coordinator: Coordinator, queue: str) -> None:
    """Neither by its run id nor by its business id."""
    run = await client.start(receives.with_options(id=f"mine-{queue}", queue=queue), 1)
    async with Client.connect(coordinator.address, "other") as stranger:
        for name in (run.run_id, f"mine-{queue}"):
            with pytest.raises(RunNotFound):
                await stranger.get(name).signal("item")
            with pytest.raises(RunNotFound):
                await stranger.get(name).describe()
    await run.terminate()


@pytest.mark.feature("F94")
@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "a\x00b", "a\ud800b"])
async def test_a_malformed_signal_name_is_refused_and_the_run_waits_on(
    client: Client, worker: WorkerFactory, queue: str, name: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(receives.with_options(queue=queue), 1)
        with pytest.raises(InvalidRequest, match=r"1 to 200 printable|no text") as caught:
            await run.signal(name)
        assert caught.value.field == "signal.name"
        await run.signal("item")
        assert await run.result(timeout=10) == [None]


class Approval(BaseModel):
    approved: bool

    @model_validator(mode="before")
    @classmethod
    def is_left_to_the_code(cls, value: Any) -> Any:
        """What code judges the coordinator does not: else the senders would be refused, see test_typed_signals."""
        return value


@app.workflow
async def approves() -> str:
    first = await receive("approval", Approval)
    second = await receive("approval", Approval, timeout="1h")
    return f"{type(first).__name__} {first.approved}, {second.approved}"


@pytest.mark.feature("F93", "F157")
@pytest.mark.parametrize("is_early", [False, True], ids=["while it waits", "before it waits"])
async def test_a_signal_that_does_not_fit_is_set_aside_and_the_run_waits_for_the_next(
    client: Client, worker: WorkerFactory, queue: str, is_early: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One "maybe" failed the run for good."""
    run = await client.start(approves.with_options(queue=queue))
    payloads: list[Any] = ["yes", {"approved": True}, None, {"approved": "maybe"}]
    if is_early:
        for payload in payloads:
            await run.signal("approval", payload)
    async with worker(workflows=[app]):
        if not is_early:
            for payload in payloads:
                await until_status(run, "suspended")
                await run.signal("approval", payload)
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        await run.signal("approval", {"approved": False})
        assert await run.result(timeout=10) == "Approval True, False"
    aside = [one.entry for one in (await run.history()).entries if isinstance(one.entry, SignalSetAside)]
    assert [(entry.number, entry.name) for entry in aside] == [(1, "approval"), (3, "approval"), (4, "approval")]
    assert aside[2].problem.startswith("not Approval: approved: input should be a valid boolean")
    assert sum("signal approval was set aside" in record.message for record in caplog.records) == 3


@app.workflow
async def fails_after_one() -> None:
    await receive("item")
    raise ValueError("enough")


@pytest.mark.feature("F93")
async def test_signals_that_nobody_received_are_in_the_history_of_the_closed_run(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Undelivered, before the close."""
    run = await client.start(fails_after_one.with_options(queue=queue))
    for payload in (1, 2):
        await run.signal("item", payload)
    async with worker(workflows=[app]):
        with pytest.raises(RunFailed):
            await run.result(timeout=10)
    types = [entry.type for entry in await run.history()]
    assert types[0] == "RunStarted"
    assert types[-1] == "RunClosed"
    assert len(types) == 4
