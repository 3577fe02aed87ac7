"""The order of a set that reaches steps: another one in each process, where the set holds texts."""

import ast
from collections.abc import Iterator

from holdfast.lint.calls import Found
from holdfast.lint.rules import BY_CODE
from holdfast.lint.scopes import NameScope
from holdfast.lint.workflow_code import WorkflowCode

_RULE = BY_CODE["HF202"]
_ORDERED = frozenset(f"builtins.{name}" for name in ("list", "tuple", "enumerate", "iter"))
_UNORDERED_AGAIN = frozenset(
    f"builtins.{name}" for name in ("sorted", "set", "frozenset", "len", "sum", "min", "max", "any", "all")
)
_NAMES = frozenset({"set", "frozenset", "Set", "FrozenSet", "AbstractSet", "MutableSet"})
_OF_SETS = frozenset({"union", "intersection", "difference", "symmetric_difference"})
_OPERATORS = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)
_ADDS = frozenset({"append", "extend", "insert", "appendleft", "put_nowait"})


def unordered(code: WorkflowCode) -> Iterator[Found]:
    """Where the order of a set decides what is called, or in which order."""
    for node, scope, _ in code.places:
        match node:
            case ast.For(iter=iterated, body=body) if is_set(iterated, scope) and _decides(body):
                yield _RULE, iterated, f"for ... in {_shown(iterated)}"
            case ast.ListComp(generators=[first, *_], elt=item) | ast.GeneratorExp(generators=[first, *_], elt=item):
                if is_set(first.iter, scope) and not _is_unordered_again(node, scope, code) and _has_call(item):
                    yield _RULE, first.iter, f"for ... in {_shown(first.iter)}"
            case ast.Call(func=callee, args=[given, *_]) if scope.dotted(callee) in _ORDERED:
                if is_set(given, scope) and not _is_unordered_again(node, scope, code):
                    yield _RULE, node, _shown(node)
            case ast.Call(func=ast.Attribute(value=owner, attr="pop"), args=[]) if is_set(owner, scope):
                yield _RULE, node, _shown(node)
            case ast.Call(func=ast.Attribute(attr="join"), args=[given]) if is_set(given, scope):
                yield _RULE, node, _shown(node)
            case ast.Starred(value=value) if is_set(value, scope) and isinstance(code.parents[node], ast.Call):
                yield _RULE, node, _shown(node)


def is_set(expression: ast.expr, scope: NameScope, hops: int = 0) -> bool:
    """Whether an expression is surely a set whose order may differ; sets of numbers written out have one order."""
    if hops > 8:
        return False
    match expression:
        case ast.Set(elts=items):
            return not all(isinstance(item, ast.Constant) and isinstance(item.value, (int, float)) for item in items)
        case ast.SetComp():
            return True
        case ast.Call(func=ast.Name() as callee):
            return scope.dotted(callee) in ("builtins.set", "builtins.frozenset")
        case ast.Call(func=ast.Attribute(value=owner, attr=name)):
            return name in _OF_SETS and is_set(owner, scope, hops + 1)
        case ast.BinOp(left=left, op=operator, right=right) if isinstance(operator, _OPERATORS):
            return any(is_set(one, scope, hops + 1) or _is_keys(one) for one in (left, right))
        case ast.Name(id=name):
            found = scope.variable(name)
            if found is None:
                return False
            variable, where = found
            if variable.annotation is not None and _is_annotated_as_set(variable.annotation):
                return True
            values = variable.values
            return not variable.is_opaque and bool(values) and all(is_set(one, where, hops + 1) for one in values)
    return False


def _is_keys(expression: ast.expr) -> bool:
    """`a.keys() - b.keys()` is a set."""
    return isinstance(expression, ast.Call) and (
        isinstance(expression.func, ast.Attribute) and expression.func.attr == "keys"
    )


def _is_annotated_as_set(annotation: ast.expr) -> bool:
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    if isinstance(outer, ast.Constant) and isinstance(outer.value, str):
        return outer.value.partition("[")[0].rpartition(".")[2] in _NAMES
    return (outer.attr if isinstance(outer, ast.Attribute) else getattr(outer, "id", "")) in _NAMES


def _decides(body: list[ast.stmt]) -> bool:
    """Whether what a loop does depends on its order: it waits, or puts things into an order."""
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, (ast.Await, ast.Yield, ast.YieldFrom, ast.AsyncFor, ast.AsyncWith)):
                return True
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                if name in _ADDS or name in ("create_task", "call"):
                    return True
    return False


def _has_call(item: ast.expr) -> bool:
    return any(isinstance(node, (ast.Call, ast.Await)) for node in ast.walk(item))


def _is_unordered_again(node: ast.AST, scope: NameScope, code: WorkflowCode) -> bool:
    parent = code.parents[node]
    return isinstance(parent, ast.Call) and scope.dotted(parent.func) in _UNORDERED_AGAIN


def _shown(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 40 else f"{text[:37]}..."
