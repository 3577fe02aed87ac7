"""Compiled hints: built once, told apart by their order, bounded, and refused at definition when they are hopeless."""

import gc
import re
import sys
import threading
import typing
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, NoReturn

import pytest
from pydantic import BaseModel

from holdfast import App
from holdfast.codec import Codec
from holdfast.definitions.signatures import CallSignature
from holdfast.errors import ArgumentsRejected
from holdfast.hints.refusals import HopelessHint
from holdfast.hints.value_types import HINTS_CACHED, value_type
from holdfast.journal import Arguments, Payload
from tests.support import value_zoo as zoo

codec = Codec()
DAY = Payload(b'"2030-01-02"')


@pytest.mark.parametrize("first", [date | str, str | date])
def test_what_a_union_decodes_to_does_not_depend_on_what_was_decoded_before(first: Any) -> None:
    value_type.__globals__["_cached"].cache_clear()
    codec.decode(DAY, first, what="x")
    assert codec.decode(DAY, date | str, what="x") == date(2030, 1, 2)
    assert codec.decode(DAY, str | date, what="x") == "2030-01-02"
    assert codec.decode(DAY, list[date | str] | date, what="x") == date(2030, 1, 2)
    assert codec.decode(Payload(b'["2030-01-02"]'), list[date | str], what="x") == [date(2030, 1, 2)]
    assert codec.decode(Payload(b'["2030-01-02"]'), list[str | date], what="x") == ["2030-01-02"]


SHARED: list[tuple[Callable[[Any], Any], bytes]] = [
    (lambda one: typing.List[one], b'["2030-01-02"]'),  # noqa: UP006
    (lambda one: typing.Optional[one], b'"2030-01-02"'),  # noqa: UP045
    (lambda one: typing.Optional[list[one]], b'["2030-01-02"]'),  # noqa: UP045
    (lambda one: Annotated[one, "a note"], b'"2030-01-02"'),
]


@pytest.mark.parametrize(("make", "stored"), SHARED)
def test_hints_that_typing_shares_decode_alike_whatever_was_written_first(
    make: Callable[[Any], Any], stored: bytes
) -> None:
    """`typing` keeps List[date | str] and gives it to whoever writes List[str | date] later."""
    seen = set()
    for orders in ((date | str, str | date), (str | date, date | str)):
        for forget in typing._cleanups:  # type: ignore[attr-defined]
            forget()
        value_type.__globals__["_cached"].cache_clear()
        hints = {str(one): make(one) for one in orders}
        seen.add(tuple(repr(codec.decode(Payload(stored), hints[one], what="x")) for one in sorted(hints)))
    assert len(seen) == 1


def test_signatures_with_unions_in_another_order_read_another_way() -> None:
    def one(day: date | str) -> None: ...
    def other(day: str | date) -> None: ...

    arguments = Arguments((DAY,))
    assert CallSignature.of(one).read(arguments, target="one") == ((date(2030, 1, 2),), {})
    assert CallSignature.of(other).read(arguments, target="other") == (("2030-01-02",), {})


def test_literals_that_python_takes_for_equal_are_told_apart() -> None:
    one: Any = Literal[1]
    true: Any = Literal[True]
    assert codec.decode(Payload(b"1"), one, what="x") == 1
    assert codec.decode(Payload(b"true"), true, what="x") is True


@pytest.mark.parametrize(
    "hint",
    [
        None, int, bytes, list, dict, tuple, set, frozenset, date, list[Any], list[date | str], dict[str, Any],
        dict[int, list[float]], tuple[()], tuple[int, str], tuple[list[int], ...], int | str | None,
        typing.Optional[list[date | str]], typing.List[dict[str, int]], Literal[1, True, "one", None],  # noqa: UP006, UP045
    ],
    ids=repr,
)  # fmt: skip
def test_a_hint_that_waits_for_its_first_value_can_always_be_compiled(hint: Any) -> None:
    def step(value: hint) -> hint: ...

    (parameter,) = CallSignature.of(step).parameters
    parameter.type.compile()
    assert isinstance(parameter.type.plain, frozenset)


@pytest.mark.parametrize(
    "hint",
    [
        list[Iterator[int]], dict[str, Callable[[], int]], tuple[int, bytearray], tuple[memoryview, ...],
        int | type[int], dict[tuple[int, int], str], list[list[object()]],  # type: ignore[misc]
    ],
    ids=lambda hint: re.sub(" at 0x[0-9a-f]+", "", repr(hint)),  # the same in every process that collects them
)  # fmt: skip
def test_what_is_hopeless_inside_of_pythons_own_types_is_refused_at_the_definition(hint: Any) -> None:
    def step(value: hint) -> None: ...

    with pytest.raises(HopelessHint, match="parameter 'value' is annotated"):
        CallSignature.of(step)


def test_a_class_that_every_run_makes_anew_does_not_pile_up() -> None:
    made = []
    for _ in range(HINTS_CACHED + 50):

        class Local(BaseModel):
            x: int

        codec.decode(Payload(b'{"x":1}'), Local, what="x")
        made.append(weakref.ref(Local))
    del Local
    gc.collect()
    assert sum(one() is not None for one in made) <= HINTS_CACHED + 1


@pytest.mark.feature("F154")
@pytest.mark.parametrize(
    ("hint", "says"),
    [
        (bytearray, "use bytes"),
        (dict[tuple[int, int], str], "list of pairs"),
        (list[dict[frozenset[str], int]], "list of pairs"),
        (dict[zoo.Base, int], "list of pairs"),
        (Iterator[int], "use list"),
        (Generator[int, None, None], "use list"),
        (AsyncIterator[int], "use list"),
        (Callable[[int], int], "stands for code"),
        (type[int], "stands for code"),
        (zoo.Unknown, "zoo.Unknown"),
        (list[zoo.Unknown], "zoo.Unknown"),
        (threading.Event, "Event"),
        pytest.param(
            zoo.OldRow,
            "typing_extensions",
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python describes it there"),
        ),
    ],
)
def test_a_hopeless_annotation_is_refused_at_definition_with_the_way_out(hint: Any, says: str) -> None:
    app = App("hopeless")

    async def takes(value: Any) -> None: ...
    async def gives() -> Any: ...

    takes.__annotations__["value"] = hint
    gives.__annotations__["return"] = hint
    for function, place in ((takes, "parameter 'value'"), (gives, "its result")):
        for decorate in (app.step, app.workflow):
            with pytest.raises(HopelessHint, match=f"{function.__name__}: {place} is annotated .*{says}"):
                decorate(function)


def test_an_iterable_is_read_as_a_list_and_so_more_than_once() -> None:
    numbers = codec.decode(Payload(b"[1,2,3]"), Iterable[int], what="x")
    assert [sum(numbers), sum(numbers)] == [6, 6]


def test_what_has_a_default_may_be_annotated_with_what_is_never_given() -> None:
    app = App("defaults")

    @app.step
    def says(text: str, write: Callable[[str], None] = print) -> NoReturn:
        write(text)
        raise SystemExit

    signature = says.definition.signature
    assert signature.read(Arguments((Payload(b'"a"'),)), target="says") == (("a",), {})
    with pytest.raises(ArgumentsRejected, match=r"'write' cannot be read .*stands for code"):
        signature.read(Arguments((Payload(b'"a"'), Payload(b'"b"'))), target="says")


def test_a_class_of_the_same_module_may_be_defined_later() -> None:
    namespace: dict[str, Any] = {}
    code = """
from __future__ import annotations
from dataclasses import dataclass

def takes(value: Late) -> list[Late]: ...
"""
    exec(code, namespace)
    signature = CallSignature.of(namespace["takes"])
    exec("@dataclass\nclass Late:\n    x: int", namespace)
    assert signature.read(Arguments((Payload(b'{"x":1}'),)), target="takes")[0][0].x == 1


def test_a_worker_refuses_what_was_unknown_at_definition_and_is_hopeless() -> None:
    from holdfast.worker.registration import Registrations

    namespace: dict[str, Any] = {"app": App("late")}
    exec("@app.step\nasync def takes(value: 'Late') -> None: ...", namespace)
    exec("class Late: ...", namespace)
    with pytest.raises(HopelessHint, match="step takes: parameter 'value' is annotated Late"):
        Registrations.of([namespace["app"]], [])


def test_arguments_are_checked_without_running_anything() -> None:
    @dataclass
    class Order:
        id: str

    def place(order: Order, count: int = 1) -> None: ...

    signature = CallSignature.of(place)
    signature.read(Arguments((Payload(b'{"id":"o-1"}'),), {"count": Payload(b'"3"')}), target="workflow place")
    with pytest.raises(
        ArgumentsRejected, match="workflow place: argument 'order' does not fit: id: field req"
    ) as caught:
        signature.read(Arguments((Payload(b"{}"),)), target="workflow place")
    assert (caught.value.target, caught.value.parameter) == ("workflow place", "order")


def test_typed_dicts_of_typing_extensions_are_fine() -> None:
    assert typing.is_typeddict(zoo.Row) or zoo.Row.__total__
    assert codec.round_trip({"id": 1, "note": "a"}, zoo.Row, "x") == {"id": 1, "note": "a"}
