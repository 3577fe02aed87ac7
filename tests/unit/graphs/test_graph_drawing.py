"""Pictures of graphs."""

import pytest

from holdfast import Graph


def nothing() -> None: ...


def diamond() -> Graph:
    g = Graph("diamond")
    for name, deps in {"top": [], "right": ["top"], "left": ["top"], "bottom": ["left", "right"], "alone": []}.items():
        g.task(name=name, deps=deps)(nothing)
    g.task(name="end", deps=["bottom"])(nothing)
    return g


@pytest.mark.feature("F12")
def test_a_graph_is_shown_as_a_tree_in_which_nothing_is_expanded_twice() -> None:
    assert diamond().display().splitlines() == [
        "diamond",
        "|-- top",
        "|   |-- left",
        "|   |   \\-- bottom",
        "|   |       \\-- end",
        "|   \\-- right",
        "|       \\-- bottom [shared]",
        "\\-- alone",
    ]


@pytest.mark.feature("F12")
def test_roots_come_in_topological_order_and_children_alphabetically() -> None:
    g = Graph("roots")
    for name, deps in {"z": [], "b": ["z"], "y": [], "a": ["z"], "c": ["y"]}.items():
        g.task(name=name, deps=deps)(nothing)
    assert g.display().splitlines() == ["roots", "|-- z", "|   |-- a", "|   \\-- b", "\\-- y", "    \\-- c"]


@pytest.mark.feature("F12")
def test_a_chain_that_is_longer_than_pythons_stack_is_shown() -> None:
    g = Graph("chain")
    for place in range(1_200):
        g.task(name=f"t{place}", deps=[f"t{place - 1}"] if place else [])(nothing)
    lines = g.display().splitlines()
    assert len(lines) == 1_201
    assert lines[-1] == "    " * 1_199 + "\\-- t1199"


def test_a_graph_is_drawn_for_mermaid() -> None:
    g = Graph("drawn")
    g.task(name="fetch")(nothing)
    g.task(name='say "hi"', deps=["fetch"])(nothing)
    assert g.mermaid().splitlines() == [
        "flowchart TD",
        '    t0["fetch"]',
        '    t1["say #quot;hi#quot;"]',
        "    t0 --> t1",
    ]


@pytest.mark.feature("F12")
def test_a_part_of_a_graph_is_shown_as_it_will_run() -> None:
    part = diamond().subgraph(["left", "alone"])
    assert part.display().splitlines() == ["diamond", "|-- top", "|   \\-- left", "\\-- alone"]
