"""Calls that stand where their result is meant, or nowhere, and are never awaited."""

import ast
from collections.abc import Iterator

from holdfast.errors import NotAwaited
from holdfast.lint.calls import Found
from holdfast.lint.modules import SourceModule, SourceTree
from holdfast.lint.rules import BY_CODE
from holdfast.lint.scopes import NameScope
from holdfast.lint.workflow_code import WorkflowCode

_RULE = BY_CODE["HF201"]
_PRIMITIVES = frozenset(
    f"holdfast.{name}" for name in ("sleep", "receive", "shield", "wait_until", "inline", "parallel")
)
_IN_PLAIN_CODE = _RULE._replace(instead=NotAwaited.IN_PLAIN_CODE)
_OF_ASYNCIO = frozenset(f"asyncio.{name}" for name in ("sleep", "wait", "wait_for", "gather", "as_completed", "run"))
"""What plain `def` code can do nothing with."""
_ASYNCIO = frozenset(f"asyncio.{name}" for name in ("sleep", "wait", "wait_for"))
_TAKE_VALUES = frozenset(
    f"builtins.{name}"
    for name in (
        *("abs", "all", "any", "bool", "bytes", "dict", "enumerate", "float", "frozenset", "int", "isinstance", "len"),
        *("max", "min", "print", "range", "repr", "reversed", "round", "sorted", "str", "sum", "zip"),
    )
)
"""Builtins whose arguments are values; a list or tuple may well hold calls that are awaited later."""
_OF_COROUTINES = frozenset({"send", "throw", "close", "cr_frame", "cr_await", "cr_code", "cr_running", "__await__"})


def unawaited(code: WorkflowCode, module: SourceModule, tree: SourceTree) -> Iterator[Found]:
    """The calls in an async function that are thrown away, or used as if they were their results.

    In a plain `def` workflow: what gives something to await all the same.
    """
    if not code.is_async:
        if code.is_workflow:  # a plain helper may return calls to who awaits them
            yield from _awaitable_in_plain_code(code, module, tree)
        return
    names = dict[str, tuple[ast.Call, str]]()
    for node, scope, _ in code.places:
        if isinstance(node, ast.Call):
            call = _durable_call(node, scope, module, tree)
            if call is None:
                continue
            if _is_misplaced(node, scope, code, module, tree):
                yield _RULE, node, call
            parent = code.parents[node]
            match parent:
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    names[name] = node, call
    if names:
        yield from _unawaited_names(names, code, module, tree)


def _awaitable_in_plain_code(code: WorkflowCode, module: SourceModule, tree: SourceTree) -> Iterator[Found]:
    for node, scope, _ in code.places:
        if not isinstance(node, ast.Call):
            continue
        callee = node.func
        dotted = scope.dotted(callee)
        found = scope.function(callee)
        if dotted in _OF_ASYNCIO:
            yield _IN_PLAIN_CODE, node, f"{dotted}()"
        elif isinstance(callee, ast.Attribute) and callee.attr == "call":
            if tree.role(callee.value, scope, module) in ("step", "workflow") and _is_misplaced(
                node, scope, code, module, tree
            ):
                yield _IN_PLAIN_CODE, node, f"{ast.unparse(callee)}()"
        elif (
            found is not None
            and isinstance(found[0], ast.AsyncFunctionDef)
            and not found[0].decorator_list
            and _is_misplaced(node, scope, code, module, tree)
        ):
            yield _IN_PLAIN_CODE, node, f"{found[0].name}()"


def _unawaited_names(
    names: dict[str, tuple[ast.Call, str]], code: WorkflowCode, module: SourceModule, tree: SourceTree
) -> Iterator[Found]:
    """Calls that got a name by which nobody awaits them: no use of the name could be that."""
    uses: dict[str, list[bool]] = {name: [] for name in names}
    assigned = dict.fromkeys(names, 0)
    for node, scope, _ in code.places:
        if isinstance(node, ast.Name) and node.id in names:
            if isinstance(node.ctx, ast.Store):
                assigned[node.id] += 1
            else:
                uses[node.id].append(_is_misplaced(node, scope, code, module, tree))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for inner in ast.walk(node):  # a function in it may await it
                if isinstance(inner, ast.Name) and inner.id in names:
                    uses[inner.id].append(False)
    for name, (node, call) in names.items():
        if assigned[name] == 1 and all(uses[name]):
            yield _RULE, node, call


def _durable_call(node: ast.Call, scope: NameScope, module: SourceModule, tree: SourceTree) -> str | None:
    """The name of what is called, when its result has to be awaited."""
    callee = node.func
    if isinstance(callee, ast.Attribute) and callee.attr == "map":
        return f"{ast.unparse(callee)}()" if tree.role(callee.value, scope, module) == "step" else None
    if tree.role(callee, scope, module) in ("step", "workflow"):
        shown = callee
        while isinstance(shown, ast.Call) and isinstance(shown.func, ast.Attribute):
            shown = shown.func.value  # without its options
        return f"{ast.unparse(shown)}()"
    found = scope.function(callee)
    if found is not None and isinstance(found[0], ast.AsyncFunctionDef) and not found[0].decorator_list:
        is_generator = any(isinstance(one, (ast.Yield, ast.YieldFrom)) for one in ast.walk(found[0]))
        return None if is_generator else f"{found[0].name}()"
    dotted = scope.dotted(callee)
    return f"{dotted}()" if dotted in _PRIMITIVES or dotted in _ASYNCIO else None


def _is_misplaced(node: ast.expr, scope: NameScope, code: WorkflowCode, module: SourceModule, tree: SourceTree) -> bool:
    """Whether what is here is thrown away, or used as a value."""
    parent = code.parents[node]
    match parent:
        case ast.Expr() | ast.BinOp() | ast.Compare() | ast.UnaryOp() | ast.FormattedValue():
            return True
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.Assert(test=test):
            return test is node
        case ast.For(iter=iterated) | ast.comprehension(iter=iterated):
            return iterated is node
        case ast.Subscript(value=value):
            return value is node
        case ast.Attribute(attr=attribute):
            return attribute not in _OF_COROUTINES
        case ast.Return():
            return code.is_workflow
        case ast.Call(func=callee) if callee is not node:
            return _takes_values(callee, scope, module, tree)
        case ast.keyword():
            call = code.parents[parent]
            return isinstance(call, ast.Call) and _takes_values(call.func, scope, module, tree)
    return False


def _takes_values(callee: ast.expr, scope: NameScope, module: SourceModule, tree: SourceTree) -> bool:
    if scope.dotted(callee) in _TAKE_VALUES:
        return True
    return tree.role(callee, scope, module) in ("step", "workflow")
