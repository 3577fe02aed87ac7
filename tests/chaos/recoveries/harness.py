"""How soon things go on: `python -m tests.chaos.recoveries --kills 50`.

A fleet of its own is hit again and again, each time when all of it serves; see kinds.py for what is done and measured.
The exit code is 0 when the slowest recoveries stay below their bars and nothing was lost, else 1, and 2 when the
harness itself failed.
"""

import argparse
import asyncio
import json
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg

from holdfast import HoldfastError
from tests.chaos.ledger import ENVIRONMENT
from tests.chaos.own import forget_others, own_directory
from tests.chaos.recoveries.kinds import KINDS, QUEUE, SESSION_TTL_SECONDS, scene
from tests.chaos.replicas import replicas

OK, BROKEN, INVALID = 0, 1, 2
MODULE = "tests.chaos.recoveries.flows"
COORDINATORS = WORKERS = 2

Measured = dict[str, list[float]]
"""Seconds, one for each blow, by what was measured."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the arguments and runs; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.recoveries", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each kind; 50 by default")
    parser.add_argument("--kinds", nargs="*", default=[], metavar="KIND", help=f"only these: {', '.join(KINDS)}")
    parser.add_argument("--slack", type=float, default=0.0, help="seconds beyond every bar that are right too")
    parser.add_argument("--directory", type=Path, default=None, help="a new directory for its files; it is kept")
    parser.add_argument("--json", type=Path, default=None, help="a file for everything that was measured")
    given = parser.parse_args(arguments)
    if given.kills < 1:
        parser.error("nothing recovers where nothing is killed: --kills is at least 1")
    if unknown := set(given.kinds) - KINDS.keys():
        parser.error(f"there is no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    directory = own_directory(parser, given.directory, prefix="holdfast-recoveries-")
    forget_others()
    print(f"{given.kills} of each kind, a session lives {SESSION_TTL_SECONDS:g} s, files in {directory}", flush=True)
    all_measured: dict[str, Measured] = {}
    code = OK
    for name in given.kinds or KINDS:
        try:
            (directory / name).mkdir()
            all_measured[name] = asyncio.run(measure(name, given.kills, directory / name))
        except (AssertionError, ExceptionGroup) as error:
            print(f"{KINDS[name].title}: {error!r}")
            code = BROKEN
        except (psycopg.Error, HoldfastError, OSError, TimeoutError) as error:
            print(f"the harness itself failed: {error!r}")
            code = code or INVALID
        else:
            code = code or (OK if report(name, all_measured[name], slack=given.slack) else BROKEN)
    if given.json is not None:
        given.json.write_text(json.dumps(all_measured, indent=1))
    if code == OK and given.directory is None:
        shutil.rmtree(directory)
    elif code != OK:
        print(f"its files are in {directory}")
    return code


async def measure(name: str, kills: int, directory: Path) -> Measured:
    """Kills one kind `kills` times, and measures each recovery."""
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(
            replicas(
                directory, MODULE, queue=QUEUE, coordinators=COORDINATORS, workers=WORKERS, is_pinned=name == "mail",
                options=["--session-ttl", f"{SESSION_TTL_SECONDS:g}s"],
                environment={ENVIRONMENT: str(directory / "ledger")},
            )
        )  # fmt: skip
        stack.callback(fleet.keep_logs)
        seen = await scene(fleet, stack)
        found: Measured = {}
        for number in range(kills):
            await fleet.all_ready()
            for what, seconds in (await KINDS[name].blow(seen, number)).items():
                found.setdefault(what, []).append(seconds)
        return found


def report(name: str, measured: Measured, *, slack: float) -> bool:
    """Prints the quantiles of each measurement; True when all are below their bars."""
    kind = KINDS[name]
    print(kind.title)
    is_well = True
    for what, seconds in measured.items():
        p50, p99 = quantile(seconds, 0.5), quantile(seconds, 0.99)
        is_below = p99 <= kind.bars[what] + slack
        is_well = is_well and is_below
        figures = f"{len(seconds)} times, p50 {p50:.3f} s, p99 {p99:.3f} s, at most {kind.bars[what]:g} s"
        print(f"  {what:<56} {figures}{'' if is_below else '  TOO LATE'}", flush=True)
    return is_well


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all are not above."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
