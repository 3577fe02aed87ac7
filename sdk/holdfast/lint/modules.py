"""Modules as they are parsed, and what the names in them are: steps, workflows, apps. No module is imported.

What a module imports from files beside it is looked up there, also when those files are not among the checked ones:
a step is a step wherever its file stands.
"""

import ast
import sys
from pathlib import Path
from typing import Literal

from holdfast.lint.scopes import FUNCTIONS, FunctionNode, ImportedName, NameScope, Variable, functions_in

Role = Literal["step", "workflow", "app", "graph"]
"""What a name stands for, when it is one of ours."""

_HOPS_MAX = 8
"""Modules that pass a name on, before a circle is assumed."""
_ELSEWHERE = sys.stdlib_module_names | {"holdfast", "builtins"}
_DECORATORS: dict[str, Role] = {
    "holdfast.step": "step",
    "holdfast.workflow": "workflow",
    "holdfast.blocking.step": "step",
    "holdfast.blocking.workflow": "workflow",
}
_OF_APPS: dict[tuple[Role, str], Role] = {
    ("app", "step"): "step",
    ("app", "workflow"): "workflow",
    ("graph", "task"): "step",
}
_MADE_BY: dict[str, Role] = {
    **{f"holdfast{path}.App": "app" for path in ("", ".authoring.apps")},
    **{f"holdfast{path}.Graph": "graph" for path in ("", ".graphs")},
}


class SourceModule:
    """One parsed file. scope: of its top level. directory: what relative imports begin at."""

    __slots__ = ("_functions", "directory", "lines", "path", "scope", "tree")

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self.tree = ast.parse(source, str(path))
        self.lines = source.splitlines()
        self.directory = path.parent.absolute()
        self.scope = NameScope(self.tree, None, self.directory)
        self._functions: list[tuple[FunctionNode, NameScope]] | None = None

    @property
    def functions(self) -> list[tuple[FunctionNode, NameScope]]:
        """All functions of the module, each with the scope of its body."""
        if self._functions is None:
            self._functions = list(functions_in(self.scope, self.directory))
        return self._functions


class SourceTree:
    """The modules that are known, by path; finds what a name of one means in another."""

    def __init__(self) -> None:
        self._modules: dict[Path, SourceModule | None] = {}
        self._roots: dict[Path, tuple[Path, ...]] = {}
        self._roles: dict[tuple[str, Path], Role | None] = {}

    def add(self, module: SourceModule) -> None:
        """Makes a module known, so that it is not parsed again."""
        self._modules[module.path.absolute()] = module

    def role(self, expression: ast.expr, scope: NameScope, module: SourceModule, hops: int = 0) -> Role | None:
        """What an expression stands for: `charge`, `steps.charge`, `charge.with_options(retries=1)`, `app`."""
        if hops > _HOPS_MAX:
            return None
        match expression:
            case ast.Call(func=ast.Attribute(attr="with_options", value=callee)):
                return self.role(callee, scope, module, hops + 1)
            case ast.Call():
                return self._made(expression, scope, module, hops + 1)
            case ast.Name(id=name):
                found = scope.meaning(name)
                if found is not None and not isinstance(found[0], ImportedName):
                    return self._role_of(found[0], found[1], module, hops + 1)
            case ast.Attribute():
                pass
            case _:
                return None
        dotted = scope.dotted(expression)
        return None if dotted is None else self._role_of_dotted(dotted, module, hops + 1)

    def decorated_as(
        self, function: FunctionNode, around: NameScope, module: SourceModule, hops: int = 0
    ) -> Role | None:
        """What the decorators of a function make of it. around: the scope in which it is defined."""
        for decorator in function.decorator_list:
            maker = decorator.func if isinstance(decorator, ast.Call) else decorator
            role = self._decorator(maker, around, module, hops)
            if role is not None:
                return role
        return None

    def _decorator(self, maker: ast.expr, scope: NameScope, module: SourceModule, hops: int) -> Role | None:
        """What a decorator, or a call of it, makes: "step" of `holdfast.step` and of `app.step`."""
        dotted = scope.dotted(maker)
        if dotted is not None and dotted in _DECORATORS:
            return _DECORATORS[dotted]
        if isinstance(maker, ast.Attribute) and maker.attr in ("step", "workflow", "task"):
            owner = self.role(maker.value, scope, module, hops + 1)
            if owner is not None:
                return _OF_APPS.get((owner, maker.attr))
        if dotted is not None and not dotted.startswith(("holdfast.", "builtins.")):
            return self._passed_on_decorator(dotted, module, hops + 1)
        return None

    def _passed_on_decorator(self, dotted: str, module: SourceModule, hops: int) -> Role | None:
        """What a decorator makes that another module of the project has imported, or has another name for."""
        found = self._found(dotted, module) if hops <= _HOPS_MAX else None
        if found is None:
            return None
        other, name = found
        return self._decorator(ast.Name(name, ast.Load()), other.scope, other, hops)

    def _made(self, call: ast.Call, scope: NameScope, module: SourceModule, hops: int) -> Role | None:
        """What a call makes: an App, or a step of `step(function)` and `step(retries=1)(function)`."""
        dotted = scope.dotted(call.func)
        if dotted in _MADE_BY:
            return _MADE_BY[dotted]
        maker = call.func.func if isinstance(call.func, ast.Call) else call.func
        return self._decorator(maker, scope, module, hops) if call.args else None

    def _role_of(self, meaning: object, scope: NameScope, module: SourceModule, hops: int) -> Role | None:
        if isinstance(meaning, FUNCTIONS):
            return self.decorated_as(meaning, scope, module, hops)
        if isinstance(meaning, Variable) and len(meaning.values) == 1 and not meaning.is_opaque:
            return self.role(meaning.values[0], scope, module, hops)
        return None

    def _role_of_dotted(self, dotted: str, module: SourceModule, hops: int) -> Role | None:
        key = dotted, module.directory
        if key not in self._roles:
            self._roles[key] = None  # what a circle of imports finds
            found = self._found(dotted, module)
            if found is not None:
                other, name = found
                self._roles[key] = self.role(ast.Name(name, ast.Load()), other.scope, other, hops)
        return self._roles[key]

    # Where modules are

    def _found(self, dotted: str, module: SourceModule) -> tuple[SourceModule, str] | None:
        """The module that defines a dotted name, and the name that it has there."""
        directory, is_relative, rest = dotted.rpartition("|")
        parts = rest.split(".")
        if not is_relative and parts[0] in _ELSEWHERE:
            return None
        if is_relative and len(parts) == 1:
            other = self._module_at(Path(directory), [])
            return None if other is None else (other, parts[0])
        for root in (Path(directory),) if is_relative else self._roots_of(module):
            other = self._module_at(root, parts[:-1])
            if other is not None:
                return other, parts[-1]
        return None

    def _module_at(self, root: Path, parts: list[str]) -> SourceModule | None:
        place = root.joinpath(*parts)
        if parts:
            found = self._parsed(place.with_name(f"{place.name}.py"))
            if found is not None:
                return found
        return self._parsed(place / "__init__.py")

    def _parsed(self, path: Path) -> SourceModule | None:
        if path not in self._modules:
            self._modules[path] = None
            if path.is_file():
                try:
                    self._modules[path] = SourceModule(path, path.read_text(encoding="utf-8"))
                except (OSError, SyntaxError, ValueError):
                    return None  # it is reported where it is checked itself
        return self._modules[path]

    def _roots_of(self, module: SourceModule) -> tuple[Path, ...]:
        """Where the packages of a module may be found: above its own package, beside it, and here."""
        directory = module.directory
        if directory not in self._roots:
            top = directory
            while (top / "__init__.py").exists():
                top = top.parent
            self._roots[directory] = tuple(dict.fromkeys((top, directory, Path.cwd())))
        return self._roots[directory]
