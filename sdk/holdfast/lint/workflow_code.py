"""Which code of a module runs as workflow code: workflow functions, and what they use of the same module."""

import ast
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from holdfast.lint.modules import Role, SourceModule, SourceTree
from holdfast.lint.scopes import FUNCTIONS, FunctionNode, NameScope, children_of

_AWAY = {
    "holdfast.inline": 1,
    "asyncio.to_thread": 0,
}
"""Calls that have a function executed elsewhere, and the place of that function among their arguments."""


class Place(NamedTuple):
    """A node of workflow code, with the scope that its names are looked up in."""

    node: ast.AST
    scope: NameScope
    is_unguarded: bool


class WorkflowCode(NamedTuple):
    """One function that runs as workflow code, with all that is in its body.

    workflow: the name of the function that is decorated as a workflow. is_async: whether calls in it are awaited.
    parents: of the nodes in its body.
    """

    function: FunctionNode
    scope: NameScope
    workflow: str
    is_workflow: bool
    places: list[Place]
    parents: dict[ast.AST, ast.AST]

    @property
    def is_async(self) -> bool:
        return isinstance(self.function, ast.AsyncFunctionDef)

    @property
    def where(self) -> str:
        """For people: where a call stands."""
        if self.is_workflow:
            return f"in workflow {self.workflow}"
        return f"in {self.function.name}, which workflow {self.workflow} uses"


def workflow_code(module: SourceModule, tree: SourceTree) -> list[WorkflowCode]:
    """All workflow code of a module, each function once.

    A function of the module is workflow code when workflow code names it, unless it is a step or a workflow itself,
    or is given to what executes it elsewhere (`holdfast.inline`).
    """
    scopes = dict[FunctionNode, NameScope]()
    roles = dict[FunctionNode, Role | None]()
    for function, scope in module.functions:
        scopes[function] = scope
        assert scope.parent is not None
        roles[function] = tree.decorated_as(function, scope.parent, module) if function.decorator_list else None
    for function in _made_workflows(module, tree):
        roles[function] = "workflow"

    found = dict[FunctionNode, WorkflowCode]()
    # What is used within `with unguarded():` alone comes last: whatever is used elsewhere too, is guarded.
    waiting = deque((function, function.name, False) for function, role in roles.items() if role == "workflow")
    while waiting:
        function, workflow, is_unguarded = waiting.popleft()
        if function in found:
            continue
        scope = scopes[function]
        code = WorkflowCode(function, scope, workflow, roles[function] == "workflow", [], {})
        found[function] = code
        for place in _places(code, module, is_unguarded):
            code.places.append(place)
            used = _used(place)
            if used is None or roles.get(used) is not None:
                continue
            if place.is_unguarded:
                waiting.append((used, workflow, True))
            else:
                waiting.appendleft((used, workflow, False))
    return sorted(found.values(), key=lambda code: code.function.lineno)


def _made_workflows(module: SourceModule, tree: SourceTree) -> Iterator[FunctionNode]:
    """The functions that the module makes workflows of by a call: `order = workflow(_order)`."""
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call) and statement.value.args:
            found = module.scope.function(statement.value.args[0])
            if found is not None and tree.role(statement.value, module.scope, module) == "workflow":
                yield found[0]


def _used(place: Place) -> FunctionNode | None:
    node = place.node
    if isinstance(node, FUNCTIONS) and node.decorator_list:
        return node  # a handler, which its decorator has given to the run
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        found = place.scope.function(node)
        return None if found is None else found[0]
    return None


def _places(code: WorkflowCode, module: SourceModule, is_unguarded: bool) -> Iterator[Place]:
    """The nodes of a function's body, in the order of the source; of the functions in it only their definition."""
    waiting: list[Place] = [Place(child, code.scope, is_unguarded) for child in reversed(code.function.body)]
    code.parents.update((child, code.function) for child in code.function.body)
    while waiting:
        place = waiting.pop()
        yield place
        node, scope, is_unguarded = place
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            continue
        if isinstance(node, ast.Lambda):
            scope = NameScope(node, scope, module.directory)
        children = children_of(node)
        code.parents.update([(child, node) for child in children])
        away: ast.AST | None = None
        inside: tuple[ast.stmt, ...] = ()
        match node:
            case ast.With() if any(_is_unguarded(item.context_expr, scope) for item in node.items):
                inside = tuple(node.body)
            case ast.Call():
                away = _function_for_elsewhere(node, scope)
        waiting.extend(
            Place(child, scope, is_unguarded or child in inside) for child in reversed(children) if child is not away
        )


def _is_unguarded(expression: ast.expr, scope: NameScope) -> bool:
    return isinstance(expression, ast.Call) and scope.dotted(expression.func) == "holdfast.unguarded"


def _function_for_elsewhere(call: ast.Call, scope: NameScope) -> ast.expr | None:
    if isinstance(call.func, ast.Attribute) and call.func.attr == "run_in_executor":
        place: int | None = 1
    else:
        place = _AWAY.get(scope.dotted(call.func) or "")
    return call.args[place] if place is not None and len(call.args) > place else None
