"""Graphs in files: YAML and JSON. Reads one file, and imports the functions that it names."""

import hashlib
import json
from pathlib import Path
from typing import Any

from holdfast.graphs.graph import Graph
from holdfast.graphs.problems import InvalidGraph

SUFFIXES = (".yaml", ".yml", ".json")


def is_graph_file(target: str) -> bool:
    """True for what is the path of a graph file by its suffix, and no module."""
    return Path(target).suffix in SUFFIXES


def load_graph(path: Path) -> Graph:
    """The graph of a file. Its functions are named as "module:function".

    YAML needs pyyaml, the extra holdfast[yaml]. Raises InvalidGraph, which names the file.
    """
    try:
        content = path.read_bytes()
        spec = json.loads(content) if path.suffix == ".json" else _yaml(content)
    except OSError as error:
        raise InvalidGraph(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidGraph(f"{path} cannot be read: {error}") from error
    try:
        graph = Graph.from_spec(spec)
    except (ValueError, TypeError) as error:
        raise InvalidGraph(f"{path}: {error}") from error
    # The build is made of what modules contain, and of the names of those without a file: so it changes with this one.
    graph.defined_in(f"{path.stem}-{hashlib.sha256(content).hexdigest()[:12]}", str(path))
    return graph


def _yaml(content: bytes) -> Any:
    try:
        import yaml
    except ImportError:
        raise InvalidGraph("graphs in YAML need pyyaml: pip install 'holdfast[yaml]'; or write them as JSON") from None
    try:
        return yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
