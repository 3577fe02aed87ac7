"""What this replica sends the others of what it committed, and what they send it: keys only, never what they name.

Losing any of it costs latency: a replica that gets a key looks at the rows, and it looks at them once a second in any
case. In memory only, and silent while no other replica has sent anything. Without a database: the loops carry it.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from holdfast_coordinator.store.port import NOTICE_BYTES_MAX, Place

KEYS_MAX = 20_000
"""How many keys wait to be said at most; the rest is left to the looks."""
HELLO_SECONDS = 10.0
"""How often a replica says that it is there."""
FORGOTTEN_AFTER_SECONDS = 60.0
SEVERAL = 3
"""How many replicas do for all what must not wait for one, as it may have been killed a moment ago."""

Item = tuple[str, ...]
_HELD, _RUN, _STEP, _CLOSED, _HERE, _HELLO, _BYE = "held", "run", "step", "closed", "here", "hello", "bye"


@dataclass(slots=True)
class Rung:
    """What others said. held: sessions, each with runs of which the rows say something new."""

    held: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    runs_ready: set[Place] = field(default_factory=set)
    steps_ready: set[Place] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.held or self.runs_ready or self.steps_ready or self.closed)


class Doorbell:
    """See the module. on_news: called when there is something to say; on_rung: when there is something to look at."""

    def __init__(self, replica_id: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._replica_id = replica_id
        self._clock = clock
        self._items: dict[Item, None] = {}
        self._heard_at: dict[str, float] = {}
        self._rung = Rung()
        self.on_news: Callable[[], None] = lambda: None
        self.on_rung: Callable[[], None] = lambda: None

    @property
    def others(self) -> int:
        """How many other replicas are known to listen."""
        return len(self._heard_at)

    def has_turn(self, at: datetime, every: timedelta, *, of: int = 1) -> bool:
        """Whether something that some replicas, `of` them, do for all is for this one to do now.

        Replicas take turns by the database's time. The turn of one that was killed passes unused until it is
        forgotten, and who knows of no other, as without a doorbell, always has the turn: so it may only be late for
        want of it, or be done twice.
        """
        replicas = sorted((self._replica_id, *self._heard_at))
        begins = int(at.timestamp() // every.total_seconds())
        return (replicas.index(self._replica_id) - begins) % len(replicas) < of

    # What this replica committed

    def held(self, session_id: str, run_id: str) -> None:
        """A run that a session of another replica holds has mail, or the session holds something of it no longer."""
        if self._heard_at:
            self._say((_HELD, session_id, run_id))

    def run_ready(self, place: Place) -> None:
        """A run was left ready."""
        if self._heard_at:
            self._say((_RUN, *place))

    def step_ready(self, place: Place) -> None:
        """A queued step was left ready."""
        if self._heard_at:
            self._say((_STEP, *place))

    def closed(self, run_id: str) -> None:
        """A run has closed."""
        if self._heard_at:
            self._say((_CLOSED, run_id))

    # That it is there

    def hello(self) -> None:
        """This replica listens from now on, and has no list of the others yet."""
        self._say((_HELLO,))

    def here(self) -> None:
        """This replica is there; forgets others that have been silent for long."""
        now = self._clock()
        self._heard_at = {one: at for one, at in self._heard_at.items() if now - at < FORGOTTEN_AFTER_SECONDS}
        self._say((_HERE,))

    def bye(self) -> None:
        """This replica stops."""
        self._say((_BYE,))

    # Notices

    def take(self) -> list[str]:
        """What is to be said now, in as few notices as it takes."""
        items, self._items = self._items, {}
        return list(_notices(self._replica_id, items))

    def receive(self, notice: str) -> None:
        """A notice came; one that makes no sense is left out, as if it were lost."""
        try:
            replica_id, items = json.loads(notice)
            items = [tuple(map(str, item)) for item in items]
            if replica_id == self._replica_id:
                return
            self._heard_at[str(replica_id)] = self._clock()
            for item in items:
                self._take_in(str(replica_id), item)
        except (ValueError, TypeError):
            return
        if self._rung:
            self.on_rung()

    def take_rung(self) -> Rung:
        """What others said since this was asked last."""
        rung, self._rung = self._rung, Rung()
        return rung

    def _take_in(self, replica_id: str, item: Item) -> None:
        match item:
            case ("held", session_id, run_id):
                self._rung.held[session_id].add(run_id)
            case ("run", namespace, queue, workflow):
                self._rung.runs_ready.add((namespace, queue, workflow))
            case ("step", namespace, queue, step):
                self._rung.steps_ready.add((namespace, queue, step))
            case ("closed", run_id):
                self._rung.closed.add(run_id)
            case ("hello",):
                self._say((_HERE,))
            case ("bye",):
                self._heard_at.pop(replica_id, None)
            case _:
                pass  # "here", or what a later version says

    def _say(self, item: Item) -> None:
        if len(self._items) < KEYS_MAX:
            self._items[item] = None
            self.on_news()


def _notices(replica_id: str, items: Iterable[Item]) -> Iterable[str]:
    """The items in notices, each as large as Postgres takes one."""
    head = f"[{json.dumps(replica_id)}, ["
    parts: list[str] = []
    size = 0
    room = NOTICE_BYTES_MAX - len(head.encode()) - 2
    for item in items:
        part = json.dumps(item, ensure_ascii=False)
        length = len(part.encode()) + 2
        if length > room:
            continue
        if size + length > room:
            yield f"{head}{', '.join(parts)}]]"
            parts, size = [], 0
        parts.append(part)
        size += length
    if parts:
        yield f"{head}{', '.join(parts)}]]"
