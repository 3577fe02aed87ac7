"""What `make bench-peers` prints for people and for programs."""

import io
import json

from rich.console import Console

from benchmarks.peers.ratios import OURS, compare
from benchmarks.peers.table import Results, as_json, show

TITLES = {OURS: "holdfast 0.1.0", "restate": "Restate 1.7", "dbos": "DBOS 3.4"}


def results() -> Results:
    rounds = {
        OURS: [{"B1": 4_000.0, "B4.step_p50": 2.0}, {"B1": 4_000.0, "B4.step_p50": 2.0}],
        "restate": [{"B1": 2_000.0, "B4.step_p50": 1.0}, {"B1": 1_000.0, "B4.step_p50": 1.0}],
    }
    ways = {"restate": {"B1": "1 partition", "B4.step": "4 partitions"}}
    return Results(TITLES, compare(["restate"], rounds), ways, {"dbos": "pip says: [Errno -2] no such host"})


def shown(found: Results) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=False)
    show(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_row_has_both_figures_with_their_ranges_and_the_ratio_beside_what_is_due() -> None:
    (row,) = [line for line in shown(results()) if "B1 " in line]
    for cell in ("4,000", "4,000 .. 4,000", "1,500", "1,000 .. 2,000", "3.00x", "2.00 .. 4.00", "1.8x", "4x"):
        assert cell in row


def test_a_row_in_which_the_peer_is_better_says_so() -> None:
    (row,) = [line for line in shown(results()) if "B4.step_p50 " in line]
    assert row.rstrip(" │").endswith("Restate 1.7")
    (other,) = [line for line in shown(results()) if "B1 " in line]
    assert other.rstrip(" │").endswith(OURS)


def test_the_way_in_which_a_peer_ran_is_named_for_each_case() -> None:
    lines = shown(results())
    assert "Restate 1.7, B1: 1 partition" in lines
    assert "Restate 1.7, B4.step: 4 partitions" in lines


def test_a_peer_that_cannot_be_installed_is_named_in_one_line_with_the_reason() -> None:
    (line,) = [line for line in shown(results()) if "DBOS" in line]
    assert line == "DBOS 3.4 is left out: pip says: [Errno -2] no such host"


def test_json_has_figures_ratio_and_due_of_each_peer_and_who_was_left_out() -> None:
    found = json.loads(json.dumps(as_json(results())))
    assert set(found) == {OURS, "peers", "left_out"}
    assert found["left_out"] == {"dbos": "pip says: [Errno -2] no such host"}
    restate = found["peers"]["restate"]
    assert restate["title"] == "Restate 1.7"
    assert restate["ways"]["B1"] == "1 partition"
    b1 = restate["figures"]["B1"]
    assert b1["ratio"] == {"median": 3.0, "min": 2.0, "max": 4.0, "unit": "x"}
    assert b1[OURS] == {"median": 4_000.0, "min": 4_000.0, "max": 4_000.0, "unit": "runs/s"}
    assert b1["restate"]["median"] == 1_500.0
    assert (b1["due"], b1["goal"]) == (1.8, 4.0)
