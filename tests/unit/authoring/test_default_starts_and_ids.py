"""Starting with the default client, and the business ids that templates make."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast import App
from holdfast.authoring import starter
from holdfast.authoring.starter import StartOptions, set_default_starter
from holdfast.definitions.business_ids import business_id
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.errors import ArgumentsRejected

app = App("starting")


@app.workflow(id="order-{order_id}")
async def order(order_id: str, amount: int = 1) -> str:
    return order_id


@app.workflow(id="{day:%Y-%m-%d}/{user.name}")
async def daily(day: datetime, user: Any) -> None: ...


@app.workflow
async def nameless(x: int) -> None: ...


@pytest.fixture
def started() -> Iterator[list[Any]]:
    before, starts = starter._default_starter, list[Any]()

    async def start(
        definition: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any], options: StartOptions
    ) -> Any:
        starts.append((definition.name, args, kwargs, options))
        return "the handle"

    set_default_starter(start)
    yield starts
    set_default_starter(before)


async def test_a_start_reaches_the_default_client_with_its_options(started: list[Any]) -> None:
    handle: object = await order.with_options(
        id="o-1",
        idempotency_key="k",
        queue="q",
        priority=3,
        delay="5m",
        metadata={"batch_id": 42},
        on_conflict="reject",
        reuse="new",
        max_duration="7d",
        trace="join",
        sampled=True,
    ).start("o-1", amount=5)
    assert handle == "the handle"
    assert started == [
        (
            "order",
            ("o-1",),
            {"amount": 5},
            StartOptions(
                id="o-1",
                idempotency_key="k",
                queue="q",
                priority=3,
                delay=timedelta(minutes=5),
                metadata={"batch_id": "42"},
                on_conflict="reject",
                reuse="new",
                max_duration=timedelta(days=7),
                trace="join",
                sampled=True,
            ),
        )
    ]


async def test_a_start_without_options_has_the_defaults(started: list[Any]) -> None:
    await order.start("o-1")
    assert started == [("order", ("o-1",), {}, StartOptions())]


def test_a_delay_may_be_an_instant() -> None:
    assert order.with_options(delay=datetime(2030, 1, 1)).options.delay == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"id": ""}, "id"),
        ({"id": "run_1"}, "run_"),
        ({"id": "x" * 201}, "201 characters"),
        ({"delay": "soon"}, "duration"),
        ({"on_conflict": "explode"}, "on_conflict is one of 'attach', 'reject', 'terminate'"),
        ({"reuse": "maybe"}, "reuse is one of"),
        ({"max_duration": 0}, "max_duration"),
        ({"trace": "child"}, "trace is one of 'link', 'join', not 'child'"),
        ({"sampled": 1}, "sampled is True, False or None, not 1"),
        ({"metadata": {"a": [1]}}, "metadata"),
    ],
)
def test_an_impossible_option_of_a_start_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=named):
        order.with_options(**options)


@pytest.mark.feature("F24")
@pytest.mark.parametrize(("args", "kwargs"), [(("users",), {}), ((), {"order_id": "users"}), (("users", 7), {})])
def test_a_template_makes_one_id_however_the_arguments_are_given(args: Any, kwargs: Any) -> None:
    assert business_id(order.definition, args, kwargs) == "order-users"


def test_a_template_may_format_and_look_into_arguments() -> None:
    user = type("User", (), {"name": "bob"})()
    assert business_id(daily.definition, (datetime(2030, 1, 2), user), {}) == "2030-01-02/bob"


def test_without_a_template_there_is_no_id() -> None:
    assert business_id(nameless.definition, (1,), {}) == ""


def test_arguments_that_make_no_valid_id_are_refused_with_the_template() -> None:
    with pytest.raises(ValueError, match=r"made by the template 'order-\{order_id\}', has 306 characters"):
        business_id(order.definition, ("x" * 300,), {})


@pytest.mark.feature("F24")
def test_a_template_needs_its_arguments() -> None:
    with pytest.raises(ArgumentsRejected, match="'order_id' is missing"):
        business_id(order.definition, (), {})
