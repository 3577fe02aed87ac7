"""What `make bench` prints for programs and for people."""

import io
import json

from rich.console import Console

from benchmarks.apart import APART
from benchmarks.cases import CASES
from benchmarks.figures import DUES, Figure
from benchmarks.limits import LIMITS
from benchmarks.report import FACTOR, NOT_AVAILABLE, Results, as_json, show


def results(**cases: Figure | None) -> Results:
    limits = {name: Figure(10.0, 5.0, 20.0, "1/s") for name in LIMITS}
    details = {"B2.cpu_ms_per_step.client": Figure(0.01, 0.01, 0.01, "ms")}
    return Results(limits | {FACTOR: Figure(0.5, 0.4, 0.6, "")}, cases, details)


def shown(found: Results) -> str:
    console = Console(file=io.StringIO(), force_terminal=False)
    show(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_json_has_limits_and_cases_with_median_range_and_unit() -> None:
    found = json.loads(json.dumps(as_json(results(B1=Figure(2.0, 1.0, 3.0, "runs/s")))))
    assert set(found) == {"limits", "cases"}
    assert found["cases"] == {"B1": {"median": 2.0, "min": 1.0, "max": 3.0, "unit": "runs/s"}}
    assert set(found["limits"]) == {*LIMITS, FACTOR}
    assert set(found["limits"][FACTOR]) == {"median", "min", "max", "unit"}


def test_json_says_null_for_what_is_not_available() -> None:
    assert as_json(results(B10=None))["cases"] == {"B10": None}


def test_every_figure_of_every_case_has_something_due() -> None:
    assert sorted(name for case in (*CASES, *APART) for name in case.figures) == sorted(DUES)


def test_the_table_scales_what_is_due_and_says_whether_it_is_reached() -> None:
    lines = shown(results(B1=Figure(1_500.0, 1.0, 3.0, "runs/s"), B10=None)).splitlines()
    (b1,) = [line for line in lines if "B1 " in line]
    assert "1,000" in b1
    assert "2,500" in b1
    assert "pass" in b1
    (b10,) = [line for line in lines if "B10" in line]
    assert NOT_AVAILABLE in b10


def test_the_table_divides_cpu_by_process_below_the_figure_it_belongs_to() -> None:
    cpu = Figure(0.2, 0.1, 0.3, "ms")
    found = shown(results(**{"B2": Figure(1.0, 1.0, 1.0, "steps/s"), "B2.cpu_ms_per_step": cpu}))
    assert found.count("CPU of client") == 1
    assert found.index("B2.cpu_ms_per_step") < found.index("CPU of client")


def test_nothing_is_said_to_be_reached_where_nothing_is_due() -> None:
    found = shown(results(**{"B3.cpu_ms_per_step": Figure(0.6, 0.5, 0.7, "ms")})).splitlines()
    (line,) = [line for line in found if "B3.cpu_ms_per_step" in line]
    assert not {"pass", "fail", "goal"} & set(line.split())


def test_what_was_left_out_is_said_below_the_table() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    show(results(B1=None), console, left_out=["B8"])
    assert isinstance(console.file, io.StringIO)
    assert "Not measured, as they take minutes: B8." in console.file.getvalue()
