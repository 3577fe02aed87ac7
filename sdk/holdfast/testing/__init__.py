"""Trying workflows in unit tests: in process, on a virtual clock, without coordinator and database."""

from holdfast.testing.local import LocalRun, RunNotFinished, run_local

__all__ = ["LocalRun", "RunNotFinished", "run_local"]
