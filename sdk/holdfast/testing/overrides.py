"""What runs in the place of steps in a test: values, errors and functions. Knows all steps that are defined."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from holdfast.authoring.apps import all_apps
from holdfast.authoring.steps import Step
from holdfast.definitions.definitions import StepDefinition
from holdfast.definitions.functions import is_async
from holdfast.definitions.signatures import CallSignature, hints_as_known
from holdfast.errors import HoldfastError
from holdfast.graphs.problems import nearest


class NoSuchStep(HoldfastError, ValueError):
    """A test names a step that nothing has defined. what: what names it, such as "override"."""

    def __init__(self, what: str, name: str) -> None:
        known = {step for app in all_apps() for step in app.steps}
        super().__init__(f"{what}: no step is called {name!r}.{nearest(name, known)}")
        self.name = name


def name_of_step(what: str, step: Any) -> str:
    """The name of a step that a test gives as itself or by name. Raises NoSuchStep and TypeError."""
    if isinstance(step, Step):
        return step.name
    if not isinstance(step, str):
        raise TypeError(f"{what} takes steps and their names, not {step!r}")
    if not any(step in app.steps for app in all_apps()):
        raise NoSuchStep(what, step)
    return step


class Overrides:
    """Replacements by the names of steps."""

    def __init__(self) -> None:
        self._replacements: dict[str, Any] = {}

    def set(self, name: str, replacement: Any) -> None:
        """Replaces the step of this name from its next attempt on."""
        self._replacements[name] = replacement

    def applied_to(self, step: StepDefinition) -> StepDefinition:
        """The step as it runs."""
        if step.name not in self._replacements:
            return step
        replacement = self._replacements[step.name]
        if not callable(replacement) or _is_error(replacement):
            constant = _constant(replacement)
            return replace(step, function=constant, is_async=True, signature=step.signature.without_context())
        return replace(
            step, function=replacement, is_async=is_async(replacement), signature=_signature(step, replacement)
        )


def _constant(value: Any) -> Callable[..., Any]:
    async def constant(*_: Any, **__: Any) -> Any:
        if isinstance(value, BaseException) or _is_error(value):
            raise value
        return value

    return constant


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _signature(step: StepDefinition, replacement: Callable[..., Any]) -> CallSignature:
    """How the replacement is called: as the step, and with its context only where it asks for that."""
    theirs = step.signature
    # A mock has whatever attribute it is asked for, and so never comes to an end of what it wraps.
    if not inspect.isroutine(replacement):
        return theirs.without_context()
    own = CallSignature.of(replacement)
    if own.context_parameter is None:
        return theirs.without_context()
    hints = {parameter.name: parameter.hint for parameter in theirs.parameters if parameter.name in own.by_name}
    returned = hints_as_known(inspect.unwrap(step.function)).get("return")
    return own.with_hints(hints if returned is None else {**hints, "return": returned})
