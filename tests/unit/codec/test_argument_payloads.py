"""Arguments: bound, encoded one by one, hashed for starts, and decoded to the annotations."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from holdfast.codec import Codec
from holdfast.definitions.context import Context
from holdfast.definitions.signatures import CallSignature
from holdfast.errors import ArgumentsRejected, PayloadNotSerializable, PayloadTooLarge
from holdfast.journal import Arguments, Payload
from holdfast.limits import Limits
from tests.support.codec_shop import Money, User

codec = Codec()


def pay(order_id: str, amount: Decimal, *, tries: int = 3) -> None: ...


def anything(first: int, *rest: int, **named: User) -> None: ...


def with_context(ctx: Context[str], x: int, y: int = 2) -> None: ...


def passed(function: Callable[..., Any], *args: Any, hashed: bool = False, **kwargs: Any) -> Any:
    signature = CallSignature.of(function)
    arguments = codec.encode_arguments(signature, args, kwargs, what="step pay", hashed=hashed)
    return codec.decode_arguments(signature, arguments, what="step pay")


def hashes(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[bytes]:
    made = codec.encode_arguments(CallSignature.of(function), args, kwargs, what="flow", hashed=True)
    return [*(payload.content_sha256 for payload in made.positional), *(p.content_sha256 for p in made.named.values())]


def test_arguments_come_back_as_annotated() -> None:
    assert passed(pay, "o-1", amount=Decimal("9.990")) == (("o-1",), {"amount": Decimal("9.990")})


def test_extra_arguments_come_back_as_annotated() -> None:
    user = User(id=1, name="A")
    assert passed(anything, 1, 2, 3, who=user) == ((1, 2, 3), {"who": user})


def test_the_context_is_never_encoded() -> None:
    assert passed(with_context, 1, hashed=True) == ((1, 2), {})


def test_a_start_fills_in_defaults_so_that_both_spellings_are_the_same_start() -> None:
    assert hashes(pay, "o-1", Decimal("1")) == hashes(pay, amount=Decimal("1"), order_id="o-1", tries=3)


def test_a_step_call_records_only_what_was_given() -> None:
    made = codec.encode_arguments(CallSignature.of(pay), ("o-1", 1), {}, what="step pay")
    assert made == Arguments((Payload(b'"o-1"'), Payload(b"1")), {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": {"y": 1, "x": [{"d": 1, "c": 2}]}}, {"a": {"x": [{"c": 2, "d": 1}], "y": 1}}),
        ({"b", "a"}, {"a", "b"}),
        (User(id=1, name="x", tags=frozenset("abc")), User(id=1, name="x", tags=frozenset("cba"))),
        ([Money(Decimal("1"))], [Money(Decimal("1"))]),
    ],
)
def test_equal_arguments_have_equal_hashes(one: Any, other: Any) -> None:
    def flow(value: Any) -> None: ...

    assert hashes(flow, one) == hashes(flow, other)


@pytest.mark.parametrize(("one", "other"), [(1, 2), ("1", 1), ([1, 2], [2, 1]), (None, False), ({"a": 1}, {"a": 2})])
def test_different_arguments_have_different_hashes(one: Any, other: Any) -> None:
    def flow(value: Any) -> None: ...

    assert hashes(flow, one) != hashes(flow, other)


@pytest.mark.parametrize(
    ("args", "kwargs", "parameter"),
    [
        (("o-1",), {}, "amount"),
        ((), {"amount": 1}, "order_id"),
        (("o-1", 1, 2), {}, "number 3"),
        (("o-1", 1), {"colour": "red"}, "colour"),
        (("o-1", 1), {"amount": 2}, "amount"),
    ],
)
@pytest.mark.parametrize("hashed", [False, True])
def test_arguments_that_do_not_fit_are_refused_naming_the_parameter(
    args: tuple[Any, ...], kwargs: dict[str, Any], parameter: str, hashed: bool
) -> None:
    with pytest.raises(ArgumentsRejected, match="step pay") as caught:
        codec.encode_arguments(CallSignature.of(pay), args, kwargs, what="step pay", hashed=hashed)
    assert caught.value.parameter == parameter


def test_a_text_number_fits_an_int() -> None:
    arguments = Arguments((Payload(b'"o-1"'), Payload(b'"2.5"')), {"tries": Payload(b'"3"')})
    assert codec.decode_arguments(CallSignature.of(pay), arguments, what="step pay") == (
        ("o-1", Decimal("2.5")),
        {"tries": 3},
    )


def test_a_value_that_does_not_fit_its_annotation_is_refused_naming_step_and_parameter() -> None:
    arguments = Arguments((Payload(b'"o-1"'), Payload(b"1")), {"tries": Payload(b'"x"')})
    with pytest.raises(
        ArgumentsRejected, match=r"step pay: argument 'tries' does not fit: input should be a valid int"
    ):
        codec.decode_arguments(CallSignature.of(pay), arguments, what="step pay")


def test_recorded_arguments_that_new_code_cannot_take_are_refused() -> None:
    with pytest.raises(ArgumentsRejected, match="'order_id' is missing"):
        codec.decode_arguments(CallSignature.of(pay), Arguments(), what="step pay")


@pytest.mark.parametrize("hashed", [False, True])
def test_an_argument_that_cannot_be_encoded_is_named(hashed: bool) -> None:
    with pytest.raises(PayloadNotSerializable, match=r"argument 'amount' of step pay of type object"):
        codec.encode_arguments(CallSignature.of(pay), ("o", object()), {}, what="step pay", hashed=hashed)
    with pytest.raises(PayloadNotSerializable, match=r"argument 'tries' of step pay of type object"):
        codec.encode_arguments(CallSignature.of(pay), ("o", 1), {"tries": object()}, what="step pay", hashed=hashed)


def test_an_argument_above_the_limit_is_named() -> None:
    small = Codec(Limits(payload_bytes=10))
    with pytest.raises(PayloadTooLarge, match="argument 'order_id' of step pay has 22 bytes"):
        small.encode_arguments(CallSignature.of(pay), ("x" * 20, 1), {}, what="step pay")
