"""What one call changes: resolved against the definition, and what of it can be recorded."""

from datetime import timedelta
from typing import Any

import pytest

from holdfast import App
from holdfast.authoring.steps import Step
from holdfast.backoff import Constant, Listed
from holdfast.definitions.definitions import StepOptions
from holdfast.definitions.options import recorded_retry, resolve
from holdfast.journal import RetryPolicy

app = App("options")


def seconds(retry: int) -> float:
    return retry * 2.0


@app.step(retries=2, backoff="5s", timeout="1m", recoveries=1, priority=4)
def charge() -> None: ...


@app.step(backoff=seconds)
def computed() -> None: ...


@app.step(queue="gpu")
def elsewhere() -> None: ...


def resolved(step: Step[Any, Any], **changes: Any) -> StepOptions:
    changed = step.with_options(**changes)
    return resolve(changed.definition.options, changed.overrides)


def recorded(step: Step[Any, Any], **changes: Any) -> RetryPolicy | None:
    changed = step.with_options(**changes)
    return recorded_retry(changed.overrides, changed.definition.options)


def test_a_call_without_options_has_those_of_its_definition() -> None:
    assert resolve(charge.definition.options, charge.overrides) is charge.definition.options
    assert recorded(charge) is None


@pytest.mark.parametrize(
    ("changes", "option", "value"),
    [
        ({"retries": 0}, "retries", 0),
        ({"backoff": [1, 2]}, "backoff", Listed((timedelta(seconds=1), timedelta(seconds=2)))),
        ({"timeout": "2m"}, "timeout", timedelta(minutes=2)),
        ({"timeout": None}, "timeout", None),
        ({"recoveries": None}, "recoveries", None),
        ({"recoveries": 0}, "recoveries", 0),
        ({"queue": "gpu"}, "queue", "gpu"),
        ({"placement": "queued"}, "placement", "queued"),
        ({"priority": 0}, "priority", 0),
    ],
)
def test_a_call_changes_the_option_it_names_and_no_other(changes: dict[str, Any], option: str, value: Any) -> None:
    before, after = charge.definition.options, resolved(charge, **changes)
    assert getattr(after, option) == value
    for name in StepOptions.__dataclass_fields__:
        assert (getattr(after, name) == getattr(before, name)) == (name != option)


def test_with_options_leaves_the_step_unchanged() -> None:
    charge.with_options(retries=9)
    assert charge.overrides.retries is None


def test_what_a_call_changes_of_retries_is_recorded() -> None:
    assert recorded(charge, retries=5) == RetryPolicy(5, Constant(timedelta(seconds=5)))
    assert recorded(charge, backoff=7) == RetryPolicy(2, Constant(timedelta(seconds=7)))
    assert recorded(charge, step_id="a", timeout="1s") is None


@pytest.mark.parametrize(
    ("step", "changes"),
    [(charge, {"backoff": seconds}), (charge, {"retry_on": ValueError}), (computed, {"retries": 5})],
)
def test_what_cannot_be_recorded_forces_the_call_inline(step: Step[Any, Any], changes: dict[str, Any]) -> None:
    assert resolved(step, **changes).placement == "inline"
    assert recorded(step, **changes) is None


def test_a_callable_of_the_definition_forces_nothing() -> None:
    assert resolved(computed, timeout="1s").placement == "auto"


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (charge, {"backoff": seconds, "placement": "queued"}),
        (charge, {"retry_on": ValueError, "queue": "gpu"}),
        (elsewhere, {"backoff": seconds}),
    ],
)
def test_a_callable_cannot_follow_a_call_to_another_queue(step: Step[Any, Any], changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give them to the decorator"):
        step.with_options(**changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"retries": -1}, "retries"),
        ({"step_id": ""}, "step_id"),
        ({"timeout": "soon"}, "timeout"),
        ({"placement": "x"}, "placement"),
        ({"recoveries": "x"}, "recoveries"),
        ({"backoff": "x"}, "backoff"),
    ],
)
def test_an_impossible_option_of_a_call_is_refused_naming_step_and_option(changes: dict[str, Any], named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"step charge: {named}"):
        charge.with_options(**changes)
