"""Fixtures of the tests of the documentation: the coordinator of the end-to-end tests."""

from ..e2e.conftest import _invariants_hold, coordinator

__all__ = ["_invariants_hold", "coordinator"]
