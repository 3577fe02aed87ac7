"""`holdfast graph`: draws a graph of a module or of a file."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.graphs import Graph

GraphArgument = Annotated[
    str, typer.Argument(metavar="GRAPH", help='A graph: "shop.flows:onboarding", or a file "onboarding.yaml".')
]
MermaidOption = Annotated[bool, typer.Option("--mermaid", help="Print it for Mermaid instead of as a tree.")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="TASK", help="Only this task and what it depends on; repeatable.", show_default=False
    ),
]


def graph(target: GraphArgument, mermaid: MermaidOption = False, only: OnlyOption = None) -> None:
    """Show the tasks of a graph, each below what it depends on. Runs nothing, and needs no coordinator."""
    found = load_one_graph(target)
    if only:
        found = found.subgraph(only)
    typer.echo(found.mermaid() if mermaid else found.display())


def load_one_graph(target: str) -> "Graph":
    """The graph that is named; of a module that has only one, the module is enough. Raises HoldfastError."""
    from holdfast.authoring.discovery import imported
    from holdfast.graphs import Graph
    from holdfast.graphs.files import is_graph_file, load_graph

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if is_graph_file(target):
        return load_graph(Path(target))
    module_name, _, attribute = target.partition(":")
    graphs = {name: one for name, one in vars(imported(target, module_name)).items() if isinstance(one, Graph)}
    if attribute in graphs:
        return graphs[attribute]
    if not attribute and len(graphs) == 1:
        return next(iter(graphs.values()))
    there = f"its graphs are {', '.join(f'{module_name}:{name}' for name in graphs)}" if graphs else "it has no graph"
    raise HoldfastError(
        f"{target}: {f'{module_name} has no graph {attribute!r}' if attribute else 'say which one'}; {there}"
    )
