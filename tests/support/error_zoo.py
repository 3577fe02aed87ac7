"""Errors of users of every make, for the table of errors that come back whole or not at all."""

import threading
from typing import Any
from uuid import UUID


class ApiError(Exception):
    """Words its own message and keeps its facts."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


class Named(Exception):
    def __init__(self, *, name: str, key: UUID) -> None:
        super().__init__(f"no {name}")
        self.name = name
        self.key = key


class Reduced(Exception):
    """Says how it is made again."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self._hidden = status

    def __reduce__(self) -> tuple[Any, ...]:
        return (Reduced, (self._hidden,))


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Wrapping(Exception):
    def __init__(self, original: Exception) -> None:
        super().__init__("wrapped")
        self.original = original


class DiskFull(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(28, "No space left", path)
        self.path = path


class WithLock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Picky(Exception):
    """Its text needs what is not among its facts."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self.stream = stream

    def __str__(self) -> str:
        return f"broken: {self.stream.name}"


class Many(ExceptionGroup[Exception]):
    pass


constructed: list[str] = []


class Loud(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        constructed.append(text)
