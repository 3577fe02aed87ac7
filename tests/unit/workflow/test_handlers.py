"""Handlers of signals: functions inside a workflow function, as in F93 and F96."""

import asyncio
import contextlib
import logging
import re
from dataclasses import dataclass
from typing import Any

import pytest

import holdfast
from holdfast.codec.failures import rebuild
from holdfast.definitions.context import Context
from holdfast.errors import NotAwaited, StepFailed, UnguardedCall
from holdfast.journal import (
    CancelRequested,
    Failure,
    MailConsumed,
    Payload,
    Signal,
    SignalSetAside,
    StepScheduled,
)
from holdfast.statuses import RunStatus
from holdfast.workflow.commands import CancelStep, SetTimer
from tests.support.workflow_driver import START, Driver, a_step, instance_of

pytestmark = pytest.mark.feature("F93")


@a_step
def add(x: int, y: int) -> int:
    return x + y


@a_step
def explode(text: str) -> None:
    raise ValueError(text)


def signal(name: str, data: bytes | None = None) -> Signal:
    return Signal(name, None if data is None else Payload(data))


def failure_of(driver: Driver) -> Failure:
    assert driver.closed.status is RunStatus.FAILED, driver.closed
    assert driver.closed.failure is not None
    return driver.closed.failure


# What a handler gets


async def cart(count: int) -> list[str]:
    items: list[str] = []

    @holdfast.on_signal("add")
    def add(item: str) -> None:
        items.append(item)

    @holdfast.on_signal("remove")
    async def remove(item: str) -> None:
        items.remove(item)

    await holdfast.wait_until(lambda: len(items) >= count, timeout="1h")
    return items


def test_a_handler_is_a_closure_of_the_workflow_function() -> None:
    driver = Driver(cart, [2]).start()
    assert driver.instance.waits()[:3] == ["timer 1 (wait_until)", "signal add", "signal remove"]
    for data in (b'"lamp"', b'"chair"'):
        driver.post(signal("add", data))
    assert driver.result == ["lamp", "chair"]


def test_early_signals_are_delivered_in_the_order_of_arrival_over_all_names() -> None:
    async def flow() -> list[str]:
        await holdfast.receive("go")
        seen: list[str] = []

        @holdfast.on_signal("remove")
        async def remove(item: str) -> None:
            seen.append(f"-{item}")

        holdfast.on_signal("add")(seen.append)
        await holdfast.wait_until(lambda: len(seen) == 6)
        return seen

    driver = Driver(flow).start()
    for name, item in [("add", b'"a"'), ("remove", b'"a"'), ("add", b'"b"'), ("remove", b'"b"'), ("add", b'"c"')]:
        driver.post(signal(name, item))
    driver.post(signal("go"))
    driver.post(signal("remove", b'"c"'))
    assert driver.result == ["a", "-a", "b", "-b", "c", "-c"]


def test_early_signals_reach_the_handlers_of_a_function_that_returns_at_once() -> None:
    async def flow() -> list[str]:
        await holdfast.receive("go")
        seen: list[str] = []
        holdfast.on_signal("add")(seen.append)
        return seen

    # The result is what the function returned; the handler has run, as its error shows.
    async def fails() -> None:
        await holdfast.receive("go")

        @holdfast.on_signal("add")
        def add(item: str) -> None:
            raise ValueError(item)

    driver = Driver(fails).start()
    driver.post(signal("add", b'"a"'))
    driver.post(signal("go"))
    assert failure_of(driver).message == "a"
    driver = Driver(flow).start()
    driver.post(signal("add", b'"a"'))
    driver.post(signal("go"))
    assert driver.result == []


@dataclass
class Approval:
    by: str
    amount: int = 0


@pytest.mark.feature("F96")
def test_a_payload_is_read_as_the_parameter_is_annotated_and_a_misfit_is_set_aside() -> None:
    async def flow() -> str:
        approvals: list[Approval] = []

        @holdfast.on_signal("approval")
        def approve(approval: Approval) -> None:
            approvals.append(approval)

        await holdfast.wait_until(lambda: bool(approvals))
        return approvals[0].by

    driver = Driver(flow).start()
    for misfit in (b'"abc"', b"null", b"{", b"\xff", b'{"by":5}', b"[" * 500 + b"]" * 500):
        driver.post(signal("approval", misfit))
    assert driver.instance.waits()[0] == "signal approval"
    driver.post(signal("approval", b'{"by":"Ada"}'))
    assert driver.result == "Ada"
    aside = [entry for entry in driver.journal if isinstance(entry, SignalSetAside)]
    assert [entry.number for entry in aside] == [1, 2, 3, 4, 5, 6]
    assert aside[4].problem.startswith("not ")
    assert "by" in aside[4].problem


def test_without_parameters_it_takes_signals_without_payload() -> None:
    async def flow() -> int:
        count = 0

        @holdfast.on_signal("ping")
        def ping() -> None:
            nonlocal count
            count += 1

        await holdfast.wait_until(lambda: count == 2)
        return count

    driver = Driver(flow).start()
    for one in (signal("ping"), signal("ping", b"5"), signal("ping", b"null")):
        driver.post(one)
    assert driver.result == 2
    [aside] = [entry for entry in driver.journal if isinstance(entry, SignalSetAside)]
    assert aside.number == 2


def test_a_default_stands_for_a_missing_payload() -> None:
    async def flow() -> list[str]:
        seen: list[str] = []

        @holdfast.on_signal("stop")
        def stop(reason: str = "no reason") -> None:
            seen.append(reason)

        await holdfast.wait_until(lambda: len(seen) == 2)
        return seen

    driver = Driver(flow).start()
    for one in (signal("stop"), signal("stop", b"1"), signal("stop", b'"late"')):
        driver.post(one)
    assert driver.result == ["no reason", "late"]


def test_falsy_payloads_are_payloads() -> None:
    async def flow() -> list[Any]:
        seen: list[Any] = []
        holdfast.on_signal("item")(seen.append)
        await holdfast.wait_until(lambda: len(seen) == 5)
        return seen

    driver = Driver(flow).start()
    for data in (b"0", b"false", b'""', b"null", b"[]"):
        driver.post(signal("item", data))
    assert driver.result == [0, False, "", None, []]


# What a handler may do


def test_async_handlers_call_steps_and_sleep_beside_each_other() -> None:
    async def flow() -> list[int]:
        totals: list[int] = []

        @holdfast.on_signal("add")
        async def handle(x: int) -> None:
            doubled = await add(x, x)
            await holdfast.sleep("1h")
            totals.append(await add(doubled, 1))

        await holdfast.wait_until(lambda: len(totals) == 3)
        return sorted(totals)

    driver = Driver(flow).start()
    for data in (b"1", b"2", b"3"):
        driver.post(signal("add", data))
    scheduled = [entry for entry in driver.journal if isinstance(entry, StepScheduled)]
    assert [entry.arguments.positional[0].data for entry in scheduled] == [b"1", b"2", b"3"]
    assert driver.run().result == [3, 5, 7]


def test_a_lock_lets_handlers_run_one_after_the_other() -> None:
    async def flow() -> list[str]:
        seen: list[str] = []
        lock = asyncio.Lock()

        @holdfast.on_signal("add")
        async def handle(x: int) -> None:
            async with lock:
                seen.append(f"begin {x}")
                await add(x, x)
                seen.append(f"end {x}")

        await holdfast.wait_until(lambda: len(seen) == 6)
        return seen

    for seed in range(5):
        driver = Driver(flow, seed=seed, mail=[signal("add", b"%d" % number) for number in range(3)])
        assert driver.run().result == ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"]


def test_a_step_that_a_handler_does_not_await_fails_the_run() -> None:
    async def flow() -> None:
        @holdfast.on_signal("add")
        def handle(x: int) -> None:
            add(x, x)

        await holdfast.receive("end")

    driver = Driver(flow).start()
    driver.post(signal("add", b"1"))
    assert failure_of(driver).error_type == NotAwaited.__name__


# One name, one taker


def test_a_second_handler_of_a_name_is_refused() -> None:
    async def flow() -> str:
        @holdfast.on_signal("add")
        def first(item: str) -> None: ...

        with pytest.raises(RuntimeError) as caught:

            @holdfast.on_signal("add")
            def second(item: str) -> None: ...

        return str(caught.value)

    text = Driver(flow).start().result
    assert "flow.<locals>.first (" in text
    assert "handles this signal already" in text
    assert "flow.<locals>.second (" in text


def test_a_name_with_a_handler_is_not_received_too() -> None:
    async def flow() -> str:
        holdfast.on_signal("add")(lambda _: None)
        with pytest.raises(RuntimeError) as caught:
            await holdfast.receive("add")
        return f"{caught.value} {await holdfast.receive('other', int)}"

    driver = Driver(flow).start()
    driver.post(signal("other", b"5"))
    assert "handles this signal, and only one can get it" in driver.result
    assert driver.result.endswith(" 5")


def test_a_handler_is_refused_while_a_receive_waits_and_taken_afterwards() -> None:
    async def flow() -> list[Any]:
        seen: list[Any] = []
        receiving = asyncio.create_task(holdfast.receive("add"))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="a receive\\(\\) waits for this signal"):
            holdfast.on_signal("add")(seen.append)
        seen.append(await receiving)
        holdfast.on_signal("add")(seen.append)
        await holdfast.wait_until(lambda: len(seen) == 2)
        return seen

    driver = Driver(flow).start()
    driver.post(signal("add", b"1"))
    driver.post(signal("add", b"2"))
    assert driver.result == [1, 2]


# How handlers end


def test_the_run_ends_when_its_handlers_have_ended() -> None:
    async def flow() -> str:
        @holdfast.on_signal("add")
        async def handle(x: int) -> None:
            await add(x, x)
            await add(x, 1)

        await holdfast.receive("end")
        return "returned"

    driver = Driver(flow).start()
    driver.post(signal("add", b"1"))
    driver.post(signal("end"))
    assert driver.instance.waits() == ["step add (1)", "signal add"]
    driver.complete(1)
    # A signal that comes meanwhile is handled too.
    driver.post(signal("add", b"7"))
    driver.complete(2)
    driver.complete(3)
    assert not driver.instance.is_closed
    driver.complete(4)
    assert driver.result == "returned"


def test_handlers_are_cancelled_when_the_function_fails_and_may_clean_up() -> None:
    async def flow() -> None:
        @holdfast.on_signal("add")
        async def handle(x: int) -> None:
            try:
                await add(x, x)
            finally:
                await add(x, 0)

        await explode("kaput")

    driver = Driver(flow).start()
    driver.post(signal("add", b"1"))
    driver.complete(1)
    assert any(isinstance(command, CancelStep) for command in driver.commands)
    # Nothing begins any more.
    driver.post(signal("add", b"2"))
    assert driver.instance.waits() == ["step add (3)", "signal add"]
    driver.complete(3)
    assert failure_of(driver).message == "kaput"


def test_a_cancel_request_ends_handlers_too() -> None:
    async def flow() -> None:
        @holdfast.on_signal("add")
        async def handle(x: int) -> None:
            await holdfast.sleep("1h")

        await holdfast.receive("end")

    for is_waiting in (False, True):
        driver = Driver(flow).start()
        driver.post(signal("add", b"1"))
        if is_waiting:
            driver.post(signal("end"))
        driver.post(CancelRequested("enough"))
        assert driver.closed.status is RunStatus.CANCELLED
        assert driver.closed.failure is not None
        assert driver.closed.failure.message == "enough"


def test_an_error_of_a_handler_fails_the_run_with_its_name() -> None:
    async def flow() -> None:
        @holdfast.on_signal("add")
        def handle(x: int) -> None:
            raise ValueError(f"no {x}")

        await holdfast.receive("end")

    driver = Driver(flow).start()
    driver.post(signal("add", b"1"))
    failure = failure_of(driver)
    assert (failure.error_type, failure.message) == ("ValueError", "no 1")
    assert re.search(r"raised by \S+\.handle \(\S*test_handlers\.py, line \d+\), which handles", failure.traceback)
    assert "which handles signal 'add'" in failure.traceback
    assert "handlers.py" not in failure.traceback.replace("test_handlers.py", "")
    again = rebuild(failure)
    assert isinstance(again, ValueError)
    assert "which handles signal 'add'" in again.__notes__[0]


def test_a_failed_step_of_a_handler_fails_the_run_and_cancels_function_and_handlers() -> None:
    cleaned: list[str] = []

    async def flow() -> None:
        @holdfast.on_signal("explode")
        async def handle(text: str) -> None:
            await explode(text)

        @holdfast.on_signal("add")
        async def other(x: int) -> None:
            try:
                await add(x, x)
            except asyncio.CancelledError:
                cleaned.append("handler")
                raise

        try:
            await holdfast.receive("end")
        except asyncio.CancelledError:
            cleaned.append("function")
            await add(0, 0)
            raise

    driver = Driver(flow).start()
    driver.post(signal("add", b"1"))
    driver.post(signal("explode", b'"kaput"'))
    driver.complete(2)
    assert cleaned == ["function"]
    driver.complete(3)
    assert cleaned == ["function", "handler"]
    assert failure_of(driver).error_type == "ValueError"
    assert failure_of(driver).message == "kaput"


def test_a_function_that_swallows_the_cancellation_does_not_hide_the_error() -> None:
    async def flow() -> str:
        @holdfast.on_signal("explode")
        def handle(text: str) -> None:
            raise ValueError(text)

        with contextlib.suppress(asyncio.CancelledError):
            await holdfast.receive("end")
        return "fine"

    driver = Driver(flow).start()
    driver.post(signal("explode", b'"kaput"'))
    assert failure_of(driver).message == "kaput"


def test_the_first_error_ends_the_run_and_the_others_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def flow() -> None:
        @holdfast.on_signal("add")
        async def handle(x: int) -> None:
            try:
                await holdfast.sleep("1h")
            finally:
                raise ValueError(f"handler {x}")

        @holdfast.on_signal("explode")
        def explode() -> None:
            raise KeyError("first")

        try:
            await holdfast.receive("end")
        finally:
            raise OSError("function")

    driver = Driver(flow).start()
    for one in (signal("add", b"1"), signal("add", b"2"), signal("explode")):
        driver.post(one)
    assert failure_of(driver).error_type == "KeyError"
    logged = [f"{record.getMessage()}: {record.exc_info[1]}" for record in caplog.records if record.exc_info]
    assert logged == [
        "workflow flow failed, after one of its handlers had: function",
        "a handler of signal 'add' failed, after another one had: handler 1",
        "a handler of signal 'add' failed, after another one had: handler 2",
    ]
    assert all(record.levelno == logging.ERROR for record in caplog.records)


def test_a_failure_of_the_function_is_not_hidden_by_one_of_a_handler(caplog: pytest.LogCaptureFixture) -> None:
    async def flow() -> None:
        @holdfast.on_signal("add")
        async def handle() -> None:
            try:
                await holdfast.sleep("1h")
            finally:
                raise ValueError("handler")

        await holdfast.receive("end")
        raise OSError("function")

    driver = Driver(flow).start()
    driver.post(signal("add"))
    driver.post(signal("end"))
    assert failure_of(driver).error_type == "OSError"
    assert [record.getMessage() for record in caplog.records] == [
        "a handler of a signal failed, after the workflow function had"
    ]


def test_sys_exit_in_a_handler_is_an_error_of_the_run() -> None:
    async def flow() -> None:
        @holdfast.on_signal("add")
        def handle() -> None:
            raise SystemExit(3)

        await holdfast.receive("end")

    driver = Driver(flow).start()
    driver.post(signal("add"))
    assert failure_of(driver).error_type == "SystemExit"


def test_a_caught_failure_of_a_step_ends_nothing() -> None:
    async def flow() -> list[str]:
        seen: list[str] = []

        @holdfast.on_signal("explode")
        async def handle(text: str) -> None:
            try:
                await explode(text)
            except StepFailed as failed:
                seen.append(failed.message)

        await holdfast.wait_until(lambda: bool(seen))
        return seen

    assert Driver(flow, mail=[signal("explode", b'"kaput"')]).run().result == ["kaput"]


# Replay


async def busy() -> list[Any]:
    seen: list[Any] = []

    @holdfast.on_signal("add")
    async def on_add(x: int) -> None:
        seen.append(await add(x, x))

    @holdfast.on_signal("note")
    def on_note(text: str) -> None:
        seen.append(text)

    seen.append(await add(100, 100))
    await holdfast.wait_until(lambda: len(seen) >= 5)
    return [*seen, await add(len(seen), 0)]


MAIL = [
    signal("add", b"1"),
    signal("note", b"5"),
    signal("note", b'"a"'),
    signal("add", b'"x"'),
    signal("add", b"2"),
    signal("note", b'"b"'),
]


@pytest.mark.parametrize("seed", range(20))
def test_a_replay_from_any_place_goes_the_same_way(seed: int) -> None:
    driver = Driver(busy, seed=seed, mail=MAIL).run()
    assert sorted(map(str, driver.result)) == ["2", "200", "4", "5", "a", "b"]
    ends = [place for place, entry in enumerate(driver.journal) if isinstance(entry, MailConsumed)]
    for end in ends:
        again = Driver(busy, seed=seed, mail=MAIL).resume(driver.journal[:end])
        assert sorted(map(str, again.run().result)) == ["2", "200", "4", "5", "a", "b"]
    instance = instance_of(busy)
    instance.foresee(driver.journal)
    for entry in driver.journal:
        instance.feed(entry)
    assert instance.take_commands() == []


def test_code_that_is_laxer_now_leaves_aside_what_was_set_aside() -> None:
    """A journal of code that took int; the code of now takes anything."""

    def version(hint: Any) -> Any:
        async def flow() -> list[Any]:
            seen: list[Any] = []

            @holdfast.on_signal("n")
            def handle(x: hint) -> None:  # type: ignore[valid-type]
                seen.append(x)

            await holdfast.wait_until(lambda: len(seen) == 2)
            return seen

        return flow

    driver = Driver(version(int)).start()
    driver.post(signal("n", b'"abc"'))
    driver.post(signal("n", b"1"))
    instance = instance_of(version(Any))
    instance.foresee(driver.journal)
    for entry in driver.journal:
        instance.feed(entry)
    assert instance.take_commands() == []
    assert instance.waits()[0] == "signal n"


def test_a_handled_signal_ends_no_wait_that_a_trace_shows() -> None:
    driver = Driver(cart, [1]).start()
    assert driver.instance.awaited_since(signal("add", b'"a"')) is None
    assert driver.at == START


def test_dropped_code_handles_nothing_more() -> None:
    driver = Driver(cart, [1]).start()
    driver.instance.close()
    driver.post(signal("add", b'"a"'))
    assert [type(command) for command in driver.commands] == [SetTimer]


# Misuse


async def _generator(item: str) -> Any:
    yield item


def _plain_generator(item: str) -> Any:
    yield item


def _two(item: str, count: int) -> None: ...


def _named(*, item: str) -> None: ...


def _with_context(ctx: Context[None]) -> None: ...


def _hopeless(item: type[asyncio.Lock]) -> None: ...


MISUSE = [
    (5, "takes a function, not 5"),
    (_generator, "_generator is a generator, which nobody would iterate"),
    (_plain_generator, "_plain_generator is a generator"),
    (_two, "_two needs count too; a signal has one payload"),
    (_named, "_named needs item too"),
    (_with_context, "takes a Context, which steps alone have"),
    (_hopeless, "no signal can be"),
]


@pytest.mark.parametrize(("function", "words"), MISUSE, ids=[words for _, words in MISUSE])
def test_what_cannot_take_a_signal_is_refused_where_it_is_registered(function: Any, words: str) -> None:
    async def flow() -> str:
        with pytest.raises(TypeError) as caught:
            holdfast.on_signal("add")(function)
        return str(caught.value)

    text = Driver(flow).start().result
    assert text.startswith("on_signal 'add'")
    assert words in text


def test_without_a_name_it_says_what_is_missing() -> None:
    async def flow() -> str:
        with pytest.raises(TypeError) as caught:

            @holdfast.on_signal  # type: ignore[arg-type]
            def add(item: str) -> None: ...

        return str(caught.value)

    assert '@holdfast.on_signal("add")' in Driver(flow).start().result


def test_outside_a_run_it_says_where_it_works() -> None:
    with pytest.raises(RuntimeError, match=r"on_signal\(\) works inside a run only"):
        holdfast.on_signal("add")


def test_a_predicate_registers_nothing() -> None:
    async def flow() -> str:
        with pytest.raises(UnguardedCall) as caught:
            await holdfast.wait_until(lambda: holdfast.on_signal("add")(print))
        return str(caught.value)

    assert "a handler of signal add in the predicate of wait_until" in Driver(flow).start().result
