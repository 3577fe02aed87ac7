"""`holdfast graph`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast.cli import make_app

MODULE = """
from holdfast import Graph
g = Graph("first")
h = Graph("second")
for graph in (g, h):
    graph.task(name="top")(lambda: 1)
    graph.task(name="end", deps=["top"])(lambda: 1)
del graph
"""


def printed(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(make_app(), ["graph", *arguments])
    return result.exit_code, result.output


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "graphs_to_draw.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.feature("F12", "F133")
def test_a_graph_of_a_module_is_drawn() -> None:
    assert printed("graphs_to_draw:h") == (0, "second\n\\-- top\n    \\-- end\n")
    assert printed("graphs_to_draw:h", "--only", "top") == (0, "second\n\\-- top\n")
    code, text = printed("graphs_to_draw:g", "--mermaid")
    assert (code, text.splitlines()[0]) == (0, "flowchart TD")


@pytest.mark.feature("F10")
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("graphs_to_draw", "say which one; its graphs are graphs_to_draw:g, graphs_to_draw:h"),
        ("graphs_to_draw:x", "graphs_to_draw has no graph 'x'; its graphs are graphs_to_draw:g"),
        ("json:x", "json has no graph 'x'; it has no graph"),
        ("nosuch:x", "there is no module 'nosuch'"),
        ("nosuch.yaml", "nosuch.yaml cannot be read"),
    ],
)
def test_an_unknown_graph_is_said_with_those_there_are(target: str, words: str) -> None:
    code, text = printed(target)
    assert code == 1
    assert words in " ".join(text.split())
