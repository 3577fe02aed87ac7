"""Signals that do not fit the type that the code asks for: set aside, recorded, and no end of the run."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from holdfast.errors import CodecMissing, NonDeterminism
from holdfast.journal import Mail, MailConsumed, Payload, RunClosed, Signal, SignalSetAside, TimerCancelled, TimerSet
from holdfast.workflow.instance import WorkflowInstance
from tests.support.workflow_driver import START, Driver, instance_of, runtime


def receive(name: str, hint: Any = int, timeout: float | None = None) -> Any:
    return runtime().receive(name, hint, None if timeout is None else timedelta(seconds=timeout))


def signal(data: bytes | None, encoding: str = "") -> Signal:
    return Signal("n", None if data is None else Payload(data, encoding))


async def takes_one() -> Any:
    return await receive("n")


MISFITS = [
    signal(b'"abc"'),
    signal(b"null"),
    signal(None),
    signal(b"{"),
    signal(b""),
    signal(b"\xff"),
    signal(b"[" * 500 + b"]" * 500),
]


@pytest.mark.feature("F157")
@pytest.mark.parametrize("misfit", MISFITS, ids=repr)
def test_a_waiting_run_waits_on_and_takes_the_next(misfit: Signal) -> None:
    driver = Driver(takes_one).start()
    driver.post(misfit)
    assert driver.instance.waits() == ["signal n"]
    driver.post(signal(b"5"))
    assert driver.result == 5
    assert [type(entry) for entry in driver.journal[1:]] == [MailConsumed, SignalSetAside, MailConsumed, RunClosed]


def test_early_signals_are_taken_in_order_without_those_that_do_not_fit() -> None:
    async def flow() -> list[Any]:
        await receive("go")
        return [await receive("n", str), await receive("n"), await receive("n")]

    driver = Driver(flow).start()
    for data in (b'"a"', b'"b"', b"1", b"null", b"2"):
        driver.post(signal(data))
    driver.post(Signal("go", Payload(b"0")))
    assert driver.result == ["a", 1, 2]
    aside = [entry for entry in driver.journal if isinstance(entry, SignalSetAside)]
    assert [(entry.number, entry.name) for entry in aside] == [(2, "n"), (4, "n")]
    assert aside[0].problem.startswith("not int: input should be a valid integer")


def test_a_signal_goes_to_the_first_receiver_that_it_fits() -> None:
    async def flow() -> list[Any]:
        return list(await asyncio.gather(receive("n"), receive("n", str), receive("n")))

    driver = Driver(flow).start()
    for data in (b'"a"', b"1", b'"b"', b"2"):
        driver.post(signal(data))
    assert driver.result == [1, "a", 2]


def test_a_time_limit_goes_on_while_signals_are_set_aside() -> None:
    async def flow() -> str:
        try:
            await receive("n", int, 5)
        except TimeoutError:
            return "late"
        return "in time"

    driver = Driver(flow).start()
    driver.post(signal(b'"abc"'))
    assert not any(isinstance(entry, TimerCancelled) for entry in driver.journal)
    driver.fire(next(entry.number for entry in driver.journal if isinstance(entry, TimerSet)))
    assert driver.result == "late"


def test_no_wait_ends_with_a_signal_that_is_set_aside() -> None:
    driver = Driver(takes_one).start()
    assert driver.instance.awaited_since(signal(b'"abc"')) is None
    assert driver.instance.awaited_since(signal(b"5")) == START


class Order(BaseModel):
    id: int

    @field_validator("id")
    @classmethod
    def breaks(cls, value: int) -> int:
        return 1 // value


def test_a_validator_that_raises_ends_no_run() -> None:
    async def flow() -> Any:
        return (await receive("n", Order)).id

    driver = Driver(flow).start()
    driver.post(signal(b'{"id":0}'))
    driver.post(signal(b'{"id":1}'))
    assert driver.result == 1


def test_a_problem_is_cut_and_can_be_stored() -> None:
    class Picky(BaseModel):
        id: int

        @field_validator("id")
        @classmethod
        def complains(cls, value: int) -> int:
            raise ValueError("a\x00b\ud800" * 1000)

    async def flow() -> Any:
        return await receive("n", Picky)

    driver = Driver(flow).start()
    driver.post(signal(b'{"id":0}'))
    problem = driver.journal[-1].problem  # type: ignore[union-attr]
    assert len(problem) <= 500
    assert "\x00" not in problem
    problem.encode()


@pytest.mark.feature("F157")
def test_one_that_this_worker_cannot_read_is_set_aside_and_says_how_it_is_encoded() -> None:
    driver = Driver(takes_one).start()
    driver.post(signal(b"1", "json+zstd"))
    aside = driver.journal[-1]
    assert isinstance(aside, SignalSetAside)
    assert aside.problem == "encoded as json+zstd, which this worker does not read"
    driver.post(signal(b"5"))
    assert driver.result == 5


def test_one_that_nobody_asked_for_is_kept_whoever_can_read_it() -> None:
    driver = Driver(early(int)).start()
    driver.post(signal(b"1", "json+zstd"))
    assert not any(isinstance(entry, SignalSetAside) for entry in driver.journal)
    instance = quiet_replay(early(int), driver)
    assert instance.waits() == ["signal go"]
    driver.post(Signal("go", Payload(b"0")))
    assert isinstance(driver.journal[-1], SignalSetAside)


@pytest.mark.parametrize("is_early", [True, False], ids=["early", "waiting"])
def test_one_that_the_code_has_taken_before_stalls_whoever_replays_without_its_codec(is_early: bool) -> None:
    """Set aside now, the code would see another past than the one it acted on."""

    async def takes_two() -> Any:
        return [await receive("n", str), await receive("n", str)]

    function = early(str) if is_early else takes_two
    driver = Driver(function).start()
    driver.post(signal(b'"one"'))
    if is_early:
        driver.post(Signal("go", Payload(b"0")))
    coded = Mail(1, START, signal(b"?", "json+zstd"))
    driver.journal[1] = MailConsumed(START, 1, coded)
    with pytest.raises(CodecMissing, match="does not have the codec 'zstd'"):
        quiet_replay(function, driver)


def quiet_replay(function: Any, driver: Driver) -> WorkflowInstance:
    """A replay as a worker does it."""
    instance = instance_of(function)
    instance.is_replaying = True
    instance.foresee(driver.journal)
    for entry in driver.journal:
        instance.feed(entry)
    instance.check_replayed()
    assert instance.take_commands() == []
    return instance


def test_one_that_was_set_aside_since_nobody_could_read_it_stays_so() -> None:
    instance = instance_of(takes_one)
    started = Driver(takes_one).start()
    mail = Mail(1, START, signal(b"1", "zstd"))
    journal = [*started.journal, MailConsumed(START, 1, mail), SignalSetAside(START, 1, "n", "its encoding is 'zstd'")]
    instance.foresee(journal)
    for entry in journal:
        instance.feed(entry)
    assert instance.take_commands() == []
    assert instance.waits() == ["signal n"]


def replayed(function: Any, driver: Driver, *, foreseen: bool) -> WorkflowInstance:
    instance = instance_of(function)
    if foreseen:
        instance.foresee(driver.journal)
    for entry in driver.journal:
        instance.feed(entry)
    return instance


@pytest.mark.parametrize("foreseen", [False, True])
def test_a_replay_sets_the_same_signals_aside(foreseen: bool) -> None:
    driver = Driver(takes_one).start()
    driver.post(signal(b'"abc"'))
    instance = replayed(takes_one, driver, foreseen=foreseen)
    assert instance.waits() == ["signal n"]
    assert instance.take_commands() == []
    driver.post(signal(b"5"))
    assert replayed(takes_one, driver, foreseen=foreseen).is_closed


def early(hint: Any) -> Any:
    async def takes_early() -> Any:
        await receive("go")
        return await receive("n", hint)

    return takes_early


@pytest.mark.feature("F157")
@pytest.mark.parametrize("make", [lambda hint: early(hint), None], ids=["early", "waiting"])
def test_a_signal_that_was_set_aside_stays_so_when_the_code_would_take_it(make: Any) -> None:
    """The type of the receiver was widened meanwhile: what the run did since must not change."""

    async def takes_anything() -> Any:
        return await receive("n", Any)

    driver = Driver(make(int) if make else takes_one).start()
    driver.post(signal(b'"abc"'))
    if make:
        driver.post(Signal("go", Payload(b"0")))
    instance = replayed(make(Any) if make else takes_anything, driver, foreseen=True)
    assert instance.take_commands() == []
    assert instance.waits() == ["signal n"]
    driver.post(signal(b"5"))
    instance = replayed(make(Any) if make else takes_anything, driver, foreseen=True)
    assert instance.is_closed


def test_code_that_does_not_ask_for_the_signal_any_more_matches_all_the_same() -> None:
    async def asks_for_something_else() -> Any:
        return await receive("other")

    driver = Driver(takes_one).start()
    driver.post(signal(b'"abc"'))
    assert replayed(asks_for_something_else, driver, foreseen=True).waits() == ["signal other"]


def test_code_that_refuses_a_signal_which_it_took_is_told_so() -> None:
    async def takes_text() -> Any:
        return await receive("n", str)

    driver = Driver(takes_text).start()
    driver.post(signal(b'"abc"'))
    with pytest.raises(NonDeterminism, match="set signal n aside, which does not fit: not int"):
        replayed(takes_one, driver, foreseen=True)


def test_a_type_that_no_signal_can_be_is_an_error_of_the_code() -> None:
    async def flow() -> Any:
        return await receive("n", bytearray)

    failure = Driver(flow).start().closed.failure
    assert failure is not None
    assert (failure.error_type, "use bytes" in failure.message) == ("TypeError", True)
