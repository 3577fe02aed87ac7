"""What a worker is refused for the sake of its session; the coordinator raises it, and so does the SDK's channel.

The worker settles it by itself: no user meets one of these. The rest of the tree is `holdfast.errors`.
"""

from holdfast.errors import CoordinatorUnavailable, HoldfastError


class ReattachRequired(HoldfastError):
    """The replica does not have this attachment. The worker opens its session again with what it holds."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id} is not attached to this replica; open it again with what is held")
        self.session_id = session_id


class SessionExpired(HoldfastError):
    """The session was declared dead. The worker drops what it holds and opens a new one."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id} was silent for too long and is dead; open a new one")
        self.session_id = session_id


class ReplicaAway(CoordinatorUnavailable):
    """This replica cannot serve workers for now, another may. The worker connects to another one."""

    def __init__(self, detail: str, *, address: str = "") -> None:
        super().__init__(address, detail, is_reached=True)
        self.args = (
            f"the replica{f' at {address}' if address else ''} cannot serve workers now ({detail}); "
            "connect to another one",
        )
