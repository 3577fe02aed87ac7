"""Stored histories against the code of today: whether an open run would go on with it, and where it would not.

Never connects anywhere and never runs a step.
"""

from holdfast.replay.replaying import Replay, ReplayMismatch
from holdfast.replay.stored import StoredRun

__all__ = ["Replay", "ReplayMismatch", "StoredRun"]
