"""This code beside that of another revision, on ten-step runs with telemetry off: `make bench-against REV=<commit>`.

Both stacks stand at once and take turns, ten pairs of loads; what is printed is this code over the other one.
"""

import sys
from pathlib import Path

from rich.console import Console

from holdfast.client.loops import run

from .cases import FULL
from .figures import Figure
from .telemetry import measure_against


def main() -> None:
    """Prints the median and the range of the pairs. The one argument: where the other revision is checked out."""
    checkout = Path(sys.argv[1]).resolve()
    console = Console()
    with console.status(f"{FULL.pairs} pairs of loads"):
        ratios = run(measure_against(checkout, FULL, pairs=FULL.pairs))
    for name, found in ratios.items():
        figure = Figure.of(found, "x")
        console.print(f"{name:<18} {figure.median:.3f}  ({figure.min:.3f} .. {figure.max:.3f})", highlight=False)


if __name__ == "__main__":
    main()
