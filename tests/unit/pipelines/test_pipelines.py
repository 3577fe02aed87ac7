"""What a pipeline is made of, what it refuses, and how values go from step to step."""

import inspect
from dataclasses import dataclass
from typing import Any

import pytest

import holdfast
from holdfast import App, Context, FatalError, RunFailed, Workflow, constant, pipeline
from holdfast.authoring.apps import DuplicateName, default_app
from holdfast.authoring.discovery import discover
from holdfast.testing import run_local
from holdfast.worker.registration import Registrations

app = App("unit pipelines")


def shown(value: Any) -> str:
    """The same in every process, as a test's id must be."""
    if isinstance(value, (list, set)):
        return ", ".join(sorted(map(shown, value)))
    return getattr(value, "__name__", None) or str(value)


def checked(x: int, factor: int = 2) -> int:
    return x * factor


def text(x: int) -> str:
    return f"Result: {x}"


@app.step(retries=5, backoff=constant(0))
async def shout(words: str) -> str:
    return words.upper()


loud = pipeline("loud", [checked, text, shout], app=app)


def test_a_pipeline_is_a_workflow_with_the_arguments_of_its_first_step_and_the_result_of_its_last() -> None:
    assert isinstance(loud, Workflow)
    assert loud.name == loud.__name__ == "loud"
    assert repr(loud) == "<pipeline loud: checked, text, shout>"
    assert str(inspect.signature(loud)) == "(x: int, factor: int = 2) -> str"
    assert loud.__doc__ == "checked, then text, then shout."
    assert app.workflows["loud"] is loud.definition
    assert list(Registrations.of([loud], []).steps) == ["shout", "checked", "text"]


async def test_a_pipeline_runs_with_its_arguments_by_position_and_by_name() -> None:
    assert (await run_local(loud, 5)).value() == "RESULT: 10"
    assert (await run_local(loud, x=5, factor=3)).value() == "RESULT: 15"
    with pytest.raises(holdfast.ArgumentsRejected, match=r"workflow loud.*'x'"):
        await run_local(loud)


async def test_outside_a_run_a_pipeline_is_plain_code() -> None:
    with pytest.warns(UserWarning, match="loud runs as plain code"):
        assert await loud(5) == "RESULT: 10"


async def test_a_pipeline_is_a_child_of_a_workflow() -> None:
    @app.workflow
    async def parent() -> str:
        return f"{await loud(1)}!"

    assert (await run_local(parent)).value() == "RESULT: 2!"


def test_functions_have_no_retries_and_steps_keep_their_options() -> None:
    assert [one.definition.options.retries for one in loud.steps] == [0, 0, 5]
    assert loud.steps[2] is shout
    eager = App("eager", retries=2, timeout="5s")
    first, _, second = pipeline("eager", [checked, text, shout], app=eager).steps
    assert (first.definition.options.retries, second.definition.options.retries) == (2, 5)
    assert str(first.definition.options.timeout) == "0:00:05"
    assert first.definition.app == "eager"


def test_a_function_that_is_a_step_of_the_app_already_is_that_step() -> None:
    own = App("own")
    known = own.step(retries=7)(checked)
    again = pipeline("again", [checked, text], app=own)
    assert again.steps[0].definition is known.definition
    assert pipeline("once more", [text], app=own).steps[0].definition is again.steps[1].definition


def test_options_are_those_of_a_workflow() -> None:
    made = pipeline(
        "with options", [checked], app=App("options"), id="calc-{x}", max_duration="1h", queue="slow", priority=3,
        metadata={"team": "sums"},
    ).definition  # fmt: skip
    assert (made.id_template, str(made.max_duration), made.queue, made.priority) == ("calc-{x}", "1:00:00", "slow", 3)
    assert made.metadata == {"team": "sums"}


def test_without_an_app_it_is_in_the_default_one_and_a_module_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in ("_steps", "_workflows"):
        monkeypatch.setattr(default_app, registry, {})
    made = pipeline("unit_default", [text])
    assert dict(default_app.workflows) == {"unit_default": made.definition}
    assert list(default_app.steps) == ["text"]
    found = discover([__name__])
    assert {"loud", "unit_default"} <= {one.name for one in found.workflows}


async def test_with_options_of_a_step_hold_for_its_calls() -> None:
    attempts = []

    def fails(x: int) -> int:
        attempts.append(x)
        raise ValueError("no")

    own = App("overrides")
    flaky = own.step(fails)
    made = pipeline("flaky", [checked, flaky.with_options(retries=2, backoff=constant(0))], app=own)
    run = await run_local(made, 1)
    with pytest.raises(RunFailed, match="no"):
        run.value()
    assert attempts == [2, 2, 2]


async def test_a_context_is_filled_in_every_step() -> None:
    @dataclass
    class Deps:
        unit: str

    def first(context: Context[Deps], x: int) -> tuple[int, str]:
        return x, context.deps.unit

    def second(x: int, unit: str, context: Context[Deps]) -> str:
        return f"{x} {unit} {context.step}"

    made = pipeline("measured", [first, second], app=App("contexts"))
    assert (await run_local(made, 3, deps=Deps("kg"))).value() == "3 kg second"
    assert str(inspect.signature(made)) == "(x: int) -> str"


def gives(value: Any) -> Any:
    def give():  # type: ignore[no-untyped-def]
        return value

    return give


def collect(*values):  # type: ignore[no-untyped-def]
    return list(values)


def takes_none() -> str:
    return "nothing"


def takes_one(x) -> list[Any]:  # type: ignore[no-untyped-def]
    return [x]


def takes_one_or_none(x="default") -> list[Any]:  # type: ignore[no-untyped-def]
    return [x]


def takes_two(x, y) -> list[Any]:  # type: ignore[no-untyped-def]
    return [x, y]


def takes_two_or_three(x, y, z=0) -> list[Any]:  # type: ignore[no-untyped-def]
    return [x, y, z]


@pytest.mark.feature("F5", "F6")
@pytest.mark.parametrize(
    ("value", "then", "seen"),
    [
        (None, takes_none, "nothing"),
        (None, takes_one, [None]),
        (None, takes_one_or_none, ["default"]),
        (0, takes_one, [0]),
        ("", takes_one, [""]),
        ([], takes_one, [[]]),
        ([1, 2], takes_one, [[1, 2]]),
        ((1, 2), takes_one, [[1, 2]]),
        ((1, 2), takes_two, [1, 2]),
        ([1, 2], takes_two, [1, 2]),
        ((1, 2), takes_two_or_three, [1, 2, 0]),
        ((1, 2, 3), takes_two_or_three, [1, 2, 3]),
        ((1, 2), collect, [[1, 2]]),
    ],
    ids=shown,
)
async def test_where_nothing_is_said_the_value_decides_where_it_goes(value: Any, then: Any, seen: Any) -> None:
    assert (await run_local(pipeline("untyped", [gives(value), then], app=App("untyped")))).value() == seen


@pytest.mark.parametrize(
    ("value", "then", "problem"),
    [
        (1, takes_none, "step give returned 1 value, and step takes_none takes nothing"),
        (1, takes_two, "step give returned 1 value, and step takes_two takes 2 values"),
        ((1, 2, 3), takes_two, "step give returned 3 values, and step takes_two takes 2 values"),
        ((1,), takes_two_or_three, "step give returned 1 value, and step takes_two_or_three takes 2 to 3 values"),
        ("ab", takes_two, "step give returned 1 value"),
        (None, takes_two, "step give returned 1 value"),
    ],
    ids=shown,
)
async def test_a_value_that_has_no_place_fails_the_run_with_both_steps(value: Any, then: Any, problem: str) -> None:
    run = await run_local(pipeline("untyped", [gives(value), then], app=App("untyped")))
    with pytest.raises(RunFailed, match=problem) as caught:
        run.value()
    assert caught.value.error_type == "TypeError"


@pytest.mark.feature("F5")
async def test_what_is_declared_goes_as_it_is_declared() -> None:
    def several() -> tuple[int, ...]:
        return (1, 2, 3)

    def pair() -> tuple[int, str]:
        return (1, "a")

    def maybe() -> int | None:
        return None

    def listed() -> list[int]:
        return [1, 2]

    async def result(*steps: Any) -> Any:
        return (await run_local(pipeline("declared", steps, app=App("declared")))).value()

    assert await result(several, takes_two_or_three) == [1, 2, 3]
    assert await result(several, collect) == [1, 2, 3]
    assert await result(pair, takes_two_or_three) == [1, "a", 0]
    assert await result(pair, takes_one) == [[1, "a"]]
    assert await result(maybe, takes_one_or_none) == [None]
    assert await result(listed, takes_one_or_none) == [[1, 2]]
    with pytest.raises(RunFailed, match="step several returned 3 values, and step takes_two takes 2 values"):
        await result(several, takes_two)


async def test_an_instance_of_a_subclass_that_would_lose_something_is_refused_when_it_is_called() -> None:
    @dataclass
    class Base:
        number: int = 1

    @dataclass
    class More(Base):
        name: str = "one"

    def make() -> More:
        return More()

    def take(base: Base) -> int:
        return base.number

    run = await run_local(pipeline("subclasses", [make, take], app=App("subclasses")))
    with pytest.raises(RunFailed, match=r"argument 'base' would arrive changed: a .*More would come back"):
        run.value()


@pytest.mark.parametrize(
    ("name", "steps", "problem"),
    [
        ("", [text], "a pipeline: name is empty"),
        (5, [text], "a pipeline: name is text, not int"),
        ("p", [], "pipeline p has no steps"),
        ("p", "text", "pipeline p: steps are a list of functions and steps, not 'text'"),
        ("p", {"a": 1}, "pipeline p: steps are a list"),
        ("p", text, "pipeline p: steps are a list"),
        ("p", {text, checked}, "pipeline p: steps are a list"),
        ("p", [text, "shout"], "pipeline p takes functions and steps, not 'shout'"),
        ("p", [text, None], "pipeline p takes functions and steps, not None"),
        ("p", [text, loud], "pipeline p takes functions and steps, and <pipeline loud.*> is a workflow"),
        ("p", [text, lambda x: x], "has no name of its own"),
        ("p", [text, int], "@step takes a function, and .*int is a class"),
    ],
    ids=shown,
)
def test_what_makes_no_pipeline_is_refused_with_a_sentence_and_nothing_is_registered(
    name: Any, steps: Any, problem: str
) -> None:
    own = App("refused")
    with pytest.raises((TypeError, ValueError), match=problem):
        pipeline(name, steps, app=own)
    assert (dict(own.steps), dict(own.workflows)) == ({}, {})


def test_a_bad_option_and_a_bad_app_are_refused_by_name_and_nothing_is_registered() -> None:
    own = App("refused")
    with pytest.raises(ValueError, match=r"workflow p: id template 'calc-\{y\}' uses 'y'"):
        pipeline("p", [checked], app=own, id="calc-{y}")
    with pytest.raises(TypeError, match="pipeline p: app is an App, not 'billing'"):
        pipeline("p", [checked], app="billing")  # type: ignore[arg-type]
    assert (dict(own.steps), dict(own.workflows)) == ({}, {})


def test_two_pipelines_or_two_functions_of_one_name_are_refused_and_nothing_is_registered() -> None:
    own, billing = App("names"), App("billing names")
    pipeline("p", [text], app=own)
    with pytest.raises(DuplicateName, match=r"'p' is defined twice.*pipeline\('p'\) .*test_pipelines.py, line \d+"):
        pipeline("p", [checked], app=own)
    other = billing.step(name="text")(checked)
    with pytest.raises(DuplicateName, match="step 'text' is defined twice"):
        pipeline("q", [checked, text, other], app=own)
    assert (list(own.steps), list(own.workflows)) == (["text"], ["p"])


def test_the_same_pipeline_again_is_silent() -> None:
    own = App("imported again")
    for _ in range(2):
        made = pipeline("p", [text, shout], app=own)
    assert own.workflows["p"] is made.definition


def test_steps_of_another_app_come_along_with_a_pipeline() -> None:
    own = App("borrows")
    made = pipeline("borrows", [text, shout], app=own)
    assert set(Registrations.of([made], []).steps) == {"text", "shout"}
    assert list(own.steps) == ["text"]


def test_a_class_that_is_defined_later_says_nothing_yet_and_is_known_when_a_run_starts() -> None:
    own = App("later")

    def make() -> "Later":
        return Later(5)

    def take(later: "Later") -> int:
        return later.number

    made = pipeline("later", [make, take], app=own)
    assert not made.steps[0].definition.signature.is_known()

    @dataclass
    class Later:
        number: int

    globals()["Later"] = Later
    assert made.steps[0].definition.signature.is_known()
    assert made.definition.signature.is_known()


async def test_a_step_that_fails_is_the_last_one() -> None:
    seen = []

    def refuses(x: int) -> int:
        raise FatalError("no more")

    def after(x: int) -> None:
        seen.append(x)

    run = await run_local(pipeline("stops", [checked, refuses, after], app=App("stops")), 1)
    assert [type(one).__name__ for one in run.history][-2:] == ["StepFailed", "RunClosed"]
    assert seen == []
