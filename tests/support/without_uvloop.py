"""Loaded by a worker, which then runs on asyncio's own loop, as in an installation without uvloop."""

import sys

sys.modules["uvloop"] = None  # type: ignore[assignment]
