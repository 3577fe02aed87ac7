"""Random programs under random faults: `python -m tests.chaos --seed 1 --minutes 2`.

Everything is its own: processes, a Postgres, a directory. The last line says how it went; the exit code is 0 when all
held, 1 when something did not, and 2 when the run proves nothing. Then the directory keeps what is needed to look into
it, and the same seed makes the same programs and the same order of faults again.
"""

import argparse
import asyncio
import contextlib
import json
import random
import secrets
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from holdfast import HoldfastError
from tests.chaos import ledger
from tests.chaos.fleet import Fleet, fleet
from tests.chaos.load import Load
from tests.chaos.nemesis import FAULTS, Nemesis
from tests.chaos.own import forget_others, own_directory
from tests.chaos.programs import HARMS, Generator
from tests.chaos.verdict import Evidence, journal_text, violations, why_invalid
from tests.support.cell_rows import read_cell

SETTLE_SECONDS = 120.0
"""How long after the last fault everything that was started may take."""
SPANS_SECONDS = 90.0
"""A relay that has died keeps the runs that it took for 60 s."""
OK, BROKEN, INVALID = 0, 1, 2
KILLS = frozenset({"coordinator killed", "all coordinators killed"})
CRASHES = frozenset({"database crashed"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the arguments and runs; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__, add_help=True)
    parser.add_argument(
        "--seed", type=int, default=None, help="of programs and faults; random, and printed, by default"
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="of faults; 2 by default")
    parser.add_argument("--rate", type=float, default=6.0, help="runs started per second; 6 by default")
    parser.add_argument("--faults", nargs="*", default=[], metavar="NAME", help=f"only these: {', '.join(FAULTS)}")
    parser.add_argument("--directory", type=Path, default=None, help="a new directory for its files; it is kept")
    given = parser.parse_args(arguments)
    unknown = set(given.faults) - FAULTS.keys()
    if unknown:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    seed = given.seed if given.seed is not None else secrets.randbelow(10**6)
    directory = own_directory(parser, given.directory, prefix="holdfast-chaos-")
    forget_others()
    print(f"seed {seed}, {given.minutes:g} minutes, files in {directory}", flush=True)
    try:
        code = asyncio.run(run(seed, given.minutes * 60, given.rate, given.faults or [*FAULTS], directory))
    except (psycopg.Error, HoldfastError, OSError, TimeoutError) as error:
        print(f"the harness itself failed: {error!r}")
        code = INVALID
    if code == OK and given.directory is None:
        shutil.rmtree(directory)
    elif code != OK:
        print(f"repeat it with `make chaos SEED={seed} MINUTES={given.minutes:g}`; its files are in {directory}")
    return code


async def run(seed: int, seconds: float, rate: float, faults: Sequence[str], directory: Path) -> int:
    """One run; the exit code."""
    async with fleet(directory) as serving:
        nemesis = Nemesis(serving, seed=seed, faults=faults, diary=directory / "diary")
        load = Load(
            serving.address, Generator(random.Random(f"{seed} programs")), random.Random(f"{seed} users"),
            prefix=f"chaos-{seed}", directory=directory, rate=rate,
        )  # fmt: skip
        await load.start()
        failure = ""
        try:
            await nemesis.run(seconds)
            async with asyncio.timeout(SETTLE_SECONDS):
                await load.stop()
        except (TimeoutError, AssertionError, OSError, psycopg.Error, HoldfastError, ExceptionGroup) as error:
            failure = f"the fleet did not recover, or a user met what nobody may meet: {error!r}"
            await load.abandon()
        evidence = await _evidence(serving, load)
        broken = [*([failure] if failure else []), *violations(evidence)]
        invalid = why_invalid(evidence)
        counts = {**_counts(nemesis, evidence), "stalls that an operator ended": load.resumed}
        if broken:
            await serving.dump_stacks()
        _keep(directory, serving, load, evidence, broken, counts)
    print(json.dumps(counts, indent=2))
    for text in broken:
        print(text)
    print(f"{len(broken)} violations" if broken else invalid or "everything held")
    return BROKEN if broken else INVALID if invalid else OK


async def _evidence(serving: Fleet, load: Load) -> Evidence:
    """Everything that is left; spans of closed runs are waited for."""
    async with await serving.database.connect() as connection:
        # The relay waits 30 s before it takes a closed run for one whose spans nobody else exports; here all are over.
        await connection.execute("UPDATE holdfast_c00.trace_marks SET relay_at = now() WHERE relay_at IS NOT NULL")
        letters = await (await connection.execute("SELECT * FROM holdfast_c00.dead_letters")).fetchall()
    rows = await asyncio.to_thread(read_cell, serving.database.admin_url)
    closed = {result.run_id for result in rows.results}

    def ended(sink: Any) -> bool:
        told = {
            span.attributes.get("holdfast.run.id")
            for span in sink.spans
            if span.attributes.get("holdfast.run.status", "running") != "running"
        }
        return closed <= told

    with contextlib.suppress(AssertionError):  # what is missing is said by the verdict
        await serving.sink.until(ended, timeout=SPANS_SECONDS)
    return Evidence(
        rows=rows,
        dead_letters=[str(letter) for letter in letters],
        lines=ledger.read(serving.directory / "ledger"),
        calls=load.calls,
        stories=load.stories,
        spans=serving.sink.spans,
    )


def _counts(nemesis: Nemesis, evidence: Evidence) -> dict[str, Any]:
    begun = ledger.executions(evidence.lines)
    steps = [
        seconds
        for deed in nemesis.diary
        for pid in deed.pids
        for seconds in ledger.recoveries(evidence.lines, pid, deed.begun_at)
    ]
    marks = Counter(path.name.partition("-")[0] for path in nemesis.fleet.directory.iterdir())
    by_steps = Counter(
        {f"step {harm} {'its loop' if harm == 'blocks' else 'its worker'}": marks[harm] for harm in HARMS}
    )
    return {
        "runs": len(evidence.rows.runs),
        "steps": len(begun),
        "executions": sum(begun.values()),
        "calls": dict(Counter(call.answer for call in evidence.calls)),
        "spans": len(evidence.spans),
        "faults": dict(sorted((nemesis.landed + by_steps).items())),
        "hit nothing": dict(Counter(deed.name for deed in nemesis.diary if not deed.evidence)),
        "seconds until": {
            "a step of a killed worker runs again": _quantiles(steps),
            "a call is answered after a coordinator was killed": _quantiles(_answers_after(nemesis, evidence, KILLS)),
            "a call is answered after the database was up again": _quantiles(
                _answers_after(nemesis, evidence, CRASHES)
            ),
        },
    }


def _answers_after(nemesis: Nemesis, evidence: Evidence, names: frozenset[str]) -> list[float]:
    """How long after each such fault the first call that was begun after it was acknowledged."""
    found = []
    for deed in nemesis.diary:
        at = deed.ended_at if deed.name in CRASHES else deed.begun_at
        later = [call for call in evidence.calls if call.begun_at > at and call.answer == "acknowledged"]
        if deed.name in names and later:
            found.append(min(call.ended_at for call in later) - at)
    return found


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {"count": 0}
    at = [round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 2) for share in (0.5, 0.99)]
    return {"count": len(ordered), "p50": at[0], "p99": at[1]}


def _keep(
    directory: Path, serving: Fleet, load: Load, evidence: Evidence, broken: Sequence[str], counts: dict[str, Any]
) -> None:
    """Writes what one looks at after a failure."""
    for member in (*serving.coordinators, *serving.workers):
        (directory / f"{member.name.replace(' ', '-')}.log").write_text(member.output)
    (directory / "counts.json").write_text(json.dumps(counts, indent=2))
    (directory / "violations").write_text("\n".join(broken))
    (directory / "calls").write_text("\n".join(map(str, load.calls)))
    (directory / "stories").write_text("\n\n".join(map(str, load.stories)))
    (directory / "leases").write_text("\n".join(map(str, evidence.rows.open_runs.values())))
    text = "\n".join(broken)
    named = [run_id for run_id in evidence.rows.journals if run_id in text]
    plans = [story.run_ids for story in load.stories if f"{story.plan.name}:" in text]
    for run_id in {*named, *(run_id for ids in plans for run_id in ids)}:
        (directory / f"journal-{run_id}").write_text(journal_text(evidence.rows.journals.get(run_id, ())))
