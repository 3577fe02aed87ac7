"""Mail of one run that its code has not seen: each piece once, in the order of its numbers. Pure."""

from collections import deque
from collections.abc import Iterable

from holdfast.journal import Mail


class Mailbox:
    """seen: the number up to which all mail has come. Mail comes by several ways, so a later piece may be first."""

    __slots__ = ("_early", "_waiting", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self._waiting: deque[Mail] = deque()
        self._early: dict[int, Mail] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def begin(self, mail: tuple[Mail, ...], *, taken: int = 0) -> None:
        """Starts over with what a lease brings, the first of what waits. taken: up to where the journal has it."""
        self._waiting = deque(mail)
        self._early.clear()
        self.seen = mail[-1].number if mail else taken

    def consumed_before(self, number: int) -> None:
        """Says up to which number the journal has consumed mail."""
        if number > self.seen:
            self.seen = number
            self.arrived(())

    def arrived(self, mails: Iterable[Mail]) -> None:
        """Takes in mail. Repeated pieces are ignored, early ones wait for those before them."""
        early = self._early
        for mail in mails:
            if mail.number > self.seen:
                early[mail.number] = mail
        while (following := early.pop(self.seen + 1, None)) is not None:
            self.seen += 1
            self._waiting.append(following)

    def take(self) -> Mail:
        """The next piece."""
        return self._waiting.popleft()
