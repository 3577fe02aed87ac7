"""Definitions of tests that do not meet: what a test or a test module defines is there for it only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from holdfast.authoring.apps import App, all_apps
from holdfast.definitions.definitions import StepDefinition, WorkflowDefinition
from holdfast.definitions.functions import innermost

Belongs = Callable[[StepDefinition | WorkflowDefinition], bool]
_Registered = tuple[dict[str, StepDefinition], dict[str, WorkflowDefinition]]


class Layer:
    """Definitions that were taken out of their apps, to be there again for a while."""

    def __init__(self, belongs: Belongs) -> None:
        """Takes what `belongs` says."""
        self._taken: dict[App, _Registered] = {}
        for app, (steps, workflows) in _all_registered().items():
            own_steps = {name: one for name, one in steps.items() if belongs(one)}
            own_workflows = {name: one for name, one in workflows.items() if belongs(one)}
            if own_steps or own_workflows:
                self._taken[app] = own_steps, own_workflows
                _forget(app, (own_steps, own_workflows))

    @contextmanager
    def on_top(self) -> Iterator[None]:
        """In the block they are registered beside all else; what they hide is back at its end."""
        hidden = {app: _same_names((dict(app.steps), dict(app.workflows)), own) for app, own in self._taken.items()}
        for app, own in self._taken.items():
            app.register_again({**app.steps, **own[0]}, {**app.workflows, **own[1]})
        try:
            yield
        finally:
            for app, own in self._taken.items():
                _forget(app, own)
                app.register_again({**app.steps, **hidden[app][0]}, {**app.workflows, **hidden[app][1]})


@contextmanager
def isolated_definitions(belongs: Belongs | None = None) -> Iterator[None]:
    """Steps and workflows that are defined in the block are forgotten at its end, so others may have their names.

    They go on to work as what they were decorated as; what is forgotten is that they are registered. The plugin of
    pytest does this around each test, for what the test itself defines. belongs: only of what this says; None: of all.
    """
    before = _all_registered()
    try:
        yield
    finally:
        for app, (steps, workflows) in _all_registered().items():
            old_steps, old_workflows = before.get(app, ({}, {}))
            new_steps = {name: one for name, one in steps.items() if old_steps.get(name) is not one}
            new_workflows = {name: one for name, one in workflows.items() if old_workflows.get(name) is not one}
            new = (
                {name: one for name, one in new_steps.items() if belongs is None or belongs(one)},
                {name: one for name, one in new_workflows.items() if belongs is None or belongs(one)},
            )
            if any(new):
                back = _same_names((old_steps, old_workflows), new)
                _forget(app, new)
                app.register_again({**app.steps, **back[0]}, {**app.workflows, **back[1]})


def defined_by_module(name: str) -> Belongs:
    """Of functions of this module."""
    return lambda definition: getattr(innermost(definition.function), "__module__", None) == name


def defined_in_functions(definition: StepDefinition | WorkflowDefinition) -> bool:
    """Of functions that were made in other functions, such as tests: they are made anew each time."""
    return "<locals>" in getattr(innermost(definition.function), "__qualname__", "")


def _all_registered() -> dict[App, _Registered]:
    return {app: (dict(app.steps), dict(app.workflows)) for app in all_apps()}


def _same_names(registered: _Registered, names: _Registered) -> _Registered:
    steps, workflows = registered
    return (
        {name: one for name, one in steps.items() if name in names[0]},
        {name: one for name, one in workflows.items() if name in names[1]},
    )


def _forget(app: App, own: _Registered) -> None:
    app.register_again(
        {name: one for name, one in app.steps.items() if name not in own[0]},
        {name: one for name, one in app.workflows.items() if name not in own[1]},
    )
