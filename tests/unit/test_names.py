"""One name, one meaning: no class name stands twice in what is shipped."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAIRS = {
    "Client": "holdfast.Client and holdfast.blocking.Client are one interface, to be awaited and not",
    "Worker": "holdfast.Worker and holdfast.blocking.Worker are one interface, to be awaited and not",
    "RunHandle": "holdfast.RunHandle and holdfast.blocking.RunHandle are one interface, to be awaited and not",
    "StepFailed": "users catch holdfast.StepFailed; journals and histories have an entry of that name",
}
"""Class names that stand twice, and why."""


def shipped() -> list[Path]:
    return [
        path
        for package in ("sdk/holdfast", "coordinator/holdfast_coordinator")
        for path in (ROOT / package).rglob("*.py")
        if ROOT / "sdk/holdfast/api" not in path.parents
    ]


def test_no_class_name_stands_twice() -> None:
    places = defaultdict[str, list[str]](list)
    for path in shipped():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if name not in PAIRS} == {}
    assert {name: len(where) for name, where in twice.items()} == dict.fromkeys(PAIRS, 2)
