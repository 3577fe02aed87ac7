"""This code beside that of another revision, telemetry off: `make bench-against REV=<commit>`.

Both stacks stand at once and take turns at B1, B2 and B4, ten pairs of each. What is printed is how good this code is
over how good the other one is, whether more or less is better: above 1 this code is the better one.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from holdfast.client.loops import run

from .cases import measure_idle, measure_one_step_runs, measure_ten_step_runs, run_all
from .figures import DUES, Figure
from .flows import ten_steps
from .processes import forget_settings
from .sizes import FULL, Sizes, Values
from .stack import Stack, stack

WORKERS = 2
WARM_UP_RUNS = 200


def main() -> None:
    """Prints the median and the range of the pairs. The one argument: where the other revision is checked out."""
    forget_settings()
    checkout = Path(sys.argv[1]).resolve()
    console = Console()
    with console.status(f"{FULL.pairs} pairs of loads"):
        ratios = run(measure_against(checkout, FULL, pairs=FULL.pairs))
    for name, found in ratios.items():
        figure = Figure.of(found, "x")
        console.print(f"{name:<20} {figure.median:.3f}  ({figure.min:.3f} .. {figure.max:.3f})", highlight=False)


async def measure_against(checkout: Path, sizes: Sizes, *, pairs: int) -> dict[str, list[float]]:
    """By figure, what each pair of loads gave. Raises BenchFailed when a stack does not work."""
    ratios: dict[str, list[float]] = {}
    async with stack(workers=WORKERS, checkout=checkout) as before, stack(workers=WORKERS) as now:
        for running in (before, now):
            await run_all(running.client, ten_steps, WARM_UP_RUNS, in_flight=sizes.in_flight)
        for number in range(pairs):
            # Who goes first takes turns too: what the second finds is not what the first found.
            order = (before, now) if number % 2 == 0 else (now, before)
            found = {id(running): await _load(running, sizes) for running in order}
            for name, ratio in _ratios(found[id(before)], found[id(now)]).items():
                ratios.setdefault(name, []).append(ratio)
    return ratios


async def _load(running: Stack, sizes: Sizes) -> Values:
    measures = (measure_one_step_runs, measure_ten_step_runs, measure_idle)
    return {name: value for measure in measures for name, value in (await measure(running, sizes)).items()}


def _ratios(before: Values, now: Values) -> Mapping[str, float]:
    """How much better each figure is now; what one of the two cannot measure is left out."""
    ratios = {}
    for name, due in DUES.items():
        old, new = before.get(name), now.get(name)
        if old and new:
            ratios[name] = new / old if due.more_is_better else old / new
    return ratios


if __name__ == "__main__":
    main()
