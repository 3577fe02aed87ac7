"""The decorators: names, defaults, and what is refused where it is written."""

import functools
import inspect
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

import holdfast
from holdfast import App, constant, exponential
from holdfast.authoring.apps import DuplicateName, default_app
from holdfast.backoff import Constant, Exponential


@pytest.fixture
def app() -> App:
    return App("test")


@pytest.mark.feature("F1")
def test_a_step_takes_its_name_in_four_ways(app: App) -> None:
    @app.step
    def bare() -> None: ...

    @app.step()
    async def called() -> None: ...

    @app.step("positional")
    def third() -> None: ...

    @app.step(name="named")
    def fourth() -> None: ...

    assert list(app.steps) == ["bare", "called", "positional", "named"]
    assert [definition.is_async for definition in app.steps.values()] == [False, True, False, False]
    assert app.steps["positional"].function.__name__ == "third"


@pytest.mark.feature("F2")
def test_a_workflow_takes_its_name_in_four_ways(app: App) -> None:
    @app.workflow
    async def bare() -> None: ...

    @app.workflow()
    async def called() -> None: ...

    @app.workflow("positional")
    async def third() -> None: ...

    @app.workflow(name="named")
    async def fourth() -> None: ...

    assert list(app.workflows) == ["bare", "called", "positional", "named"]


def test_module_level_decorators_use_the_default_app() -> None:
    @holdfast.step("decorators-default-step")
    def one() -> None: ...

    @holdfast.workflow("decorators-default-workflow")
    async def two() -> None: ...

    assert default_app.steps["decorators-default-step"] is one.definition
    assert default_app.workflows["decorators-default-workflow"] is two.definition


def test_a_decorated_function_keeps_its_name_and_docstring(app: App) -> None:
    @app.step("other")
    def charge() -> None:
        """Charges."""

    assert (charge.__name__, charge.__doc__, charge.__module__) == ("charge", "Charges.", __name__)


def test_two_names_for_one_step_are_refused(app: App) -> None:
    with pytest.raises(TypeError, match="two names"):
        app.step("a", name="b")


def test_a_step_without_options_has_the_documented_defaults(app: App) -> None:
    @app.step
    def plain() -> None: ...

    options = plain.definition.options
    assert (options.retries, options.recoveries, options.timeout, options.placement) == (3, 3, None, "auto")
    assert options.backoff == Exponential(base=2, max=timedelta(seconds=300), first_exponent=0)
    assert options.retry_on == (Exception,)


@pytest.mark.feature("F68")
def test_an_app_gives_its_steps_defaults_which_a_step_can_change() -> None:
    app = App("billing", retries=0, backoff=constant(5), recoveries=None, timeout="1m", queue="money")

    @app.step
    def by_default() -> None: ...

    @app.step(retries=7, backoff="fixed", recoveries=0, timeout=None, queue="other")
    def changed() -> None: ...

    first, second = by_default.definition.options, changed.definition.options
    assert (first.retries, first.backoff, first.recoveries) == (0, Constant(timedelta(seconds=5)), None)
    assert (first.timeout, first.queue) == (timedelta(minutes=1), "money")
    assert (second.retries, second.backoff, second.recoveries) == (7, Constant(timedelta(seconds=60)), 0)
    assert (second.timeout, second.queue) == (None, "other")


def test_a_step_takes_every_option(app: App) -> None:
    @app.step(
        retries=5,
        backoff=exponential(base=3, max="1h", jitter=0.5),
        timeout="30s",
        placement="queued",
        retry_on=[ValueError, KeyError],
        priority=-5,
    )
    def full() -> None: ...

    options = full.definition.options
    assert options.backoff == Exponential(3.0, timedelta(hours=1), 0.5)
    assert options.timeout == timedelta(seconds=30)
    assert options.retry_on == (ValueError, KeyError)
    assert (options.placement, options.priority) == ("queued", -5)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"retries": -1}, "retries"),
        ({"retries": 1.5}, "retries"),
        ({"retries": True}, "retries"),
        ({"recoveries": -1}, "recoveries"),
        ({"backoff": "soon"}, "backoff"),
        ({"backoff": []}, "backoff"),
        ({"timeout": "5 minutes"}, "timeout"),
        ({"timeout": 0}, "timeout"),
        ({"queue": ""}, "queue"),
        ({"queue": "x" * 201}, "queue"),
        ({"placement": "elsewhere"}, "placement"),
        ({"priority": "high"}, "priority"),
        ({"retry_on": "ValueError"}, "retry_on"),
        ({"retry_on": [int]}, "retry_on"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_impossible_option_of_a_step_is_refused_by_name(app: App, options: dict[str, Any], named: str) -> None:
    def charge() -> None: ...

    with pytest.raises((ValueError, TypeError), match=named):
        app.step(**options)(charge)
    assert not app.steps


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_duration": "forever"}, "max_duration"),
        ({"id": "order-{nothing}"}, r"'nothing', which is not a parameter \(parameters: order_id, amount\)"),
        ({"id": "order-{}"}, "not a parameter"),
        ({"id": "order-{order_id"}, "template"),
        ({"id": ""}, "id is empty"),
        ({"id": "run_x"}, "run_"),
        ({"queue": " "}, "queue"),
        ({"priority": 1.5}, "priority"),
    ],
)
def test_an_impossible_option_of_a_workflow_is_refused_by_name(app: App, options: dict[str, Any], named: str) -> None:
    async def order(order_id: str, amount: int = 1) -> None: ...

    with pytest.raises((ValueError, TypeError), match=named):
        app.workflow(**options)(order)
    assert not app.workflows


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Shop:
    def sell(self) -> None: ...

    async def sell_async(self) -> None: ...

    @classmethod
    def make(cls) -> None: ...

    @staticmethod
    def fixed() -> int:
        return 5


@pytest.mark.feature("F20")
@pytest.mark.parametrize(
    ("function", "says"),
    [
        (generator, "test_decorators.generator: it is a generator"),
        (async_generator, "test_decorators.async_generator: it is a generator"),
        (functools.partial(generator), "generator"),
        (Shop, "Shop is a class"),
        (Shop.sell, r"the method test_decorators\.Shop\.sell"),
        (Shop.sell_async, r"the method test_decorators\.Shop\.sell_async"),
        (vars(Shop)["make"], "classmethod"),
        (vars(Shop)["fixed"], "put @staticmethod above"),
        (5, "takes a function, not 5"),
    ],
)
@pytest.mark.parametrize("decorator", ["step", "workflow"])
def test_what_is_no_function_is_refused_by_name(app: App, decorator: str, function: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        getattr(app, decorator)(function)


def test_a_plain_function_is_a_workflow_that_does_not_await(app: App) -> None:
    def order() -> None: ...

    async def awaits() -> None: ...

    def around() -> Coroutine[Any, Any, None]:
        return awaits()

    made = [app.workflow(one).definition for one in (order, awaits, around)]
    assert [one.is_blocking for one in made] == [True, False, False]


def test_a_lambda_needs_a_name(app: App) -> None:
    with pytest.raises(ValueError, match="has no name of its own"):
        app.step(lambda: 1)
    assert app.step(name="one")(lambda: 1).name == "one"


def test_decorating_twice_is_refused(app: App) -> None:
    @app.step
    def charge() -> None: ...

    with pytest.raises(TypeError, match="<step charge>: it is decorated already"):
        app.step(charge)


def test_a_static_method_works_below_staticmethod(app: App) -> None:
    class Till:
        @staticmethod
        @app.step
        def total(x: int) -> int:
            return x + 1

    assert Till.total.function(1) == 2


def test_a_callable_object_and_a_partial_work_with_a_name(app: App) -> None:
    class Adder:
        async def __call__(self, x: int) -> int:
            return x + 1

    assert app.step(name="adder")(Adder()).definition.is_async
    partial: Any = functools.partial(lambda x, y: x + y, 1)
    assert [parameter.name for parameter in app.step(name="partial")(partial).definition.signature.parameters] == ["y"]


@pytest.mark.feature("F14")
def test_two_functions_of_one_name_are_refused_naming_both(app: App) -> None:
    @app.step(name="x")
    def first() -> None: ...

    with pytest.raises(DuplicateName, match=r"step 'x' is defined twice in app 'test'.*first .*second ") as caught:

        @app.step(name="x")
        def second() -> None: ...

    assert isinstance(caught.value, ValueError)
    assert app.steps["x"].function.__name__ == "first"


@pytest.mark.feature("F14")
def test_a_second_definition_of_one_name_in_one_file_is_refused(app: App) -> None:
    @app.step
    def x() -> int:
        return 1

    with pytest.raises(DuplicateName, match=r"line \d+.*line \d+"):

        @app.step
        def x() -> int:
            return 2


def test_a_workflow_and_a_step_may_share_a_name(app: App) -> None:
    app.step(name="x")(lambda: 1)

    @app.workflow(name="x")
    async def flow() -> None: ...

    assert set(app.steps) == set(app.workflows) == {"x"}


@pytest.mark.feature("F14")
def test_the_same_names_in_two_apps_do_not_meet() -> None:
    one, other = App("one"), App("other")

    @one.step(name="x")
    def first() -> None: ...

    @other.step(name="x")
    def second() -> None: ...

    assert one.steps["x"].app == "one"
    assert other.steps["x"].app == "other"


@pytest.mark.feature("F14")
def test_importing_a_module_again_is_silent_and_its_newest_function_counts(app: App) -> None:
    source = "from __main__ import app\n@app.step\ndef charge(): ...\n"
    sys.modules["__main__"].app = app  # type: ignore[attr-defined]
    try:
        for _ in range(2):
            module = ModuleType("shop")
            exec(compile(source, "shop.py", "exec"), module.__dict__)
    finally:
        del sys.modules["__main__"].app
    assert app.steps["charge"].function.__globals__ is module.__dict__


def test_an_option_that_does_not_exist_is_refused_with_those_that_do():
    app = App("unknown options")
    with pytest.raises(TypeError, match=r"@step has no option 'retry'; its options are name, retries, recoveries"):
        app.step(retry=3)
    with pytest.raises(TypeError, match=r"@workflow has no option 'timeout'; its options are name, id, max_duration"):
        app.workflow("order", timeout="5s")


@pytest.mark.parametrize("decorator", [holdfast.step, holdfast.workflow])
def test_help_of_a_decorator_names_and_explains_every_option(decorator: Any) -> None:
    make = {"step": App.define_step, "workflow": App.define_workflow}[decorator.__name__]
    options = set(inspect.signature(make).parameters) - {"self", "function", "signature"}
    shown = inspect.signature(decorator).parameters
    assert options <= set(shown)
    for option in options:
        assert f"{option}:" in (inspect.getdoc(decorator) or "")
