"""A session that was closed stays closed, whatever is still on its way."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from holdfast.channel.leases import Introduction, OpenedSession
from holdfast.worker.clock import SessionClock
from holdfast.worker.heartbeat import Attached
from holdfast.worker.session import Session
from holdfast.worker.session_tasks import SessionTasks

HOUR = timedelta(hours=1)


class OnTheWire:
    """What a coordinator was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def open_session(self, introduction: Introduction, *, session_id: str, held: object) -> OpenedSession:
        self.asked.append("open")
        return OpenedSession("ses_1", 1, HOUR, HOUR, HOUR, datetime(2026, 1, 1, tzinfo=UTC))

    async def close_session(self, session_id: str, attach_no: int, *, lost: object) -> None:
        self.asked.append("close")

    def move(self) -> None:
        self.asked.append("move")


class Idle:
    """Crew and heartbeat of a worker without work."""

    held = ()

    def session_opened(self, *_: object) -> None: ...

    def ended_elsewhere(self, *_: object) -> None: ...

    def sure_again(self) -> None: ...

    def attached(self, *_: object) -> None: ...


def test_a_heartbeat_that_is_refused_while_the_worker_leaves_opens_no_session() -> None:
    async def leaves() -> list[str]:
        wire, idle = OnTheWire(), Idle()
        introduction = Introduction("default", "default", (), (), "b", "h", 1, 1, 1)
        session = Session(
            cast(Any, wire), introduction, crew=cast(Any, idle), tasks=SessionTasks(), heartbeat=cast(Any, idle),
            clock=SessionClock(),
        )  # fmt: skip
        await session.open()
        await session.close()
        beaten = Attached("ses_1", 1, HOUR, HOUR)
        session.expired(beaten)
        session.silent(beaten)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others)
        return wire.asked

    assert asyncio.run(leaves()) == ["open", "close"]
