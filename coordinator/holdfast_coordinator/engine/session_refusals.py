"""Refusals that only sessions meet; the rest of the tree is holdfast.errors."""

from holdfast.errors import HoldfastError


class Reattach(HoldfastError):
    """This replica does not know the attachment. The worker opens its session again with what it holds."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id} is not attached to this replica; open it again with what is held")
        self.session_id = session_id


class ServesNoWorkers(HoldfastError):
    """This replica cannot serve workers for now, another may: connect to another one."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"this replica cannot serve workers now, {detail}; connect to another one")
        self.detail = detail


class SessionDead(HoldfastError):
    """The session was declared dead. The worker drops what it holds and opens a new one."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id} was silent for too long and is dead; open a new one")
        self.session_id = session_id
