"""Arguments that do not fit the registered types are refused; whatever a worker would take is let through."""

from typing import Any

import pytest

from holdfast.errors import ArgumentsRejected
from holdfast_coordinator.engine.argument_types import CHECKED_BYTES_MAX, check_types
from holdfast_coordinator.engine.registry import fitting_signature


def signature(*types: str) -> dict[str, Any]:
    parameters = [
        {"name": f"p{place}", "kind": "either", "required": True, **({"type": text} if text else {})}
        for place, text in enumerate(types)
    ]
    return {"parameters": parameters, "extra_positional": True, "extra_named": False}


@pytest.mark.parametrize(
    ("type", "data", "says"),
    [
        ("int", b'"many"', "unable to parse string as an integer"),
        ("int", b"[1]", "should be a valid integer"),
        ("int", b"1.5", "fractional part"),
        ("int", b"not json", "invalid JSON"),
        ("str", b"1", "should be a valid string"),
        ("list[int]", b'[1, "x"]', "1: "),
        ("dict[str, float]", b'{"a": []}', "a: "),
        ("datetime", b'"tomorrow"', "datetime"),
        ("int | None", b'"x"', "integer"),
        ("Literal['a', 'b']", b'"c"', "'a' or 'b'"),
    ],
)
def test_an_argument_of_another_type_is_refused_by_name(type: str, data: bytes, says: str) -> None:
    with pytest.raises(ArgumentsRejected, match=says) as refused:
        check_types("order", signature("", type), [("p0", b"1"), ("p1", data)])
    assert (refused.value.parameter, refused.value.target) == ("p1", "order")


@pytest.mark.parametrize(
    ("type", "data"),
    [
        ("int", b"1"),
        ("int", b'"3"'),
        ("int", b"2.0"),
        ("float", b"1"),
        ("Decimal", b'"9.99"'),
        ("datetime", b'"2026-03-01T12:00:00Z"'),
        ("list[Any]", b'[{"a": 1}, null]'),
        ("int | None", b"null"),
        ("tuple[int, ...]", b"[]"),
        ("str", None),
        ("str", b"1" * (CHECKED_BYTES_MAX + 1)),
        ("", b"what no reader reads"),
    ],
)
def test_what_a_worker_would_take_or_alone_can_read_is_let_through(type: str, data: bytes | None) -> None:
    check_types("order", signature(type), [("p0", data), ("#1", b'"extra"')])


def test_a_type_that_this_release_does_not_have_refuses_no_start() -> None:
    """Another replica, of another release, has registered it."""
    check_types("order", signature("ipaddress", "int"), [("p0", b'"10.0.0.1"'), ("p1", b"1")])
    with pytest.raises(ArgumentsRejected, match="integer"):
        check_types("order", signature("ipaddress", "int"), [("p0", b'"10.0.0.1"'), ("p1", b'"x"')])


def test_during_a_deploy_arguments_may_fit_the_types_of_either_release() -> None:
    new, old = signature("int"), signature("str")
    assert fitting_signature("order", [new, old], [b"1"], {}) is new
    assert fitting_signature("order", [new, old], [b'"x"'], {}) is old
    with pytest.raises(ArgumentsRejected, match="valid integer"):
        fitting_signature("order", [new, old], [b"[]"], {})
