"""`holdfast bench` in a checkout runs from end to end, in a size that measures nothing, from any directory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.apart import APART, Apart
from benchmarks.cases import CASES
from benchmarks.figures import Figure
from benchmarks.programs import BenchFailed
from benchmarks.rounds import measure
from benchmarks.sizes import SMOKE, Say, Sizes

SHARED = {
    "B1": ("B1",),
    "B2": ("B2", "B2.cpu_ms_per_step"),
    "B3": ("B3", "B3.cpu_ms_per_step"),
    "B4": ("B4.run_p50", "B4.run_p99", "B4.step_p50", "B4.queued_step_p50"),
    "B5": ("B5",),
    "B6": ("B6",),
    "B6.lone": ("B6.lone_p50", "B6.lone_p99"),
    "B10": ("B10",),
    "B11.span_us": ("B11.span_us",),
    "B17": ("B17.import", "B17.help", "B17.worker_ready", "B17.distributions"),
}
ALONE = {
    "B7": ("B7",),
    "B8": ("B8",),
    "B9": ("B9", "B9.new_run"),
    "B11": ("B11.all", "B11.hundredth", "B11.black_hole", "B11.metrics"),
    "B14": ("B14.failed_calls", "B14.slowest_start", "B14.repeated_steps"),
    "B15": ("B15", "B15.mail_p50", "B15.mail_p99"),
}
"""The names that programs find in the JSON, by case."""


OF_ANOTHER_SYSTEM = {
    "HOLDFAST_ADDRESS": "127.0.0.1:9",
    "HOLDFAST_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
    "HOLDFAST_NAMESPACE": "another",
    "HOLDFAST_QUEUE": "another",
    "HOLDFAST_OTLP": "http://127.0.0.1:9",
    "HOLDFAST_EMBEDDED": "on",
}


def bench(*options: str, cwd: Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "holdfast", "bench", *options]
    env = os.environ | (environment or {})
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=110, cwd=cwd, env=env)


@pytest.mark.slow
@pytest.mark.parametrize(
    "figures", [SHARED, *({case: names} for case, names in ALONE.items())], ids=["cases of one stack", *ALONE]
)
def test_a_bench_prints_every_case_as_json_with_median_range_and_unit(
    tmp_path: Path, figures: dict[str, tuple[str, ...]]
) -> None:
    cases = [f"--case={case}" for case in figures]
    done = bench("--smoke", "--json", *cases, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"limits", "cases"}
    assert set(found["cases"]) == {name for names in figures.values() for name in names}
    for name, figure in found["cases"].items():
        assert figure is not None, name
        assert figure["min"] <= figure["median"] <= figure["max"], name
        assert figure["unit"], name
    if sys.platform == "linux" and "B2" in figures:
        assert found["cases"]["B2.cpu_ms_per_step"]["median"] > 0


def test_every_case_is_tried() -> None:
    assert {one.name for one in (*CASES, *APART)} == SHARED.keys() | ALONE.keys()


def test_a_bench_of_one_case_with_profiles_shows_where_every_process_spent_its_time(tmp_path: Path) -> None:
    done = bench("--smoke", "--profile", "--case", "B2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "B1 " not in done.stdout
    for process in ("client", "coordinator", "worker-1", "worker-2", "worker-fan-out"):
        assert f"B2: {process}" in done.stdout


async def test_a_case_that_fails_takes_the_figures_of_no_other_with_it() -> None:
    async def fails(sizes: Sizes, say: Say) -> dict[str, list[float]]:
        raise BenchFailed("nothing works")

    async def goes(sizes: Sizes, say: Say) -> dict[str, list[float]]:
        return {"B8": [1.0]}

    apart = [Apart("B7", ("B7",), fails), Apart("B8", ("B8",), goes)]
    results = await measure([], apart, SMOKE, say=lambda what: None)
    assert results.cases == {"B7": None, "B8": Figure(1.0, 1.0, 1.0, "x")}
    assert results.problems == {"B7": "nothing works"}


def test_a_bench_that_cannot_go_on_says_why_in_one_sentence(tmp_path: Path) -> None:
    done = bench("--smoke", "--case", "B1", cwd=tmp_path, environment={"HOLDFAST_POSTGRES_BIN": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("holdfast: ")
    assert "Traceback" not in done.stderr


def test_an_unknown_case_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = bench("--case", "B99", cwd=tmp_path)
    assert done.returncode == 2
    assert "B10" in done.stderr


def test_a_bench_leaves_the_system_alone_that_the_environment_names(tmp_path: Path) -> None:
    done = bench("--smoke", "--json", "--case", "B1", cwd=tmp_path, environment=OF_ANOTHER_SYSTEM)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cases"]["B1"]["median"] > 0


@pytest.mark.parametrize("option", ["--database-url", "--address"])
def test_no_option_points_a_bench_at_another_system(tmp_path: Path, option: str) -> None:
    done = bench(option, "somewhere", cwd=tmp_path)
    assert done.returncode == 2
    assert option in done.stderr


PROCESS_SECONDS = 5.0
"""How long a process beside a worker may live after that worker was killed."""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_bench_leaves_no_process_behind(tmp_path: Path) -> None:
    assert bench("--smoke", "--case", "B1", cwd=tmp_path).returncode == 0
    deadline = time.monotonic() + PROCESS_SECONDS
    while left := [pid for pid in Path("/proc").iterdir() if pid.name.isdecimal() and _works_in(pid, tmp_path)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)  # no event says that a process that is not our child has ended


def _works_in(process: Path, directory: Path) -> bool:
    try:
        return (process / "cwd").readlink() == directory
    except OSError:
        return False
