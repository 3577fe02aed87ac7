"""Graphs: tasks that depend on each other, run as one workflow whose steps they are.

A graph is a workflow: its code, in `execution`, runs on the same runtime as any other; there is no second scheduler.
"""

from holdfast.graphs.graph import Graph
from holdfast.graphs.problems import InvalidGraph
from holdfast.graphs.tasks import Task

__all__ = ["Graph", "InvalidGraph", "Task"]
