"""Signatures: binding, hints, and the parameter that takes the context."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import pytest

from holdfast.definitions.context import Context
from holdfast.definitions.signatures import NO_EXTRA, CallSignature, ParameterKind
from holdfast.errors import ArgumentsRejected
from tests.support import postponed_shop


def mixed(a: int, /, b: str, c: float = 1.5, *, d: bool, e: Decimal = Decimal(1)) -> list[int]: ...  # type: ignore[empty-body]


def variadic(*args: int, **kwargs: str) -> None: ...


def bare(x, y=2):  # type: ignore[no-untyped-def]
    ...


def test_a_signature_has_every_parameter_with_kind_hint_and_default() -> None:
    signature = CallSignature.of(mixed)
    assert [(p.name, p.kind, p.required, p.hint, p.default) for p in signature.parameters] == [
        ("a", ParameterKind.POSITIONAL_ONLY, True, int, None),
        ("b", ParameterKind.EITHER, True, str, None),
        ("c", ParameterKind.EITHER, False, float, 1.5),
        ("d", ParameterKind.NAMED_ONLY, True, bool, None),
        ("e", ParameterKind.NAMED_ONLY, False, Decimal, Decimal(1)),
    ]
    assert signature.result.hint == list[int]
    assert signature.extra_positional is signature.extra_named is NO_EXTRA
    assert signature.context_parameter is None


def test_variadic_parameters_are_extras() -> None:
    signature = CallSignature.of(variadic)
    assert (signature.parameters, signature.extra_positional, signature.extra_named) == ((), int, str)


def test_a_missing_annotation_is_any() -> None:
    signature = CallSignature.of(bare)
    assert [parameter.hint for parameter in signature.parameters] == [Any, Any]
    assert signature.result.hint is Any


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1, "b"), {"d": True}),
        ((1,), {"b": "b", "d": True}),
        ((1, "b", 2.5), {"d": True, "e": Decimal(2)}),
    ],
)
def test_fitting_arguments_are_returned_as_given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert CallSignature.of(mixed).bind(args, kwargs, target="step mixed") == (args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "parameter", "says"),
    [
        ((), {"b": "b", "d": True}, "a", "is missing"),
        ((1, "b"), {}, "d", "is missing"),
        ((1, "b", 1, True), {"d": True}, "number 4", "one too many"),
        ((1, "b"), {"b": "b", "d": True}, "b", "given twice"),
        ((1, "b"), {"d": True, "f": 1}, "f", r"not a parameter \(parameters: a, b, c, d, e\)"),
        ((), {"a": 1, "b": "b", "d": True}, "a", "by position only"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any], parameter: str, says: str
) -> None:
    with pytest.raises(ArgumentsRejected, match=says) as caught:
        CallSignature.of(mixed).bind(args, kwargs, target="step mixed")
    assert (caught.value.target, caught.value.parameter) == ("step mixed", parameter)


def test_defaults_are_filled_in_by_position_where_possible() -> None:
    bound = CallSignature.of(mixed).bind_with_defaults((1,), {"b": "b", "d": True}, target="x")
    assert bound == ((1, "b", 1.5), {"d": True, "e": Decimal(1)})


def first(ctx: Context[str], x: int, y: int = 2) -> None: ...


def middle(x: int, ctx: Context[str], y: int = 2) -> None: ...


def last(x: int, y: int = 2, *, ctx: Context[str]) -> None: ...


def only(ctx: Context[Any]) -> None: ...


def positional_only(x: int, ctx: Context[str], /) -> None: ...


@pytest.mark.parametrize("function", [first, middle, last])
@pytest.mark.parametrize(("args", "kwargs"), [((1, 3), {}), ((1,), {"y": 3}), ((), {"x": 1, "y": 3})])
def test_the_context_reaches_its_parameter_in_any_position(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    signature = CallSignature.of(function)
    assert signature.context_parameter == "ctx"
    assert [parameter.name for parameter in signature.parameters] == ["x", "y"]
    assert signature.bind(args, kwargs, target="step") == (args, kwargs)
    called: dict[str, Any] = {}
    given_args, given_kwargs = signature.with_context(args, kwargs, "the context")
    names = list(function.__code__.co_varnames[: function.__code__.co_argcount])
    called = {**dict(zip(names, given_args, strict=False)), **given_kwargs}
    assert called == {"x": 1, "y": 3, "ctx": "the context"}


def test_the_context_reaches_a_parameter_that_takes_positions_only() -> None:
    assert CallSignature.of(positional_only).with_context((1,), {}, "c") == ((1, "c"), {})
    assert CallSignature.of(only).with_context((), {}, "c") == ((), {"ctx": "c"})


def test_a_function_without_context_is_called_as_it_was() -> None:
    assert CallSignature.of(mixed).with_context((1,), {"b": "x"}, "c") == ((1,), {"b": "x"})


def test_nobody_can_give_the_context_by_name() -> None:
    with pytest.raises(ArgumentsRejected, match="filled in by the worker"):
        CallSignature.of(first).bind((1,), {"ctx": 1}, target="step")


def test_an_annotation_that_is_defined_later_in_its_module_is_found() -> None:
    signature = postponed_shop.early.definition.signature
    assert [parameter.hint for parameter in signature.parameters] == [postponed_shop.Late, int]
    assert signature.result.hint is postponed_shop.Late


def test_an_annotation_for_type_checkers_only_is_any_and_the_context_is_still_found() -> None:
    signature = postponed_shop.with_unknown.definition.signature
    assert signature.context_parameter == "ctx"
    assert [(parameter.name, parameter.hint) for parameter in signature.parameters] == [("x", Any), ("count", int)]


def test_a_postponed_annotation_may_name_a_local_class() -> None:
    @dataclass
    class Local:
        x: int

    def step(value: "Local", other: Annotated[int, "note"]) -> "Local | None": ...

    signature = CallSignature.of(step)
    assert [parameter.hint for parameter in signature.parameters] == [Local, Annotated[int, "note"]]
    assert signature.result.hint == Local | None
