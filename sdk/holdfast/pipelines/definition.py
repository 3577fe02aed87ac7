"""`pipeline`: makes a workflow of steps that run one after the other. On any mistake it registers nothing."""

import inspect
from collections import ChainMap
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from holdfast.authoring.apps import App, check_name_is_free, default_app
from holdfast.authoring.steps import PlainStep, Step
from holdfast.authoring.workflows import Workflow
from holdfast.definitions.chain_signature import ChainSignature
from holdfast.definitions.definitions import StepDefinition, WorkflowDefinition
from holdfast.definitions.functions import DEFINED_AT, place_of_caller
from holdfast.definitions.options import MetadataLike, checked_name
from holdfast.definitions.signatures import CallSignature
from holdfast.durations import Duration
from holdfast.pipelines.fitting import Joint, joints

AnyStep = Step[..., Any]


class Pipeline(Workflow[..., Any]):
    """A workflow that runs its steps one after the other. Its result is that of the last one."""

    def __init__(self, definition: WorkflowDefinition, steps: Sequence[AnyStep]) -> None:
        super().__init__(definition)
        self._steps = tuple(steps)

    @property
    def steps(self) -> tuple[AnyStep, ...]:
        """The steps in order."""
        return self._steps

    def __repr__(self) -> str:
        return f"<pipeline {self.name}: {', '.join(step.name for step in self._steps)}>"


def pipeline(
    name: str,
    steps: Iterable[Callable[..., Any]],
    *,
    app: App | None = None,
    id: str | None = None,
    max_duration: Duration | None = None,
    queue: str | None = None,
    priority: int | None = None,
    metadata: MetadataLike | None = None,
) -> Pipeline:
    """A workflow of steps, each called with what the one before it returned. A run starts with what the first takes.

    None goes into a step that needs nothing, the items of a tuple into the parameters of a step that takes several, and
    everything else in whole. Where a step does not say what it returns, its value decides: a list goes apart where the
    next step needs more than one value.

    steps: steps keep their names and options; a function becomes a step of the app under its own name, with no retries
    unless the app says how many. app: where they are registered; that of `@step` and `@workflow` by default.
    id, max_duration, queue, priority, metadata: as of `@workflow`.
    Raises IncompatibleSteps, a TypeError that names two steps whose types do not fit, TypeError or ValueError for
    what cannot be a step, and DuplicateName.
    """
    app = default_app if app is None else app
    what = f"pipeline {checked_name('a pipeline', 'name', name)}"
    if not isinstance(app, App):
        raise TypeError(f"{what}: app is an App, not {app!r}")
    given = _checked_steps(what, steps)
    chain = [_step(what, one, app) for one in given]
    own = dict[str, StepDefinition]()
    for step in chain:
        check_name_is_free("step", own, step.definition)
        own[step.name] = step.definition
    between = joints(name, [step.definition for step in chain])
    made = app.define_workflow(
        _function_of(name, chain, between),
        name,
        ChainSignature(chain[0].definition.signature, chain[-1].definition.signature),
        id=id,
        max_duration=max_duration,
        queue=queue,
        priority=priority,
        metadata=metadata,
    )
    # Steps of other apps come along with it, as those of its own do.
    definition = replace(made, app_steps=ChainMap(own, made.app_steps))  # type: ignore[arg-type]
    new = [step.definition for step, one in zip(chain, given, strict=True) if step is not one]
    app.register(new, definition)
    return Pipeline(definition, chain)


def _checked_steps(what: str, steps: Any) -> list[Any]:
    if isinstance(steps, (str, bytes, Mapping, Set)) or not isinstance(steps, Iterable):
        raise TypeError(f"{what}: steps are a list of functions and steps, not {steps!r}")
    found = list(steps)
    if not found:
        raise ValueError(f"{what} has no steps; give it at least one")
    return found


def _step(what: str, given: Any, app: App) -> AnyStep:
    if isinstance(given, Workflow):
        raise TypeError(
            f"{what} takes functions and steps, and {given!r} is a workflow; await it in a workflow instead"
        )
    if isinstance(given, Step):
        return given
    if not callable(given):
        raise TypeError(f"{what} takes functions and steps, not {given!r}")
    definition = app.define_step_without_retries(given)
    return Step(definition) if definition.is_async else PlainStep(definition)


def _function_of(
    name: str, steps: Sequence[AnyStep], between: Sequence[Joint]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    first, *others = steps

    async def run(*args: Any, **kwargs: Any) -> Any:
        value = await first(*args, **kwargs)
        for step, joint in zip(others, between, strict=True):
            value = await step(*joint.arguments(value))
        return value

    run.__module__, path, line = place_of_caller(__name__)
    run.__name__ = name
    run.__qualname__ = f"pipeline({name!r})"
    run.__doc__ = f"{', then '.join(step.name for step in steps)}."
    made: Any = run
    setattr(made, DEFINED_AT, (path, line))
    signature = first.definition.signature
    if signature.is_known():
        made.__signature__ = _shown(first.definition.function, signature, steps[-1].definition.signature)
    return run


def _shown(function: Callable[..., Any], first: CallSignature, last: CallSignature) -> inspect.Signature:
    """What `help` and editors show: the parameters of the first step but its context, and the result of the last."""
    own = inspect.signature(function)
    kept = [one for one in own.parameters.values() if one.name != first.context_parameter]
    return own.replace(
        parameters=kept, return_annotation=last.result.hint if last.is_known() else inspect.Signature.empty
    )
