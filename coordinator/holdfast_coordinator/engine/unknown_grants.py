"""Finds what the cells say that a session of this replica holds and this replica has no record of.

Another replica has given it, or this one before it was restarted, or a commit whose answer was lost. From then on it
counts as granted: the session names it in its heartbeats, or it is released like any other that went astray.
"""

from .attachments import Held
from .cells import Cells
from .matcher import Matcher

SESSIONS_PAGE = 100
FOUND_MAX = 1_000


class UnknownGrants:
    """See the module."""

    def __init__(self, cells: Cells, matcher: Matcher) -> None:
        self._cells = cells
        self._matcher = matcher

    async def find(self) -> None:
        """Asks every cell about all sessions of this replica. Raises StoreError."""
        sessions = self._matcher.sessions()
        for start in range(0, len(sessions), SESSIONS_PAGE):
            page = {one.session_id: one for one in sessions[start : start + SESSIONS_PAGE]}
            for cell in self._cells:
                known: dict[str, frozenset[Held]] = {id: frozenset(one.granted) for id, one in page.items()}
                for session_id, key in await cell.store.loops.unknown_to(known, FOUND_MAX):
                    # What was ended a moment ago, by whoever, is found again and released: under its epoch, in vain.
                    page[session_id].granted.add(key)
