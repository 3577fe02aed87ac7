"""How what one step of a pipeline returns goes into the next, decided where the pipeline is defined. Pure.

None goes into a step that needs nothing. A tuple goes apart into the parameters of a step that takes several.
Everything else goes in whole. Where a step does not say what it returns, its value decides, each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Never, NoReturn, TypeVar

from holdfast.definitions.definitions import StepDefinition
from holdfast.definitions.signatures import NO_EXTRA, CallSignature, Parameter, ParameterKind
from holdfast.errors import HoldfastError
from holdfast.hints.refusals import named
from holdfast.pipelines.assignable import Bindings, fits
from holdfast.pipelines.hint_forms import choices, item_of_any_tuple, items_of_tuple, plain


class IncompatibleSteps(HoldfastError, TypeError):
    """What a step of a pipeline returns does not fit the next one. reason: both, in one clause."""

    def __init__(self, pipeline: str, *, first: str, second: str, reason: str) -> None:
        super().__init__(f"Incompatible types in pipeline {pipeline!r}: {reason}")
        self.pipeline = pipeline
        self.first = first
        self.second = second
        self.reason = reason


class Passing(Enum):
    """What becomes of a value on its way."""

    NOTHING = 1
    WHOLE = 2
    ITEMS = 3
    AS_IT_IS = 4
    """Nobody has said what it is."""


@dataclass(slots=True, frozen=True)
class Joint:
    """Between two steps. required, takes: how many arguments the second one needs and has room for."""

    first: str
    second: str
    passing: Passing
    required: int
    takes: int | None

    def arguments(self, value: Any) -> tuple[Any, ...]:
        """What the second step is called with. Raises TypeError when it cannot be called with that many."""
        match self.passing:
            case Passing.NOTHING:
                return ()
            case Passing.WHOLE:
                return (value,)
            case Passing.ITEMS:
                return self._counted(tuple(value))
            case Passing.AS_IT_IS:
                if value is None and not self.required:
                    return ()
                # Undeclared, a tuple comes back as a list.
                is_several = self.required > 1 and isinstance(value, (list, tuple))
                return self._counted(tuple(value) if is_several else (value,))

    def _counted(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(values) < self.required or (self.takes is not None and len(values) > self.takes):
            raise TypeError(
                f"step {self.first} returned {_values(len(values))}, and step {self.second} takes "
                f"{_range(self.required, self.takes)}"
            )
        return values


def joints(pipeline: str, steps: Sequence[StepDefinition]) -> list[Joint]:
    """What is between each two neighbours. Raises IncompatibleSteps."""
    made, bound = list[Joint](), Bindings()
    before = _Place(steps[0])
    for step in steps[1:]:
        after = _Place(step)
        joint, bound = _Fitting(pipeline, before, bound.result(before.result), after).joint()
        made.append(joint)
        before = after
    return made


class _Place:
    """What is known of a step: unknown hints are Any here, and stay open where the step itself has them."""

    def __init__(self, step: StepDefinition) -> None:
        signature = step.signature if step.signature.is_known() else CallSignature.of(step.function)
        self.name = step.name
        self.result = signature.result.hint
        self.parameters = signature.positional
        self.rest = signature.extra_positional
        self.named_only = [
            one.name for one in signature.parameters if one.kind is ParameterKind.NAMED_ONLY and one.required
        ]

    @property
    def required(self) -> int:
        return sum(one.required for one in self.parameters)

    @property
    def takes(self) -> int | None:
        return len(self.parameters) if self.rest is NO_EXTRA else None

    def parameter(self, place: int) -> Parameter:
        if place < len(self.parameters):
            return self.parameters[place]
        return Parameter(f"number {place + 1}", ParameterKind.POSITIONAL_ONLY, False, self.rest)

    def has_room_for(self, count: int) -> bool:
        return self.required <= count and (self.takes is None or count <= self.takes)


class _Fitting:
    def __init__(self, pipeline: str, before: _Place, given: Any, after: _Place) -> None:
        self._pipeline = pipeline
        self._before = before
        self._given = plain(given)
        self._after = after

    def joint(self) -> tuple[Joint, Bindings]:
        after = self._after
        if after.named_only:
            self._refuse(f"takes {after.named_only[0]!r} by name only, and a pipeline gives values by position")
        passing, bound = self._passing()
        return Joint(self._before.name, after.name, passing, after.required, after.takes), bound

    def _passing(self) -> tuple[Passing, Bindings]:
        given, after = self._given, self._after
        if given in (Any, Never, NoReturn) or (
            isinstance(given, TypeVar) and given.__bound__ is None and not given.__constraints__
        ):
            return Passing.AS_IT_IS, Bindings()
        if given is type(None) and not after.required:
            return Passing.NOTHING, Bindings()
        ways = [(Passing.WHOLE, self._whole)]
        if self._is_tuple():
            # A step with several parameters gets the items, if they fit; a step with one gets the tuple, if that fits.
            ways.insert(1 if after.takes == 1 else 0, (Passing.ITEMS, self._items))
        problems = []
        for passing, check in ways:
            bound = Bindings()
            problem = check(bound)
            if not problem:
                return passing, bound
            problems.append(problem)
        return self._refuse(problems[0])

    def _is_tuple(self) -> bool:
        return all(item_of_any_tuple(one) is not None for one in choices(self._given) or (self._given,))

    def _whole(self, bound: Bindings) -> str:
        """What is wrong with the value as it is; "" when it fits."""
        after = self._after
        if not after.has_room_for(1):
            return f"takes {_range(after.required, after.takes)}{self._of_names()}"
        return self._misfit(self._given, after.parameter(0), bound)

    def _items(self, bound: Bindings) -> str:
        after = self._after
        for choice in choices(self._given) or (self._given,):
            items = items_of_tuple(choice)
            if items is None:
                if after.takes is not None and after.takes < 2:
                    return f"takes {_range(after.required, after.takes)}{self._of_names()}"
                # How many there are is seen each time.
                items = (item_of_any_tuple(choice),) * (len(after.parameters) + (after.takes is None))
            elif not after.has_room_for(len(items)):
                return f"takes {_range(after.required, after.takes)}{self._of_names()}"
            for place, item in enumerate(items):
                problem = self._misfit(item, after.parameter(place), bound)
                if problem:
                    return f"{problem}, which gets item {place + 1}"
        return ""

    def _misfit(self, given: Any, parameter: Parameter, bound: Bindings) -> str:
        return "" if fits(given, parameter.hint, bound) else f"takes {named(parameter.hint)} as {parameter.name!r}"

    def _of_names(self) -> str:
        names = ", ".join(repr(one.name) for one in self._after.parameters)
        return f" ({names})" if names else ""

    def _refuse(self, problem: str) -> Never:
        first, second = self._before.name, self._after.name
        returned = "nothing" if self._given is type(None) else named(self._given)
        raise IncompatibleSteps(
            self._pipeline,
            first=first,
            second=second,
            reason=f"step {first} returns {returned}, and step {second} {problem}",
        )


def _values(count: int) -> str:
    return {0: "nothing", 1: "1 value"}.get(count, f"{count} values")


def _range(required: int, takes: int | None) -> str:
    if takes is None:
        return f"at least {_values(required)}" if required else "any number of values"
    return _values(takes) if required == takes else f"{required} to {_values(takes)}"
