"""Variables of a module that code changes while runs use them."""

import ast
from collections.abc import Iterator

from holdfast.lint.calls import Found
from holdfast.lint.modules import SourceModule
from holdfast.lint.rules import BY_CODE
from holdfast.lint.scopes import FUNCTIONS, NameScope, Variable, children_of
from holdfast.lint.workflow_code import WorkflowCode

_RULE = BY_CODE["HF203"]
_CHANGE = frozenset(
    {
        "append",
        "extend",
        "insert",
        "remove",
        "pop",
        "clear",
        "sort",
        "reverse",
        "add",
        "discard",
        "update",
        "setdefault",
    }
    | {"popitem", "appendleft", "popleft", "extendleft", "rotate", "subtract", "move_to_end"}
    | {"difference_update", "intersection_update", "symmetric_difference_update"}
)
_MADE_MUTABLE = frozenset(
    {f"builtins.{name}" for name in ("list", "dict", "set", "bytearray")}
    | {f"collections.{name}" for name in ("defaultdict", "deque", "Counter", "OrderedDict")}
    | {"itertools.count"}
)


class ModuleVariables:
    """The variables of one module, and which of them its functions change."""

    def __init__(self, module: SourceModule) -> None:
        self._top = module.scope
        self._mutable = {
            name
            for name, meaning in module.scope.names.items()
            if isinstance(meaning, Variable) and any(_is_mutable(value, module.scope) for value in meaning.values)
        }
        self._changed = set[str]()
        for function, scope in module.functions:
            if scope.globals or not self._mutable.isdisjoint(scope.used):
                changes = [self._changed_by(node, scope) for node in _own_nodes(function)]
                self._changed.update([name for name in changes if name is not None])

    def misused(self, code: WorkflowCode) -> Iterator[Found]:
        """Where workflow code changes a variable of a module, or reads one that functions change."""
        reported = set[str]()
        for node, scope, _ in code.places:
            name = self._changed_by(node, scope) or _changed_elsewhere(node, scope)
            if name is None and isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                name = node.id if node.id in self._changed and self._is_of_module(node.id, scope) else None
            if name is not None and name not in reported:
                reported.add(name)
                yield _RULE, _place_of(node), name

    def _changed_by(self, node: ast.AST, scope: NameScope) -> str | None:
        """The variable that a node changes: `global name; name = 1`, `name[key] = 1`, `name.append(1)`."""
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                return name if name in scope.globals and name in self._top.names else None
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                return name if self._is_mutable_here(name, scope) else None
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in _CHANGE:
                return name if self._is_mutable_here(name, scope) else None
            case ast.Call(func=ast.Name(id="next"), args=[ast.Name(id=name)]):
                return name if self._is_mutable_here(name, scope) else None
        return None

    def _is_mutable_here(self, name: str, scope: NameScope) -> bool:
        return name in self._mutable and self._is_of_module(name, scope)

    def _is_of_module(self, name: str, scope: NameScope) -> bool:
        found = scope.meaning(name)
        return found is not None and found[1] is self._top


def _changed_elsewhere(node: ast.AST, scope: NameScope) -> str | None:
    """What is assigned to in another module: `config.rate = 2`."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del)):
        dotted = scope.dotted(node)
        return None if dotted is None else dotted.rpartition("|")[2]
    return None


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    waiting = children_of(function)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.Lambda, ast.ClassDef)):
            waiting.extend(children_of(node))


def _is_mutable(value: ast.expr, scope: NameScope) -> bool:
    if isinstance(value, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)):
        return True
    if not isinstance(value, ast.Call):
        return False
    made = value.func.value if isinstance(value.func, ast.Subscript) else value.func
    return scope.dotted(made) in _MADE_MUTABLE


def _place_of(node: ast.AST) -> ast.expr:
    assert isinstance(node, ast.expr)
    return node
