"""The nemesis: one fault after the other, from a seed. A fault counts only with evidence that it landed."""

import asyncio
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.chaos.faults import Direction, Fault
from tests.chaos.fleet import DRAIN_SECONDS, FAKETIME, SESSION_TTL_SECONDS, Fleet, Member, set_clock
from tests.chaos.ledger import boottime
from tests.chaos.namespaces import Bridge, Namespace

PAUSE_SECONDS = (0.2, 2.5)
"""Between two faults."""
HEAL_SECONDS = 60.0
"""After which all of the fleet must serve again."""
TCP_SECONDS = 0.5
"""Within which TCP sends again what was not acknowledged."""
EXITS_BY_STEPS = (-signal.SIGKILL, -signal.SIGSEGV, 3)
"""How a worker ends that a step ends; see flows.py."""
LANDING_SECONDS = 5.0
"""How long a fault of calls waits for one."""

Inflict = Callable[[Fleet, random.Random], Awaitable[str | tuple[str, list[int]]]]
"""Does a fault and undoes it. Returns the evidence that it landed, or an empty text; with it the
workers whose sessions it ended."""


@dataclass(frozen=True, slots=True)
class Deed:
    """A fault that was done. evidence: empty when it hit nothing, and does not count. Times are of CLOCK_BOOTTIME."""

    name: str
    begun_at: float
    ended_at: float
    evidence: str
    pids: Sequence[int] = ()


class Nemesis:
    """Torments a fleet until it is stopped. `diary` is what it did.

    Faults of the network happen beside those of processes and of the database: what one heals, the other may need.
    """

    def __init__(self, fleet: Fleet, *, seed: int, faults: Sequence[str], diary: Path) -> None:
        self.fleet = fleet
        self.diary: list[Deed] = []
        self._seed = seed
        self._faults = faults
        self._file = diary

    @property
    def landed(self) -> Counter[str]:
        """How many faults of each kind landed."""
        return Counter(deed.name for deed in self.diary if deed.evidence)

    async def run(self, seconds: float) -> None:
        """Faults for so long. Raises when the fleet does not recover from one."""
        lanes = [[name for name in lane if name in self._faults] for lane in (FAULTS_OF_MACHINES, FAULTS_OF_NETWORK)]
        until = boottime() + seconds
        running = [asyncio.create_task(self._run(lane, until)) for lane in filter(None, lanes)]
        try:
            await asyncio.gather(*running)
            await self.fleet.all_ready(seconds=HEAL_SECONDS)
        finally:
            for lane_task in running:
                lane_task.cancel()

    async def inflict(self, name: str) -> None:
        """Does one fault."""
        begun_at = boottime()
        self._note(f"{begun_at:.3f} {name} begins")
        done = await FAULTS[name](
            self.fleet, random.Random(f"{self._seed} {name} {sum(deed.name == name for deed in self.diary)}")
        )
        evidence, pids = done if isinstance(done, tuple) else (done, [])
        self.diary.append(Deed(name, begun_at, boottime(), evidence, pids))
        self._note(f"{boottime():.3f} {name} ends: {evidence or 'hit nothing'}")

    async def _run(self, names: Sequence[str], until: float) -> None:
        """One after the other, in an order of the seed; those of machines only when all of the fleet serves."""
        order: list[str] = []
        source = random.Random(f"{self._seed} {names}")
        while boottime() < until:
            order = order or source.sample(names, len(names))
            name = order.pop()
            if name in FAULTS_OF_MACHINES:
                await self.fleet.all_ready(seconds=HEAL_SECONDS)
            await self.inflict(name)
            await asyncio.sleep(source.uniform(*PAUSE_SECONDS))

    def _note(self, line: str) -> None:
        with self._file.open("a") as diary:
            diary.write(line + "\n")


# Processes


async def kill_worker(fleet: Fleet, rnd: random.Random) -> tuple[str, list[int]]:
    return await _kill(rnd.choice(fleet.workers))


async def kill_coordinator(fleet: Fleet, rnd: random.Random) -> str:
    evidence, _ = await _kill(rnd.choice(fleet.coordinators))
    return evidence


async def kill_all_workers(fleet: Fleet, rnd: random.Random) -> tuple[str, list[int]]:
    lives = await asyncio.gather(*(member.end(signal.SIGKILL, seconds=10) for member in fleet.workers))
    return f"exits {[life.code for life in lives]}", [life.pid for life in lives]


async def kill_all_coordinators(fleet: Fleet, rnd: random.Random) -> str:
    lives = await asyncio.gather(*(member.end(signal.SIGKILL, seconds=10) for member in fleet.coordinators))
    return f"exits {[life.code for life in lives]}"


async def _kill(member: Member) -> tuple[str, list[int]]:
    life = await member.end(signal.SIGKILL, seconds=10)
    return f"{member.name}, pid {life.pid}, exit {life.code}" if life.code == -signal.SIGKILL else "", [life.pid]


async def pause_worker_beyond_its_lease(fleet: Fleet, rnd: random.Random) -> tuple[str, list[int]]:
    """Stops a worker until its session is dead, and then lets it go on."""
    member = rnd.choice(fleet.workers)
    pid = member.pid
    if not member.pause():
        return "", []
    try:
        evidence = await _buried(fleet, pid)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return evidence, [pid]


async def pause_coordinator(fleet: Fleet, rnd: random.Random) -> str:
    member = rnd.choice(fleet.coordinators)
    pid = member.pid
    if not member.pause():
        return ""
    try:
        await asyncio.sleep(rnd.choice((0.5, 1.5, SESSION_TTL_SECONDS + 2)))
        state = _state(pid)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return f"{member.name}, state {state}" if state == "T" else ""


def _state(pid: int) -> str:
    return _said_of(pid, "stat").rpartition(")")[2].strip()[:1]


def _said_of(pid: int, name: str) -> str:
    """What /proc says of a process; nothing of one that has ended, as a step may do to its worker at any time."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


async def restart_coordinators_in_turn(fleet: Fleet, rnd: random.Random) -> str:
    """As a rolling upgrade does: the name no longer stands for a replica that leaves."""
    codes = []
    hosts = [proxy.address.partition(":")[0] for proxy in fleet.proxies]
    for number, member in enumerate(fleet.coordinators):
        fleet.names.set([host for host in hosts if host != hosts[number]])
        codes.append((await member.end(signal.SIGTERM, seconds=DRAIN_SECONDS + 30)).code)
        await member.is_ready.wait()
        fleet.names.set(hosts)
    assert not any(codes), f"coordinators that were asked to end exited with {codes}"
    return f"{len(codes)} exits 0"


async def restart_workers_in_turn(fleet: Fleet, rnd: random.Random) -> str:
    lives = [await member.end(signal.SIGTERM, seconds=60) for member in fleet.workers]
    # One that a step has killed a moment ago may be about to start, and has no work yet to leave in good order.
    codes = [life.code for life in lives if life.was_ready or life.code != -signal.SIGTERM]
    assert set(codes) <= {0, *EXITS_BY_STEPS}, f"workers that were asked to end exited with {codes}"
    return f"{codes.count(0)} exits 0" if 0 in codes else ""


async def step_a_clock(fleet: Fleet, rnd: random.Random) -> str:
    """Only where the members that have a false clock were started with libfaketime."""
    number = rnd.randrange(len(fleet.clocks))
    clock, (member, path) = rnd.choice((-3600, -30, 30, 3600)), fleet.clocks[number]
    set_clock(path, clock)
    try:
        await asyncio.sleep(rnd.uniform(2.0, SESSION_TTL_SECONDS * 2))
        is_loaded = "libfaketime" in _said_of(member.pid, "maps")
    finally:
        set_clock(path, 0)
    return f"{member.name}, {clock:+d} s" if is_loaded else ""


async def _buried(fleet: Fleet, pid: int) -> str:
    """Waits until the session of a worker's process is declared dead."""
    async with await fleet.database.connect() as connection:
        for _ in range(int(SESSION_TTL_SECONDS * 50)):
            found = await connection.execute(
                "SELECT session_id FROM holdfast.sessions WHERE pid = %s AND died_at IS NOT NULL", [pid]
            )
            if row := await found.fetchone():
                return f"session {row[0]} of pid {pid} was declared dead"
            await asyncio.sleep(0.1)
    return ""


# The database


async def crash_database(fleet: Fleet, rnd: random.Random) -> str:
    database = fleet.database
    before = database.log.count("was not properly shut down")
    await database.crash()
    await asyncio.sleep(rnd.choice((0.0, 1.0, 3.0)))
    await database.start()
    return "it recovered" if database.log.count("was not properly shut down") > before else ""


async def cut_connections(fleet: Fleet, rnd: random.Random) -> str:
    async with await fleet.database.connect() as connection:
        found = await connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'holdfast'"
        )
        (count,) = await found.fetchone() or (0,)
    return f"{count} connections" if count else ""


async def take_connections_away(fleet: Fleet, rnd: random.Random) -> str:
    """At most four connections for all coordinators, for three seconds."""
    database = fleet.database
    async with await database.connect() as connection:
        await connection.execute("ALTER ROLE holdfast CONNECTION LIMIT 4")
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'holdfast'"
            )
            evidence = ""
            for _ in range(30):
                await asyncio.sleep(0.1)
                try:
                    await (await psycopg.AsyncConnection.connect(database.url)).close()
                except psycopg.OperationalError as error:
                    evidence = str(error).splitlines()[-1] if "too many connections" in str(error) else evidence
        finally:
            await connection.execute("ALTER ROLE holdfast CONNECTION LIMIT -1")
    return evidence


async def hold_vacuum_back(fleet: Fleet, rnd: random.Random) -> str:
    async with await fleet.database.connect() as connection:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.execute("SELECT 1")
        await asyncio.sleep(rnd.uniform(3.0, 8.0))
        found = await connection.execute("SELECT age(backend_xmin) FROM pg_stat_activity WHERE pid = pg_backend_pid()")
        (age,) = await found.fetchone() or (0,)
    return f"{age} transactions" if age else ""


async def lock_rows(fleet: Fleet, rnd: random.Random) -> str:
    """Holds the locks of some open runs, as a forgotten transaction of an operator does."""
    async with await fleet.database.connect() as connection:
        await connection.execute("BEGIN")
        found = await connection.execute(
            "SELECT run_id FROM holdfast_c00.open_runs ORDER BY random() LIMIT 5 FOR UPDATE SKIP LOCKED"
        )
        locked = await found.fetchall()
        await asyncio.sleep(rnd.uniform(1.0, 4.0))
        await connection.execute("ROLLBACK")
    return f"{len(locked)} runs" if locked else ""


async def fill_disk(fleet: Fleet, rnd: random.Random) -> str:
    """Only where the database has a disk of its own."""
    database = fleet.database
    before = len(re.findall("No space left on device", database.log))
    filler = database.disk / "filler"
    try:
        with filler.open("wb") as file, suppress(OSError):
            while True:
                file.write(b"\0" * 1_000_000)
                file.flush()
        await asyncio.sleep(rnd.uniform(1.0, 3.0))
    finally:
        filler.unlink()
    count = len(re.findall("No space left on device", database.log)) - before
    if database.has_ended:
        await database.restart()
    return f"{count} writes were refused" if count else ""


# The network


async def _for_a_while(fault: Fault, seconds: float) -> str:
    await asyncio.sleep(seconds)
    fault.end()
    return _evidence(fault)


def _evidence(fault: Fault) -> str:
    return f"{fault.evidence()}" if fault.landed else ""


async def delay_bytes(fleet: Fleet, rnd: random.Random) -> str:
    seconds = rnd.choice((0.02, 0.1, 0.4))
    return await _for_a_while(rnd.choice(fleet.proxies).delay(seconds, jitter_seconds=seconds / 2), rnd.uniform(2, 5))


async def throttle_bytes(fleet: Fleet, rnd: random.Random) -> str:
    return await _for_a_while(rnd.choice(fleet.proxies).throttle(rnd.choice((20_000, 200_000))), 4.0)


async def reset_connections(fleet: Fleet, rnd: random.Random) -> str:
    return _evidence(rnd.choice(fleet.proxies).reset())


async def half_open_connections(fleet: Fleet, rnd: random.Random) -> str:
    return await _for_a_while(rnd.choice(fleet.proxies).half_open(), rnd.choice((1.0, SESSION_TTL_SECONDS + 2)))


async def partition_to_coordinator(fleet: Fleet, rnd: random.Random) -> str:
    return await _partition(fleet, rnd, Direction.TO_SERVER)


async def partition_from_coordinator(fleet: Fleet, rnd: random.Random) -> str:
    return await _partition(fleet, rnd, Direction.TO_CLIENT)


async def _partition(fleet: Fleet, rnd: random.Random, *directions: Direction) -> str:
    fault = rnd.choice(fleet.proxies).partition(*directions, drops=rnd.random() < 0.5)
    return await _for_a_while(fault, rnd.choice((0.5, 2.0, SESSION_TTL_SECONDS + 2)))


async def drop_answers(fleet: Fleet, rnd: random.Random) -> str:
    """The call is committed, and its answer is lost."""
    method, first_field = rnd.choice(
        (("StartRuns", None), ("SignalRun", None), ("Work", 1), ("Work", 2), ("Heartbeat", None), ("WaitRuns", None))
    )
    faults = [proxy.drop_answer(method, times=3, first_field=first_field) for proxy in fleet.proxies]
    return await _when_one_lands(faults)


async def duplicate_calls(fleet: Fleet, rnd: random.Random) -> str:
    method = rnd.choice(("StartRuns", "SignalRun", "CancelRun", "Heartbeat", "CloseSession"))
    after = rnd.choice((0.0, 0.5))
    return await _when_one_lands([proxy.duplicate(method, times=5, after_seconds=after) for proxy in fleet.proxies])


async def reorder_calls(fleet: Fleet, rnd: random.Random) -> str:
    method = rnd.choice(("StartRuns", "SignalRun", "WaitRuns", "Work"))
    return await _when_one_lands([proxy.hold_back(method, times=5) for proxy in fleet.proxies])


async def pull_a_cable(fleet: Fleet, rnd: random.Random) -> str:
    return await _lose_packets(fleet, rnd, lambda bridge, cable: bridge.pull(cable))


async def lose_what_a_worker_sends(fleet: Fleet, rnd: random.Random) -> str:
    hosts = [proxy.address.partition(":")[0] for proxy in fleet.proxies]
    return await _lose_packets(fleet, rnd, lambda bridge, cable: bridge.lose_what_it_sends(cable, hosts))


async def lose_what_a_worker_is_sent(fleet: Fleet, rnd: random.Random) -> str:
    return await _lose_packets(fleet, rnd, lambda bridge, cable: bridge.lose_what_it_is_sent(cable))


async def _lose_packets(fleet: Fleet, rnd: random.Random, lose: Callable[[Bridge, Namespace], None]) -> str:
    """Only where workers have network namespaces."""
    assert fleet.bridge is not None
    cable = rnd.choice(fleet.cables)
    before = cable.repeated_segments
    lose(fleet.bridge, cable)
    try:
        await asyncio.sleep(rnd.choice((0.5, 2.0, SESSION_TTL_SECONDS + 2)))
    finally:
        fleet.bridge.plug(cable)
    await asyncio.sleep(TCP_SECONDS)
    count = cable.repeated_segments - before
    return f"{cable.name}: {count} segments were sent again" if count else ""


async def _when_one_lands(faults: Sequence[Fault]) -> str:
    waits = [asyncio.ensure_future(fault.landing()) for fault in faults]
    await asyncio.wait(waits, timeout=LANDING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for fault, wait in zip(faults, waits, strict=True):
        wait.cancel()
        fault.end()
    return "; ".join(filter(None, map(_evidence, faults)))


FAULTS_OF_MACHINES: dict[str, Inflict] = {
    "worker killed": kill_worker,
    "coordinator killed": kill_coordinator,
    "all workers killed": kill_all_workers,
    "all coordinators killed": kill_all_coordinators,
    "worker paused beyond its lease": pause_worker_beyond_its_lease,
    "coordinator paused": pause_coordinator,
    "coordinators restarted in turn": restart_coordinators_in_turn,
    "workers restarted in turn": restart_workers_in_turn,
    **({"clock stepped": step_a_clock} if FAKETIME else {}),
    "database crashed": crash_database,
    "connections cut": cut_connections,
    "connection limit reached": take_connections_away,
    "vacuum horizon held": hold_vacuum_back,
    "rows locked": lock_rows,
    "disk full": fill_disk,
}
FAULTS_OF_NETWORK: dict[str, Inflict] = {
    "bytes delayed": delay_bytes,
    "bytes throttled": throttle_bytes,
    "connections reset": reset_connections,
    "connections half open": half_open_connections,
    "partition towards a coordinator": partition_to_coordinator,
    "partition from a coordinator": partition_from_coordinator,
    "answers lost after the commit": drop_answers,
    "calls duplicated": duplicate_calls,
    "calls reordered": reorder_calls,
    **(
        {
            "cable pulled": pull_a_cable,
            "packets from a worker lost": lose_what_a_worker_sends,
            "packets to a worker lost": lose_what_a_worker_is_sent,
        }
        if Bridge.is_possible()
        else {}
    ),
}
FAULTS = FAULTS_OF_MACHINES | FAULTS_OF_NETWORK
