"""What a start sends: names, options, ids made by templates, arguments with their hashes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast import App
from holdfast.client import by_name
from holdfast.client.start_specs import call_of, start_spec, target_of
from holdfast.codec import Codec
from holdfast.errors import ArgumentsRejected, PayloadTooLarge
from holdfast.ids import is_start_id
from holdfast.journal import TraceContext

app = App("shop", queue="slow")
codec = Codec()


@app.workflow(id="order-{order_id}", max_duration="7d")
async def order(order_id: str, amount: int = 1) -> str:
    return order_id


@pytest.mark.parametrize(("args", "kwargs"), [(("users",), {}), ((), {"order_id": "users"}), (("users", 1), {})])
def test_the_same_call_however_written_is_the_same_start(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    spec = start_spec(target_of(order), args, kwargs, codec)
    usual = start_spec(target_of(order), ("users", 1), {}, codec)
    assert spec.id == "order-users"
    assert spec.arguments == usual.arguments
    assert all(len(payload.content_sha256) == 32 for payload in spec.arguments.positional)


def test_options_of_the_start_come_before_those_of_the_workflow() -> None:
    plain = start_spec(target_of(order), ("a",), {}, codec)
    assert (plain.queue, plain.max_duration) == ("slow", timedelta(days=7))
    other = order.with_options(
        id="mine", queue="fast", max_duration="1d", priority=5, metadata={"team": "x"}, reuse="new"
    )
    spec = start_spec(target_of(other), ("a",), {}, codec)
    assert (spec.id, spec.queue, spec.max_duration, spec.priority) == ("mine", "fast", timedelta(days=1), 5)
    assert (spec.metadata, spec.reuse) == ({"team": "x"}, "new")


def test_each_start_has_an_id_of_its_own() -> None:
    made = {start_spec(target_of(order), ("a",), {}, codec).start_id for _ in range(100)}
    assert len(made) == 100
    assert all(is_start_id(one) for one in made)


def test_wrong_arguments_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(ArgumentsRejected, match="order_id"):
        start_spec(target_of(order), (), {}, codec)
    with pytest.raises(ArgumentsRejected, match="extra"):
        start_spec(target_of(order), ("a",), {"extra": 1}, codec)


def test_a_name_takes_any_arguments_and_options() -> None:
    spec = start_spec(target_of(by_name("order").with_options(id="o-1")), ("a", 2), {"x": 3}, codec)
    assert (spec.workflow, spec.id) == ("order", "o-1")
    assert [payload.data for payload in spec.arguments.positional] == [b'"a"', b"2"]
    assert spec.arguments.named["x"].data == b"3"
    assert start_spec(target_of("order"), (), {}, codec).id == ""


def test_a_delay_until_an_instant_is_sent_as_a_span_and_never_negative() -> None:
    later = order.with_options(delay=datetime.now(UTC) + timedelta(hours=1))
    delay = start_spec(target_of(later), ("a",), {}, codec).delay
    assert delay is not None
    assert timedelta(minutes=59) < delay <= timedelta(hours=1)
    past = order.with_options(delay=datetime(2020, 1, 1, tzinfo=UTC))
    assert start_spec(target_of(past), ("a",), {}, codec).delay == timedelta(0)


def test_arguments_that_do_not_fit_into_one_message_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="the argument list of workflow many"):
        start_spec(target_of("many"), ("x" * 2_000_000,) * 9, {}, codec)


def test_what_is_no_workflow_is_refused_with_a_hint() -> None:
    async def plain() -> None: ...

    with pytest.raises(TypeError, match="@workflow"):
        target_of(plain)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "call"),
    [(("a", 1), (("a", 1), {})), ({"a": 1}, ((), {"a": 1})), ("a", (("a",), {})), ([1, 2], (([1, 2],), {}))],
)
def test_one_of_many_calls_is_a_tuple_a_mapping_or_the_only_argument(given: Any, call: Any) -> None:
    assert call_of(given) == call


def test_a_start_counts_the_baggage_of_its_caller_among_its_bytes() -> None:
    plain = start_spec(target_of("order"), (), {}, codec)
    laden = start_spec(target_of("order"), (), {}, codec, trace=TraceContext("00-...", "", "k=" + "v" * 8_000))
    assert laden.size_bytes - plain.size_bytes == 8_002
