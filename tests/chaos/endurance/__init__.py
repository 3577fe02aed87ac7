"""An hour of load, and what grows under it. Start at harness.py."""
