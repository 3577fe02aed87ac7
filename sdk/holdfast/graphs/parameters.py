"""What fills the parameters of a task: inputs of the run, results of other tasks, all of those at once as `upstream`.

It looks at signatures only and never calls a task.
"""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Never, NoReturn, get_args, get_origin

from holdfast.definitions.definitions import StepDefinition
from holdfast.definitions.signatures import CallSignature, Parameter, ParameterKind
from holdfast.graphs.problems import InvalidGraph, nearest

UPSTREAM = "upstream"
"""The parameter that takes the results of all direct dependencies by name."""


@dataclass(slots=True, frozen=True)
class Filling:
    """How a task is called. deps: all it depends on, those it was given first.

    from_inputs, from_tasks: the parameters that are named after inputs and after dependencies.
    """

    deps: tuple[str, ...]
    from_inputs: tuple[str, ...]
    from_tasks: tuple[str, ...]
    takes_upstream: bool


def filling(
    what: str, step: StepDefinition, given: tuple[str, ...], *, tasks: Collection[str], inputs: Collection[str]
) -> Filling:
    """How the parameters of a task are filled. what: "graph g: task t". tasks: the names of all.

    Raises InvalidGraph for a dependency that is no task, and for a parameter that nothing fills.
    """
    for name in given:
        if name not in tasks:
            raise InvalidGraph(f"{what} depends on {name!r}, which is no task of it.{nearest(name, tasks)}")
    bound = _bound_names(step.function)
    parameters = [one for one in step.signature.parameters if one.name not in bound]
    takes_upstream = any(one.name == UPSTREAM for one in parameters)
    from_inputs, from_tasks = [], []
    for one in parameters:
        if takes_upstream and one.name == UPSTREAM:
            pass
        elif one.name in inputs:
            from_inputs.append(one.name)
        elif one.name in tasks and not takes_upstream:
            from_tasks.append(one.name)
        elif one.required:
            raise InvalidGraph(_unfillable(what, one, takes_upstream, tasks, inputs))
        else:
            continue
        if one.kind is ParameterKind.POSITIONAL_ONLY:
            raise InvalidGraph(f"{what}: parameter {one.name!r} is positional only, and tasks are called by name")
    deps = tuple(dict.fromkeys((*given, *from_tasks)))
    return Filling(deps, tuple(from_inputs), tuple(from_tasks), takes_upstream)


def with_typed_upstream(step: StepDefinition, deps: Mapping[str, StepDefinition]) -> CallSignature:
    """The signature of a task that takes `upstream`, where each result keeps the type that its task returns.

    Unless `upstream` is annotated with types of its own values: those stay.
    """
    upstream = next(one for one in step.signature.parameters if one.name == UPSTREAM)
    if not _says_nothing_of_values(upstream.hint):
        return step.signature
    return step.signature.with_hints({UPSTREAM: results_type("Upstream", deps, total=True)})


def results_type(name: str, steps: Mapping[str, StepDefinition], *, total: bool) -> Any:
    """A mapping from the names of tasks to what they return. total: it has all of them."""
    # Imported here: a module that defines a graph does not need it.
    from typing_extensions import TypedDict

    hints = {one: step.signature.result.hint for one, step in steps.items()}
    known = {one: Any if hint in (NoReturn, Never) else hint for one, hint in hints.items()}
    return TypedDict(name, known, total=total)  # type: ignore[operator]


def _says_nothing_of_values(hint: Any) -> bool:
    if hint in (Any, dict, Mapping):
        return True
    return get_origin(hint) in (dict, Mapping) and get_args(hint)[1:] in ((), (Any,))


def _bound_names(function: Any) -> set[str]:
    """The parameters that functools.partial has filled by name."""
    names: set[str] = set()
    while isinstance(function, functools.partial):
        names.update(function.keywords)
        function = function.func
    return names


def _unfillable(
    what: str, parameter: Parameter, takes_upstream: bool, tasks: Collection[str], inputs: Collection[str]
) -> str:
    name = parameter.name
    if takes_upstream:
        also = f" or the name of an input ({', '.join(inputs)})" if inputs else ""
        return (
            f"{what}: nothing fills parameter {name!r}: beside {UPSTREAM!r} a task takes only a Context, or parameters "
            f"with defaults{also}"
        )
    return (
        f"{what}: nothing fills parameter {name!r}: it is the name of no task{' and of no input' if inputs else ''}, "
        f"and has no default.{nearest(name, [*tasks, *inputs])}"
    )
