"""How a step or workflow can be called: parameters, their types, binding and reading of arguments.

Built once per function; binding and reading are on the hot path. Never imports user modules and never calls user code.
"""

import builtins
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Never, NoReturn, get_args, get_origin, get_type_hints

from holdfast.definitions.context import Context
from holdfast.errors import ArgumentsRejected, CodecMissing
from holdfast.hints.refusals import HopelessHint, UnknownYet, is_misfit, problem_of
from holdfast.hints.value_types import UNDECLARED, ValueType, compiled, refusing

if TYPE_CHECKING:
    from holdfast.journal import Arguments


class ParameterKind(Enum):
    """How a parameter can be given."""

    EITHER = 1
    POSITIONAL_ONLY = 2
    NAMED_ONLY = 3


@dataclass(slots=True, frozen=True)
class Parameter:
    """One parameter. `default` means something only where `required` is False."""

    name: str
    kind: ParameterKind
    required: bool
    hint: Any
    default: Any = None
    type: ValueType = UNDECLARED


@dataclass(slots=True, frozen=True)
class _Resolved:
    """What needs the type hints. `positional` and `named` leave the context out."""

    parameters: tuple[Parameter, ...]
    positional: tuple[Parameter, ...]
    by_name: Mapping[str, Parameter]
    required: frozenset[str]
    positional_required: int
    takes_positional_alone: bool
    positional_types: tuple[ValueType, ...]
    result: ValueType
    extra_positional: Any
    extra_positional_type: ValueType
    extra_named: Any
    extra_named_type: ValueType
    context_parameter: str | None
    context_index: int | None
    context_is_positional_only: bool


NO_EXTRA: Any = inspect.Parameter.empty
"""Stands for "takes no such arguments" in extra_positional and extra_named, where a hint would be."""

_NO_RESULT: tuple[Any, ...] = (NoReturn, Never)

_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: ParameterKind.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD: ParameterKind.EITHER,
    inspect.Parameter.KEYWORD_ONLY: ParameterKind.NAMED_ONLY,
}


class CallSignature:
    """The signature of a step or workflow, without the parameter that takes the context.

    Type hints that cannot be resolved where the function is defined are tried again at first use, when the
    rest of its module exists; what is still unknown then counts as Any.

    Each hint is compiled once, for this signature: how a value is read depends on nothing else that the process has
    done.
    """

    __slots__ = ("_function", "_now", "_other_hints", "_signature")

    def __init__(
        self,
        function: Callable[..., Any],
        signature: inspect.Signature,
        other_hints: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """other_hints: of parameters, in the place of those that are annotated."""
        self._function = function
        self._signature = signature
        self._other_hints = other_hints
        self._now: _Resolved | None = None

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "CallSignature":
        """Reads the signature.

        Raises ValueError or TypeError when the callable has none, HopelessHint naming the parameter, or the
        result, that can never be stored and read again as it is annotated.
        """
        made = cls(function, inspect.signature(function))
        if made.is_known():
            made.check_annotations()
        return made

    def is_known(self) -> bool:
        """True when every hint can be resolved, now or since it was tried last."""
        if self._now is None:
            hints = _hints_if_known(self._function)
            if hints is not None:
                try:
                    self._now = _resolve(self._signature, {**hints, **self._other_hints})
                except UnknownYet:
                    return False
        return self._now is not None

    def with_hints(self, hints: Mapping[str, Any]) -> "CallSignature":
        """The same signature with other hints for some of its parameters."""
        return CallSignature(self._function, self._signature, hints)

    def with_default(self, name: str, default: Any) -> "CallSignature":
        """The same signature with another default for one of its parameters."""
        changed = self._signature.parameters[name].replace(default=default)
        parameters = [changed if one.name == name else one for one in self._signature.parameters.values()]
        return CallSignature(self._function, self._signature.replace(parameters=parameters), self._other_hints)

    def without_context(self) -> "CallSignature":
        """The same signature, without the parameter that takes the context."""
        parameters = [one for one in self._signature.parameters.values() if one.name != self.context_parameter]
        return CallSignature(self._function, self._signature.replace(parameters=parameters), self._other_hints)

    def check_annotations(self) -> None:
        """Raises HopelessHint as `of` does, now also for what was unknown where the function was defined."""
        resolved = self._resolved()
        # What has a default need never be given. What is never returned needs no result.
        needed = [(f"parameter {one.name!r} is", one.type) for one in resolved.parameters if one.required]
        for words, found in [*needed, ("its result is", resolved.result)]:
            if found.problem and found.hint not in _NO_RESULT:
                raise HopelessHint(f"{words} annotated {found.name}: {found.problem}")

    def prepare(self) -> None:
        """Compiles the hints that wait for their first value."""
        resolved = self._resolved()
        kinds = (one.type for one in resolved.parameters)
        for found in (*kinds, resolved.extra_positional_type, resolved.extra_named_type, resolved.result):
            found.prepare()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters a caller can fill, in order."""
        return self._resolved().parameters

    @property
    def positional(self) -> tuple[Parameter, ...]:
        """Those of them that can be given by position."""
        return self._resolved().positional

    @property
    def by_name(self) -> Mapping[str, Parameter]:
        """All of them by name."""
        return self._resolved().by_name

    @property
    def result(self) -> ValueType:
        """The type of the result."""
        return (self._now or self._resolved()).result

    @property
    def extra_positional(self) -> Any:
        """The hint of `*args`, or NO_EXTRA."""
        return self._resolved().extra_positional

    @property
    def extra_named(self) -> Any:
        """The hint of `**kwargs`, or NO_EXTRA."""
        return self._resolved().extra_named

    @property
    def context_parameter(self) -> str | None:
        """The parameter annotated Context[...], which the worker fills; None when there is none."""
        return self._resolved().context_parameter

    def bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, target: str
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Checks that the arguments fit and returns them as they were given.

        Raises ArgumentsRejected naming `target` and the parameter.
        """
        resolved = self._now or self._resolved()
        if (
            not kwargs
            and resolved.takes_positional_alone
            and resolved.positional_required <= len(args) <= len(resolved.positional)
        ):
            return args, kwargs
        _check(resolved, args, kwargs, target)
        return args, kwargs

    def bind_with_defaults(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, target: str
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call in its one normal form: defaults filled in, by position whatever can be.

        Raises ArgumentsRejected naming `target` and the parameter.
        """
        resolved = self._resolved()
        self.bind(args, kwargs, target=target)
        rest = dict(kwargs)
        positional = list(args[: len(resolved.positional)])
        for parameter in resolved.positional[len(positional) :]:
            by_name = parameter.kind is not ParameterKind.POSITIONAL_ONLY and parameter.name in rest
            positional.append(rest.pop(parameter.name) if by_name else parameter.default)
        for parameter in resolved.parameters:
            if parameter.kind is ParameterKind.NAMED_ONLY:
                rest.setdefault(parameter.name, parameter.default)
        return (*positional, *args[len(resolved.positional) :]), rest

    def bound_by_name(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, target: str) -> dict[str, Any]:
        """Every parameter with its value, defaults filled in; raises as `bind` does."""
        positional, named = self.bind_with_defaults(args, kwargs, target=target)
        names = (parameter.name for parameter in self.positional)
        return {**dict(zip(names, positional, strict=False)), **named}

    def types_of(self, args: tuple[Any, ...]) -> Iterable[ValueType]:
        """The types of arguments that are given by position and that `bind` has taken, in order."""
        resolved = self._now or self._resolved()
        types = resolved.positional_types
        more = len(args) - len(types)
        return types if more <= 0 else (*types, *[resolved.extra_positional_type] * more)

    def type_of(self, name: str) -> ValueType:
        """The type of an argument that is given by name."""
        resolved = self._resolved()
        parameter = resolved.by_name.get(name)
        return resolved.extra_named_type if parameter is None else parameter.type

    def read(self, arguments: "Arguments", *, target: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as they are annotated, without the context.

        Coerces as pydantic does: "3" fits an int, "x" does not. Raises ArgumentsRejected naming `target` and the
        parameter; a caller that only checks whether they fit drops what it gets.
        """
        encoded, by_name = arguments.positional, arguments.named
        resolved = self._now or self._resolved()
        if (
            not by_name
            and resolved.takes_positional_alone
            and resolved.positional_required <= len(encoded) <= len(resolved.positional)
        ):
            try:
                return tuple(
                    [kind.read(one) for one, kind in zip(encoded, resolved.positional_types, strict=False)]
                ), {}
            except Exception:  # noqa: BLE001, S110 - said below, with the name of the parameter
                pass
        self.bind(encoded, by_name, target=target)
        args = []
        for place, (payload, found) in enumerate(zip(encoded, self.types_of(encoded), strict=False)):
            try:
                args.append(found.read(payload))
            except CodecMissing:
                raise
            except Exception as error:
                raise self._misfit(target, self.name_at(place), found, error) from error
        kwargs = {}
        for name, payload in by_name.items():
            found = self.type_of(name)
            try:
                kwargs[name] = found.read(payload)
            except CodecMissing:
                raise
            except Exception as error:
                raise self._misfit(target, name, found, error) from error
        return tuple(args), kwargs

    def name_at(self, place: int) -> str:
        """What the argument at this place, from 0, is called in errors."""
        positional = self.positional
        return positional[place].name if place < len(positional) else f"number {place + 1}"

    @staticmethod
    def _misfit(target: str, name: str, found: ValueType, error: Exception) -> ArgumentsRejected:
        words = "does not fit" if is_misfit(error) else f"cannot be read as {found.name}"
        return ArgumentsRejected(target, parameter=name, reason=f"{words}: {problem_of(error)}")

    def with_context(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], context: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call with `context` where the function expects it; unchanged when it expects none."""
        resolved = self._resolved()
        name, index = resolved.context_parameter, resolved.context_index
        if name is None:
            return args, dict(kwargs)
        # By position when later arguments are given by position; a name would then collide with one of them.
        if index is not None and (index < len(args) or (index == len(args) and resolved.context_is_positional_only)):
            return (*args[:index], context, *args[index:]), dict(kwargs)
        return args, {**kwargs, name: context}

    def _resolved(self) -> _Resolved:
        if self._now is None:
            hints = {**hints_as_known(self._function), **self._other_hints}
            self._now = _resolve(self._signature, hints, at_last=True)
        return self._now


def _check(resolved: _Resolved, args: tuple[Any, ...], kwargs: Mapping[str, Any], target: str) -> None:
    names = ", ".join(resolved.by_name) or "none"
    if len(args) > len(resolved.positional) and resolved.extra_positional is NO_EXTRA:
        position = len(resolved.positional) + 1
        reason = f"is one too many: at most {position - 1} can be given by position (parameters: {names})"
        raise ArgumentsRejected(target, parameter=f"number {position}", reason=reason)
    given = set[str]()
    for parameter in resolved.positional[: len(args)]:
        given.add(parameter.name)
        if parameter.name in kwargs and parameter.kind is not ParameterKind.POSITIONAL_ONLY:
            raise ArgumentsRejected(target, parameter=parameter.name, reason="is given twice, by position and by name")
    for name in kwargs:
        known = resolved.by_name.get(name)
        if known is not None and known.kind is not ParameterKind.POSITIONAL_ONLY:
            given.add(name)
        elif resolved.extra_named is NO_EXTRA or name == resolved.context_parameter:
            raise ArgumentsRejected(target, parameter=name, reason=_why_not_by_name(resolved, known, name, names))
    missing = [parameter.name for parameter in resolved.parameters if parameter.name in resolved.required - given]
    if missing:
        raise ArgumentsRejected(target, parameter=missing[0], reason="is missing")


def _why_not_by_name(resolved: _Resolved, known: Parameter | None, name: str, names: str) -> str:
    if name == resolved.context_parameter:
        return "is filled in by the worker and cannot be given"
    if known is not None:
        return "can be given by position only"
    return f"is not a parameter (parameters: {names})"


def _resolve(signature: inspect.Signature, hints: Mapping[str, Any], *, at_last: bool = False) -> _Resolved:
    """at_last: whatever is unknown stays so. Otherwise raises UnknownYet."""
    parameters: list[Parameter] = []
    extra_positional = extra_named = NO_EXTRA
    context: inspect.Parameter | None = None
    context_index: int | None = None
    for parameter in signature.parameters.values():
        hint = hints.get(parameter.name, Any)
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            extra_positional = hint
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            extra_named = hint
        elif context is None and _is_context(hint):
            context = parameter
            context_index = None if parameter.kind is inspect.Parameter.KEYWORD_ONLY else len(parameters)
        else:
            required = parameter.default is inspect.Parameter.empty
            default = None if required else parameter.default
            kind = _KINDS[parameter.kind]
            parameters.append(Parameter(parameter.name, kind, required, hint, default, _type(hint, at_last=at_last)))
    positional = tuple(parameter for parameter in parameters if parameter.kind is not ParameterKind.NAMED_ONLY)
    return _Resolved(
        parameters=tuple(parameters),
        positional=positional,
        by_name={parameter.name: parameter for parameter in parameters},
        required=frozenset(parameter.name for parameter in parameters if parameter.required),
        positional_required=sum(parameter.required for parameter in positional),
        takes_positional_alone=not any(p.required for p in parameters if p.kind is ParameterKind.NAMED_ONLY),
        positional_types=tuple(parameter.type for parameter in positional),
        result=_type(_awaited(hints.get("return", Any)), at_last=at_last),
        extra_positional=extra_positional,
        extra_positional_type=_type(extra_positional, at_last=at_last),
        extra_named=extra_named,
        extra_named_type=_type(extra_named, at_last=at_last),
        context_parameter=context.name if context else None,
        context_index=context_index,
        context_is_positional_only=context is not None and context.kind is inspect.Parameter.POSITIONAL_ONLY,
    )


def _type(hint: Any, *, at_last: bool) -> ValueType:
    if hint is NO_EXTRA:
        return UNDECLARED
    try:
        return compiled(hint)
    except HopelessHint as error:
        return refusing(hint, str(error))
    except UnknownYet as error:
        if not at_last:
            raise
        return refusing(hint, str(error))


def is_awaitable_hint(hint: Any) -> bool:
    """True for `Awaitable[int]`, `Coroutine[Any, Any, int]` and the like."""
    origin = get_origin(hint) or hint
    return isinstance(origin, type) and issubclass(origin, Awaitable)


def _awaited(hint: Any) -> Any:
    """What is recorded of a result with this hint: of an awaitable, what it gives."""
    if not is_awaitable_hint(hint):
        return hint
    return get_args(hint)[-1] if get_args(hint) else Any


def _is_context(hint: Any) -> bool:
    return hint is Context or get_origin(hint) is Context


def _plain_function(function: Callable[..., Any]) -> Any:
    """What carries the annotations: under functools.partial, wraps and callable objects."""
    while hasattr(function, "func"):
        function = function.func
    function = inspect.unwrap(function)
    return function if hasattr(function, "__annotations__") else type(function).__call__


def _hints_if_known(function: Callable[..., Any]) -> dict[str, Any] | None:
    plain = _plain_function(function)
    try:
        return get_type_hints(plain, localns=_enclosing_locals(plain), include_extras=True)
    except Exception:  # noqa: BLE001 - evaluating a user's annotation can raise anything; see hints_as_known
        return None


def hints_as_known(function: Callable[..., Any]) -> dict[str, Any]:
    """The hints that can be resolved one by one; the others are left out."""
    plain = _plain_function(function)
    known = _hints_if_known(function)
    if known is not None:
        return known
    return {
        name: hint
        for name, annotation in plain.__annotations__.items()
        if (hint := _one_hint(annotation, plain.__globals__)) is not None
    }


def _one_hint(annotation: Any, names: Mapping[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return type(None) if annotation is None else annotation
    try:
        hint = eval(annotation, {**vars(builtins), **names})
    except Exception:  # noqa: BLE001 - an annotation that exists for type checkers only
        # Context[Deps] with Deps imported under TYPE_CHECKING still asks for the context.
        return Context if annotation.partition("[")[0].rpartition(".")[2] == Context.__name__ else None
    return type(None) if hint is None else hint


def _enclosing_locals(function: Any) -> dict[str, Any] | None:
    """The local names of the functions around `function`, which postponed annotations may use."""
    outer = getattr(function, "__qualname__", "").rpartition(".<locals>.")[0]
    if not outer:
        return None
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_qualname == outer and frame.f_globals is function.__globals__:
            return dict(frame.f_locals)
        frame = frame.f_back
    return None
