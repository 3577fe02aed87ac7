"""Pictures of a graph for people: a tree of text, and Mermaid. Pure."""

from collections.abc import Iterator

from holdfast.graphs.plan import Plan


def tree(plan: Plan) -> str:
    """The name of the graph, then its tasks, each below what it depends on.

    Roots come in topological order, what depends on a task alphabetically. What was shown before is marked [shared],
    and what is below it is not shown again.
    """
    return "\n".join([plan.graph, *_branches(plan)])


def _branches(plan: Plan) -> Iterator[str]:
    seen: set[str] = set()
    # A stack and not recursion: a chain of tasks may be longer than Python's.
    stack = _siblings(plan.roots, "")
    while stack:
        name, is_last, indent = stack.pop()
        connector = "\\-- " if is_last else "|-- "
        if name in seen:
            yield f"{indent}{connector}{name} [shared]"
            continue
        seen.add(name)
        yield f"{indent}{connector}{name}"
        stack += _siblings(sorted(plan.children[name]), indent + ("    " if is_last else "|   "))


def _siblings(names: "list[str] | tuple[str, ...]", indent: str) -> list[tuple[str, bool, str]]:
    """For the stack, the last one first."""
    return [(name, place == 0, indent) for place, name in enumerate(reversed(names))]


def mermaid(plan: Plan) -> str:
    """The graph as a flow chart of Mermaid, its tasks in topological order; arrows go to what depends on a task."""
    lines = ["flowchart TD"]
    lines += [f'    t{task.place}["{_escaped(task.name)}"]' for task in plan.tasks]
    for task in plan.tasks:
        lines += [f"    t{plan.by_name[dep].place} --> t{task.place}" for dep in task.deps]
    return "\n".join(lines)


def _escaped(name: str) -> str:
    return name.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
