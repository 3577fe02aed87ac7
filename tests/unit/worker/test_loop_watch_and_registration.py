"""The watch over a blocked event loop, and what a worker registers."""

import asyncio
import logging
import threading
from hashlib import sha256

import pytest

from holdfast.authoring.apps import App, DuplicateName
from holdfast.channel.leases import ParameterRegistration
from holdfast.definitions.signatures import ParameterKind
from holdfast.journal import Arguments, Payload
from holdfast.worker.loop_watch import LoopWatch
from holdfast.worker.registration import Registrations, workflow_registration

shop = App("shop")


@shop.step
async def pack() -> int:
    return 1


@shop.workflow
async def order(order_id: str, *, express: bool = False) -> int:
    return await pack()


async def test_a_loop_that_answers_has_little_lag():
    watch = LoopWatch(asyncio.get_running_loop())
    watch.look()
    await asyncio.sleep(0)
    assert watch.lag < 0.5


async def test_a_blocked_loop_is_reported_once_with_the_place_that_blocks_it(monkeypatch, caplog):
    clock = [100.0]
    monkeypatch.setattr("holdfast.worker.loop_watch.time", type("Clock", (), {"monotonic": lambda: clock[0]}))
    watch = LoopWatch(asyncio.get_running_loop())
    watch.watched_thread = threading.get_ident()
    watch.look()
    clock[0] += 1.5
    with caplog.at_level(logging.WARNING):
        watch.look()
        watch.look()
    (said,) = caplog.records
    assert "blocked for 1.5 s" in said.getMessage()
    assert "test_a_blocked_loop_is_reported_once" in said.getMessage()
    assert watch.lag == 1.5
    await asyncio.sleep(0)
    assert watch.lag == 1.5, "the last lag stays until the next look"


def test_the_steps_of_an_app_come_along_with_its_workflow():
    registered = Registrations.of([order], [])
    assert set(registered.workflows) == {"order"}
    assert set(registered.steps) == {"pack"}


def test_the_steps_of_an_app_that_only_a_function_knows_come_along_too():
    local = App("local")

    @local.workflow
    async def ship() -> None: ...

    @local.step
    async def defined_later() -> None: ...

    del local
    assert set(Registrations.of([ship], []).steps) == {"defined_later"}


def test_an_app_brings_all_it_has_and_the_same_thing_twice_is_no_mistake():
    registered = Registrations.of([shop, order], [pack])
    assert (set(registered.workflows), set(registered.steps)) == ({"order"}, {"pack"})


def test_two_functions_of_one_name_are_refused():
    other = App("other")

    @other.step(name="pack")
    async def another() -> int:
        return 2

    with pytest.raises(DuplicateName):
        Registrations.of([order], [another])


def test_a_plain_function_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match="decorate the function"):
        Registrations.of([], [len])


def test_a_workflow_is_announced_with_its_parameters():
    announced = workflow_registration(order.definition)
    assert announced.parameters == (
        ParameterRegistration("order_id", required=True, kind=ParameterKind.EITHER, type="str"),
        ParameterRegistration(
            "express",
            required=False,
            kind=ParameterKind.NAMED_ONLY,
            default_sha256=sha256(b"false").digest(),
            type="bool",
        ),
    )
    assert (announced.extra_positional, announced.extra_named) == (False, False)


def test_the_first_run_of_a_worker_waits_for_no_hint_to_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("prepared")

    @app.step
    def count(order: str, *sizes: int, **notes: list[str]) -> dict[str, int]: ...

    step = Registrations.of([], [count]).steps["count"]

    def refuse(hint: object) -> None:
        raise AssertionError(f"{hint} is compiled when its value has come")

    monkeypatch.setattr("holdfast.hints.compiled_hints.compile_hint", refuse)
    arguments = Arguments((Payload(b'"o-1"'), Payload(b"3")), {"why": Payload(b'["late"]')})
    assert step.signature.read(arguments, target="step count") == (("o-1", 3), {"why": ["late"]})
    assert step.signature.result.decode(b'{"boxes": 2}') == {"boxes": 2}
