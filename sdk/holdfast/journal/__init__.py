"""The journal's vocabulary on the SDK side: one slotted record per kind of entry and of mail, and their values.

The workflow runtime makes and reads these; only the channel turns them into protobuf messages. Which kinds there are,
who writes them and what they end is in `kinds`; the records are made of that table and of the protocol.
"""

from .records import *  # noqa: F403  # a new kind is exported without a line here
from .values import *  # noqa: F403
