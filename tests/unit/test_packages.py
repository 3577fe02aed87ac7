"""How packages depend on each other: in one direction only. Who looks into protobuf messages: who knows them."""

import ast
import graphlib
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from holdfast.api.v1 import journal_pb2

ROOT = Path(__file__).resolve().parents[2]


def unit_of(module: str) -> str:
    """The package, or the module beside the packages, that a module belongs to."""
    return ".".join(module.split(".")[:2])


def imports_of(path: Path, module: str) -> set[str]:
    """The dotted names that a file imports, but for those that only type checkers see."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found, waiting = set[str](), list[ast.AST]([ast.parse(path.read_text())])
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            found |= {f"{source}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        waiting += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("root", ["sdk/holdfast", "coordinator/holdfast_coordinator"])
def test_packages_depend_on_each_other_in_one_direction_only(root: str) -> None:
    top = ROOT / root
    units = {f"{top.name}.{path.stem}" for path in top.iterdir() if path.is_dir() or path.suffix == ".py"}
    needs = defaultdict[str, set[str]](set)
    for path in top.rglob("*.py"):
        parts = path.relative_to(top.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if unit_of(module) in units:  # not the front of the whole, which offers what all of them make
            needs[unit_of(module)] |= {unit_of(name) for name in imports_of(path, module)} & units - {unit_of(module)}
    graphlib.TopologicalSorter(needs).prepare()
    assert len(needs) > 10


def test_who_must_not_know_the_generated_code_looks_into_no_message() -> None:
    """A message may pass through them, of no type: that it is one is known where it is made and read."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (ignorant,) = [one["source_modules"] for one in contracts if one.get("forbidden_modules") == ["holdfast.api"]]
    methods = {name for name in dir(journal_pb2.Entry) if name[0].isupper() and not name.isupper()}
    assert {"HasField", "WhichOneof", "SerializeToString", "FromString", "CopyFrom"} <= methods
    tops = [
        ROOT / ("sdk" if module.startswith("holdfast.") else "coordinator") / module.replace(".", "/")
        for module in ignorant
    ]
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}"
        for top in tops
        for path in top.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in methods
    ]
    assert found == []


@pytest.mark.parametrize("package", ["sdk/holdfast", "coordinator/holdfast_coordinator"])
def test_no_public_name_is_that_of_a_module_beside_it(package: str) -> None:
    """Whoever imports such a module sets the name of the package to it: a function that is called is a module then."""
    clashes = []
    for path in (ROOT / package).rglob("__init__.py"):
        modules = {one.stem for one in path.parent.glob("*.py")} | {
            one.parent.name for one in path.parent.glob("*/__init__.py")
        }
        assigned = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
        lazy = [one.value for one in assigned if ast.unparse(one.targets[0]) == "_LAZY"]
        clashes += [f"{path}: {name}" for one in lazy for name in modules & set(ast.literal_eval(one))]
    assert clashes == []
