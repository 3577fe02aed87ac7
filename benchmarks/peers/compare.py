"""Finds the best way of running each peer, then measures holdfast and the peers in turns.

Only one engine is up at a time, and each begins with an empty store.
"""

import contextlib
import gc
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from ..stack import stack
from .cases import CASES, SMOKE, Case, Load
from .engines import Engine, Holdfast, PeerFailed
from .install import CannotInstall, Installed, install
from .peer import Peer
from .ratios import OURS, best_way, compare
from .table import Results

ROUNDS = 3
WARM_UP_PART = 10
SEARCH_PART = 4
LOAD = Load(one_step_runs=4_000, ten_step_runs=1_000)
"""Of holdfast in a round."""

Say = Callable[[str], None]


@dataclass(slots=True, frozen=True)
class Found:
    """A peer that is installed and works. ways: the best one of each case."""

    peer: Peer
    installed: Installed
    ways: Mapping[str, str]


async def measure(peers: Sequence[Peer], *, is_smoke: bool, say: Say) -> Results:
    """Measures holdfast beside the peers; those that cannot be installed or do not start are left out.

    is_smoke: one way, one round, and so little work that nothing is measured. Raises BenchFailed, PeerFailed.
    """
    found: list[Found] = []
    why_not: dict[str, str] = {}
    for peer in peers:
        try:
            say(f"installing {peer.title}")
            installed = install(peer.name, peer.parts)
            found.append(Found(peer, installed, await _best_ways(peer, installed, is_smoke=is_smoke, say=say)))
        except (CannotInstall, PeerFailed) as error:
            why_not[peer.name] = str(error)
    rounds = await _rounds(found, 1 if is_smoke else ROUNDS, is_smoke=is_smoke, say=say) if found else {OURS: []}
    return Results(
        titles={OURS: f"holdfast {version('holdfast')}", **{peer.name: peer.title for peer in peers}},
        comparisons=compare([one.peer.name for one in found], rounds),
        ways={one.peer.name: one.ways for one in found},
        left_out=why_not,
    )


async def _best_ways(peer: Peer, installed: Installed, *, is_smoke: bool, say: Say) -> Mapping[str, str]:
    """By case, the way that was the fastest."""
    reached: dict[str, dict[str, float]] = defaultdict(dict)
    ways = list(peer.ways)[: 1 if is_smoke else None]
    for number, way in enumerate(ways, start=1):
        say(f"{peer.title}, way {number} of {len(ways)}: {way}")
        load = SMOKE if is_smoke else peer.load.part(SEARCH_PART)
        async with peer.ways[way](installed) as engine:
            for case in _cases_of(peer):
                reached[case.name][way] = (await _measured(engine, case, load))[case.figures[0]]
    return {case.name: best_way(case.figures[0], reached[case.name]) for case in _cases_of(peer)}


async def _rounds(found: Sequence[Found], count: int, *, is_smoke: bool, say: Say) -> dict[str, list[dict[str, float]]]:
    """By engine, the figures of each round."""
    rounds: dict[str, list[dict[str, float]]] = defaultdict(list)
    for number in range(count):
        of_round: dict[str, dict[str, float]] = {name: {} for name in (OURS, *(one.peer.name for one in found))}
        for case in CASES:
            turns = [(OURS, LOAD, _holdfast())] + [
                (one.peer.name, one.peer.load, one.peer.ways[one.ways[case.name]](one.installed))
                for one in found
                if case.name in one.ways
            ]
            # Each is the first in turn: what follows finds what the one before it has left in caches and on the disk.
            first = number % len(turns)
            for name, load, starting in turns[first:] + turns[:first]:
                say(f"round {number + 1} of {count}: {case.name} of {name}")
                async with starting as engine:
                    of_round[name] |= await _measured(engine, case, SMOKE if is_smoke else load)
        for name, values in of_round.items():
            rounds[name].append(values)
    return rounds


async def _measured(engine: Engine, case: Case, load: Load) -> Mapping[str, float]:
    await case.measure(engine, load.part(WARM_UP_PART))
    gc.collect()
    return await case.measure(engine, load)


def _cases_of(peer: Peer) -> list[Case]:
    return [case for case in CASES if peer.cases is None or case.name in peer.cases]


@contextlib.asynccontextmanager
async def _holdfast() -> AsyncIterator[Engine]:
    async with stack(workers=2) as running:
        yield Holdfast(running)
