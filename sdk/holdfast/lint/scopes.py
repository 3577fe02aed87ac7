"""What names mean in a module: imports, definitions and variables of each scope, as Python would look them up.

Pure: nothing is imported. A dotted name is where something comes from, as "time.time"; what comes from a relative
import begins with the directory that it is relative to, as "/src/shop|flows.charge".
"""

import ast
import builtins
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

_BUILTINS = frozenset(dir(builtins))
_PUBLIC = frozenset(
    {
        "App",
        "inline",
        "now",
        "parallel",
        "random",
        "receive",
        "shield",
        "sleep",
        "start_child",
        "step",
        "unguarded",
        "uuid4",
    }
    | {"wait_until", "workflow", "publish"}
)
"""What `from holdfast import *` brings, as far as it matters here."""
_LEAVES = frozenset({ast.Name, ast.Constant, ast.Pass, ast.Break, ast.Continue, ast.Add, ast.Eq, ast.And, ast.Or})
"""Most nodes are of these."""
_BINDING = frozenset(
    {*FUNCTIONS, ast.ClassDef, ast.Lambda, ast.Import, ast.ImportFrom, ast.Global, ast.Assign, ast.NamedExpr}
    | {ast.AnnAssign, ast.Name, ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping}
)
"""The nodes that bind or use names."""
_HOPS_MAX = 8
"""Names that stand for names, before a circle is assumed."""


class ImportedName(NamedTuple):
    """A name that an import binds, and the dotted name of what it stands for."""

    target: str


class Variable:
    """A name that is assigned to: its values, as far as they are expressions, and its annotation."""

    __slots__ = ("annotation", "is_opaque", "values")

    def __init__(self) -> None:
        self.values: list[ast.expr] = []
        self.annotation: ast.expr | None = None
        self.is_opaque = False
        """It has other values too, of a loop, an unpacking or a call."""


Meaning = ImportedName | Variable | FunctionNode | ast.ClassDef


class NameScope:
    """The names of a module, a function or a lambda."""

    __slots__ = ("globals", "names", "node", "parent", "stars", "top", "used")

    def __init__(self, node: ast.AST, parent: "NameScope | None", directory: Path) -> None:
        self.node = node
        self.parent = parent
        self.top: NameScope = self if parent is None else parent.top
        self.names: dict[str, Meaning] = {}
        self.globals: set[str] = set()
        self.used: set[str] = set()
        """What its own code names, but for that of functions in it."""
        self.stars = False
        if isinstance(node, (*FUNCTIONS, ast.Lambda)):
            self._add_parameters(node.args)
        body = getattr(node, "body", [])
        self._add_all(body if isinstance(body, list) else [body], directory)

    def meaning(self, name: str) -> "tuple[Meaning, NameScope] | None":
        """What a name means here, and in which scope it is bound; None for builtins and unknown names."""
        scope: NameScope | None = self.top if name in self.globals else self
        while scope is not None:
            found = scope.names.get(name)
            if found is not None:
                return found, scope
            scope = scope.parent
        return None

    def dotted(self, expression: ast.expr, hops: int = 0) -> str | None:
        """Where something comes from: an import, or a builtin. None for what is made here."""
        if isinstance(expression, ast.Attribute):
            owner = self.dotted(expression.value, hops)
            return None if owner is None else f"{owner}.{expression.attr}"
        if not isinstance(expression, ast.Name) or hops > _HOPS_MAX:
            return None
        found = self.meaning(expression.id)
        if found is None:
            if self.top.stars and expression.id in _PUBLIC:
                return f"holdfast.{expression.id}"
            return f"builtins.{expression.id}" if expression.id in _BUILTINS else None
        meaning, scope = found
        if isinstance(meaning, ImportedName):
            return meaning.target
        if isinstance(meaning, Variable) and not meaning.is_opaque and len(meaning.values) == 1:
            return scope.dotted(meaning.values[0], hops + 1)  # another name for it: `clock = time.time`
        return None

    def variable(self, name: str) -> "tuple[Variable, NameScope] | None":
        """The variable that a name is, and the scope of its values."""
        found = self.meaning(name)
        return (found[0], found[1]) if found is not None and isinstance(found[0], Variable) else None

    def function(self, expression: ast.expr) -> "tuple[FunctionNode, NameScope] | None":
        """The function of this module that a name stands for, and the scope in which it is defined."""
        if isinstance(expression, ast.Name):
            found = self.meaning(expression.id)
            if found is not None and isinstance(found[0], FUNCTIONS):
                return found[0], found[1]
        return None

    # How the names are collected

    def _add_parameters(self, arguments: ast.arguments) -> None:
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for one in (*given, arguments.vararg, arguments.kwarg):
            if one is not None:
                variable = self._variable(one.arg)
                variable.is_opaque = True
                variable.annotation = one.annotation

    def _variable(self, name: str) -> Variable:
        found = self.names.get(name)
        if isinstance(found, Variable):
            return found
        variable = Variable()
        if not isinstance(found, ImportedName):  # else `except ImportError: requests = None`
            self.names[name] = variable
        return variable

    def _add_all(self, body: Iterable[ast.AST], directory: Path) -> None:
        waiting = list(body)
        waiting.reverse()
        while waiting:
            node = waiting.pop()
            if node.__class__ not in _BINDING:
                waiting += children_of(node)[::-1]
                continue
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    self.names[node.name] = node
                    continue
                case ast.Lambda():
                    continue
                case ast.Import():
                    for alias in node.names:
                        # `import os.path` binds `os`, `import os.path as p` binds the module itself.
                        top = alias.name.partition(".")[0]
                        self.names[alias.asname or top] = ImportedName(alias.name if alias.asname else top)
                case ast.ImportFrom():
                    self._add_import_from(node, directory)
                case ast.Global():
                    self.globals.update(node.names)
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.NamedExpr(target=ast.Name(id=name)):
                    self._variable(name).values.append(node.value)
                    waiting.append(node.value)
                    continue
                case ast.AnnAssign(target=ast.Name(id=name)):
                    self._variable(name).annotation = node.annotation
                    if node.value is not None:
                        self._variable(name).values.append(node.value)
                        waiting.append(node.value)
                    continue
                case ast.Name(id=name, ctx=ast.Load()):
                    self.used.add(name)
                case ast.Name(id=name):
                    self._variable(name).is_opaque = True
                case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                    self._variable(name).is_opaque = True
                case ast.MatchMapping(rest=str(name)):
                    self._variable(name).is_opaque = True
            waiting += children_of(node)[::-1]
        for name in self.globals:
            self.names.pop(name, None)

    def _add_import_from(self, node: ast.ImportFrom, directory: Path) -> None:
        if node.level:
            for _ in range(node.level - 1):
                directory = directory.parent
            source = f"{directory}|{node.module or ''}"
        else:
            source = node.module or ""
        for alias in node.names:
            if alias.name == "*":
                self.stars = self.stars or source == "holdfast"
            else:
                separator = "" if source.endswith("|") else "."
                self.names[alias.asname or alias.name] = ImportedName(f"{source}{separator}{alias.name}")


def children_of(node: ast.AST) -> list[ast.AST]:
    """The parts of a node in the order of the source, without what says how a name is used; that is half of them."""
    if node.__class__ in _LEAVES:
        return []
    found = list[ast.AST]()
    for name in node._fields:
        part = getattr(node, name, None)
        if part.__class__ is list:
            found += [one for one in part if isinstance(one, ast.AST)]
        elif name != "ctx" and isinstance(part, ast.AST):
            found.append(part)
    return found


def functions_in(scope: NameScope, directory: Path) -> Iterator[tuple[FunctionNode, NameScope]]:
    """All functions below a scope, in the order of the source, each with the scope that its body looks names up in.

    Methods are among them; the names of their class are not visible in them, as in Python.
    """
    waiting: list[tuple[ast.AST, NameScope]] = [(child, scope) for child in reversed(children_of(scope.node))]
    while waiting:
        node, around = waiting.pop()
        if isinstance(node, FUNCTIONS):
            around = NameScope(node, around, directory)
            yield node, around
            children: list[ast.AST] = [*node.body]
        elif isinstance(node, ast.expr):
            continue
        else:
            children = children_of(node)
        waiting.extend([(child, around) for child in reversed(children)])
