"""Apps: the decorators, their defaults, and the registry of what they decorated.

Imports no user code and connects nowhere.
"""

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Concatenate, TypeVar, overload
from weakref import WeakSet

from holdfast.authoring.shapes import (
    D,
    P,
    StepDecorator,
    T,
    TakesAnything,
    TakesAnythingAsync,
    WorkflowDecorator,
)
from holdfast.authoring.steps import PlainStep, PlainStepWithoutContext, Step
from holdfast.authoring.workflows import PlainWorkflow, Workflow
from holdfast.backoff import BackoffLike
from holdfast.definitions.business_ids import checked_id_template
from holdfast.definitions.context import Context
from holdfast.definitions.definitions import PlacementChoice, StepDefinition, WorkflowDefinition
from holdfast.definitions.functions import are_same, can_be_awaited, checked_function, described, is_async, name_for
from holdfast.definitions.options import (
    DEFAULT_RECOVERIES,
    DEFAULT_RETRIES,
    UNSET,
    MetadataLike,
    RetryOnLike,
    Unset,
    checked_backoff,
    checked_count,
    checked_metadata,
    checked_name,
    checked_priority,
    checked_span,
    step_options,
)
from holdfast.definitions.signatures import CallSignature
from holdfast.durations import Duration
from holdfast.errors import HoldfastError
from holdfast.hints.refusals import HopelessHint

Definition = TypeVar("Definition", StepDefinition, WorkflowDefinition)


class DuplicateName(HoldfastError, ValueError):
    """Two different functions were given one name, so a recorded name would not say which one to run."""

    def __init__(self, kind: str, name: str, *, app: str, first: str, second: str) -> None:
        super().__init__(
            f"{kind} {name!r} is defined twice in app {app!r}: by {first} and by {second}; "
            f"give one of them another name with @{kind}(name=...)"
        )
        self.name = name
        self.app = app
        self.first = first
        self.second = second


class App:
    """A group of steps and workflows with its own defaults and names.

    retries, backoff, recoveries, timeout, queue: for the steps that do not say otherwise. The queue is that of
    the workflows too. Without `retries` they are 3, and 0 for the functions of a pipeline.
    """

    def __init__(
        self,
        name: str,
        *,
        retries: int | None = None,
        backoff: BackoffLike = "exponential",
        recoveries: int | None = DEFAULT_RECOVERIES,
        timeout: Duration | None = None,
        queue: str | None = None,
    ) -> None:
        what = "app " + checked_name("app", "name", name)
        self.name = name
        self._retries = None if retries is None else checked_count(what, "retries", retries)
        self._backoff = checked_backoff(what, backoff)
        self._recoveries = None if recoveries is None else checked_count(what, "recoveries", recoveries)
        self._timeout = checked_span(what, "timeout", timeout)
        self._queue = None if queue is None else checked_name(what, "queue", queue)
        self._steps: dict[str, StepDefinition] = {}
        self._workflows: dict[str, WorkflowDefinition] = {}
        _apps.add(self)

    @property
    def steps(self) -> Mapping[str, StepDefinition]:
        """What is registered, by name, in the order of definition."""
        return MappingProxyType(self._steps)

    @property
    def workflows(self) -> Mapping[str, WorkflowDefinition]:
        """What is registered, by name, in the order of definition."""
        return MappingProxyType(self._workflows)

    @overload
    def step(self, function: TakesAnythingAsync[P, T], /) -> Step[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def step(self, function: TakesAnything[P, T], /) -> PlainStepWithoutContext[P, T]: ...
    @overload
    def step(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[Context[D], P], Coroutine[Any, Any, T]], /
    ) -> Step[P, T]: ...
    @overload
    def step(self, function: Callable[Concatenate[Context[D], P], T], /) -> PlainStep[P, T]: ...
    @overload
    def step(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> Step[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def step(self, function: Callable[P, T], /) -> PlainStepWithoutContext[P, T]: ...
    @overload
    def step(
        self,
        positional_name: str | None = None,
        /,
        *,
        name: str | None = None,
        retries: int | None = None,
        recoveries: int | Unset | None = UNSET,
        backoff: BackoffLike | None = None,
        timeout: Duration | Unset | None = UNSET,
        queue: str | None = None,
        placement: PlacementChoice = "auto",
        priority: int | None = None,
        retry_on: RetryOnLike = Exception,
        heartbeat_timeout: Duration | None = None,
    ) -> StepDecorator: ...
    def step(self, function: Any = None, /, **options: Any) -> Any:
        """Makes a step of a function: `@step`, `@step()`, `@step("name")` or `@step(name=..., ...)`.

        An `async def` runs on the worker's loop, a `def` in a thread, whatever it wraps; what a `def` returns to be
        awaited is awaited on the loop.

        name: what it is registered as; the function's name by default.
        retries: how often a failed attempt is repeated; 3 by default, so 4 attempts.
        recoveries: how often an attempt whose worker was lost is repeated, at once; 3 by default, None without limit,
            0 for at most once.
        backoff: the wait before a retry: "exponential" (1, 2, 4 ... 300 s, the default), "fixed" (60 s), a duration, a
            list of durations of which the last repeats, a callable from the retry (1, 2, ...) to seconds.
        timeout: the longest one attempt may take; None, the default, is no limit.
        queue: where attempts wait for a worker of that queue; the run's own by default.
        placement: "auto", "inline" (by the worker that holds the run) or "queued" (by any worker that has the step).
        priority: from -100 (first) to 100 (last), where it waits in a queue; the run's own by default.
        retry_on: types of exceptions, or a predicate: what is worth a retry; every Exception by default.
        heartbeat_timeout: the longest an attempt may be without `ctx.heartbeat` or `ctx.save`; None, the default, asks
            for no sign of life.
        Durations are "5s", "10m", "2h", a number of seconds or a timedelta.
        Raises TypeError or ValueError that names the function, and DuplicateName.
        """
        _refuse_unknown("step", options, App.define_step)
        if function is None or isinstance(function, str):
            name = _one_name("step", function, options.pop("name", None))
            return lambda decorated: self._make_step(decorated, name, **options)
        return self._make_step(function, options.pop("name", None), **options)

    @overload
    def workflow(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> Workflow[P, T]: ...
    @overload
    def workflow(self, function: Callable[P, T], /) -> PlainWorkflow[P, T]: ...
    @overload
    def workflow(
        self,
        positional_name: str | None = None,
        /,
        *,
        name: str | None = None,
        id: str | None = None,
        max_duration: Duration | None = None,
        queue: str | None = None,
        priority: int | None = None,
        metadata: MetadataLike | None = None,
    ) -> WorkflowDecorator: ...
    def workflow(self, function: Any = None, /, **options: Any) -> Any:
        """Makes a workflow of a function, in the same four forms as `step`.

        An `async def` awaits its steps; a plain `def` calls them and is given their results.
        name: what it is registered as; the function's name by default.
        id: a template of the business id, filled from the arguments: "order-{order_id}".
        max_duration: the longest a run may take, waits included; no limit by default.
        queue: where its runs wait for a worker; "default" by default.
        priority: from -100 (first) to 100 (last), where runs wait in a queue; 0 by default.
        metadata: facts by which runs can be listed.
        Raises TypeError or ValueError that names the function, and DuplicateName.
        """
        _refuse_unknown("workflow", options, App.define_workflow)
        if function is None or isinstance(function, str):
            name = _one_name("workflow", function, options.pop("name", None))
            return lambda decorated: self._make_workflow(decorated, name, **options)
        return self._make_workflow(function, options.pop("name", None), **options)

    def _make_step(self, function: Any, name: str | None, **options: Any) -> Step[Any, Any]:
        definition = self.define_step(function, name, **options)
        self.register([definition])
        return Step(definition) if definition.is_async else PlainStepWithoutContext(definition)

    def define_step(
        self,
        function: Any,
        name: str | None,
        *,
        retries: int | None = None,
        recoveries: int | Unset | None = UNSET,
        backoff: BackoffLike | None = None,
        timeout: Duration | Unset | None = UNSET,
        queue: str | None = None,
        placement: PlacementChoice = "auto",
        priority: int | None = None,
        retry_on: RetryOnLike = Exception,
        heartbeat_timeout: Duration | None = None,
    ) -> StepDefinition:
        """A step of this function, with the defaults of this app. It is not registered. Raises as `step` does."""
        _refuse_decorated("step", function)
        checked_function("step", function)
        registered = name_for("step", function, name)
        options = step_options(
            f"step {registered}",
            retries=self._default_retries if retries is None else retries,
            backoff=self._backoff if backoff is None else backoff,
            recoveries=self._recoveries if recoveries is UNSET else recoveries,
            timeout=self._timeout if timeout is UNSET else timeout,
            queue=self._queue if queue is None else queue,
            placement=placement,
            priority=priority,
            retry_on=retry_on,
            heartbeat_timeout=heartbeat_timeout,
        )
        return StepDefinition(
            name=registered,
            function=function,
            is_async=is_async(function),
            signature=_signature(f"step {registered}", function),
            options=options,
            app=self.name,
        )

    def define_step_without_retries(self, function: Any) -> StepDefinition:
        """The step that this function is already; else one that is not repeated, unless this app has a default."""
        for known in self._steps.values():
            if known.function is function:
                return known
        return self.define_step(function, None, retries=0 if self._retries is None else self._retries)

    def _make_workflow(self, function: Any, name: str | None, **options: Any) -> Workflow[Any, Any]:
        definition = self.define_workflow(function, name, **options)
        self.register((), definition)
        return PlainWorkflow(definition) if definition.is_blocking else Workflow(definition)

    def define_workflow(
        self,
        function: Any,
        name: str | None,
        signature: CallSignature | None = None,
        *,
        id: str | None = None,
        max_duration: Duration | None = None,
        queue: str | None = None,
        priority: int | None = None,
        metadata: MetadataLike | None = None,
    ) -> WorkflowDefinition:
        """A workflow of this function, with the defaults of this app. It is not registered. Raises as `workflow` does.

        signature: in the place of the function's own.
        """
        _refuse_decorated("workflow", function)
        checked_function("workflow", function)
        registered = name_for("workflow", function, name)
        what = f"workflow {registered}"
        queue = self._queue if queue is None else queue
        signature = _signature(what, function) if signature is None else signature
        return WorkflowDefinition(
            name=registered,
            function=function,
            signature=signature,
            id_template="" if id is None else checked_id_template(what, id, signature),
            max_duration=checked_span(what, "max_duration", max_duration),
            queue="" if queue is None else checked_name(what, "queue", queue),
            priority=checked_priority(what, priority),
            metadata=checked_metadata(what, metadata),
            app=self.name,
            app_steps=self.steps,
            is_blocking=not can_be_awaited(function),
        )

    def register(self, steps: Iterable[StepDefinition], *workflows: WorkflowDefinition) -> None:
        """Registers all of these, or none. Raises DuplicateName."""
        new_steps, new_workflows = dict[str, StepDefinition](), dict[str, WorkflowDefinition]()
        for step in steps:
            check_name_is_free("step", self._steps, step)
            check_name_is_free("step", new_steps, step)
            new_steps[step.name] = step
        for workflow in workflows:
            check_name_is_free("workflow", self._workflows, workflow)
            new_workflows[workflow.name] = workflow
        self._steps |= new_steps
        self._workflows |= new_workflows

    def register_again(self, steps: Mapping[str, StepDefinition], workflows: Mapping[str, WorkflowDefinition]) -> None:
        """Registers exactly these, in the place of whatever is registered: what tests have defined is forgotten."""
        self._steps.clear()
        self._steps |= steps
        self._workflows.clear()
        self._workflows |= workflows

    @property
    def _default_retries(self) -> int:
        return DEFAULT_RETRIES if self._retries is None else self._retries

    def __repr__(self) -> str:
        return f"<app {self.name}: {len(self._workflows)} workflows, {len(self._steps)} steps>"


def check_name_is_free(kind: str, registry: Mapping[str, Definition], definition: Definition) -> None:
    """Raises DuplicateName when another function has the name; the same function may come again."""
    known = registry.get(definition.name)
    if known is not None and not are_same(known.function, definition.function):
        raise DuplicateName(
            kind,
            definition.name,
            app=definition.app,
            first=described(known.function, with_place=True),
            second=described(definition.function, with_place=True),
        )


def _signature(what: str, function: Any) -> CallSignature:
    try:
        return CallSignature.of(function)
    except HopelessHint as error:
        raise HopelessHint(f"{what}: {error}") from None


def _refuse_decorated(decorator: str, function: Any) -> None:
    if isinstance(function, (Step, Workflow)):
        raise TypeError(f"@{decorator} cannot take {function!r}: it is decorated already")


def _refuse_unknown(decorator: str, options: Mapping[str, Any], make: Callable[..., Any]) -> None:
    known = [name for name in inspect.signature(make).parameters if name not in ("self", "function", "signature")]
    for name in options:
        if name not in known:
            raise TypeError(f"@{decorator} has no option {name!r}; its options are {', '.join(known)}")


def _one_name(decorator: str, positional: str | None, named: str | None) -> str | None:
    if positional is not None and named is not None:
        raise TypeError(f"@{decorator} was given two names, {positional!r} and {named!r}; give one")
    return named if positional is None else positional


def _show_options(decorator: Callable[..., Any], made_by: Callable[..., Any]) -> None:
    """Gives help() and notebooks a signature that names every option, as the overloads give it to editors."""
    own, options = inspect.signature(decorator), inspect.signature(made_by)
    named = [one for one in options.parameters.values() if one.kind is inspect.Parameter.KEYWORD_ONLY]
    kept = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    name = inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="str | None")
    decorator.__signature__ = own.replace(parameters=[*kept, name, *named])  # type: ignore[attr-defined]


_show_options(App.step, App.define_step)
_show_options(App.workflow, App.define_workflow)


_apps: "WeakSet[App]" = WeakSet()


def all_apps() -> tuple[App, ...]:
    """Every app of this process, those of graphs and pipelines too, by name."""
    return tuple(sorted(_apps, key=lambda app: app.name))


default_app = App("default")
"""Where the module-level decorators register."""

step = default_app.step
workflow = default_app.workflow
