"""Trying workflows in tests: in process, on a clock that the test moves, without coordinator and database.

`run_local` runs one workflow from start to end. An `Environment` lets the test decide what happens: time, signals, what
steps do, crashes. The plugin of pytest, which comes with this, has fixtures with a real coordinator.
"""

from holdfast.testing.assertions import (
    assert_completed,
    assert_failed,
    assert_step_called,
    assert_step_not_called,
    assert_waits_for,
)
from holdfast.testing.environment import Environment, EnvironmentRun
from holdfast.testing.local import LocalRun, RunNotFinished, run_local
from holdfast.testing.overrides import NoSuchStep
from holdfast.testing.registries import isolated_definitions
from holdfast.testing.replays import assert_replays

__all__ = [
    "Environment",
    "EnvironmentRun",
    "LocalRun",
    "NoSuchStep",
    "RunNotFinished",
    "assert_completed",
    "assert_failed",
    "assert_replays",
    "assert_step_called",
    "assert_step_not_called",
    "assert_waits_for",
    "isolated_definitions",
    "run_local",
]
