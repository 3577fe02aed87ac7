"""Builds Jaeger, a real backend for traces, with Go, unless it is there already. Prints the path of the program.

`make trace-test` runs it. Where there is no Go it prints no path, and says so on stderr.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

MODULE = "github.com/jaegertracing/jaeger@v1.76.0"
"""The repository of Jaeger 2.13.0, whose versions carry both numbers. Its own go.mod and go.sum say what goes in.

`go install` does not take it, since that go.mod replaces a module; a build inside the module does. The program has no
web pages, which are made elsewhere; its query API is whole.
"""

GO_MIN = (1, 24)
PROGRAM = Path(__file__).resolve().parents[2] / ".cache" / "jaeger" / MODULE.rpartition("@")[2] / "jaeger"


def go_problem() -> str | None:
    """Why Jaeger cannot be built here; None when it can."""
    if shutil.which("go") is None:
        return "Jaeger is built with Go, which is not installed"
    found = subprocess.run(["go", "env", "GOVERSION"], check=True, capture_output=True, text=True).stdout.strip()
    version = tuple(int(number) for number in re.findall(r"\d+", found)[:2])
    wanted = ".".join(map(str, GO_MIN))
    return None if version >= GO_MIN else f"Jaeger is built with Go {wanted} or newer, here is {found}"


def build() -> None:
    """Downloads and builds it: some minutes on two cores, and about 2 GB of Go's own caches."""
    answer = subprocess.run(["go", "mod", "download", "-json", MODULE], check=True, capture_output=True, text=True)
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    # Moved when it is whole: what an interrupted build leaves is not taken for the program.
    made = PROGRAM.with_suffix(".new")
    command = ["go", "build", "-o", str(made), "./cmd/jaeger"]
    subprocess.run(command, check=True, cwd=json.loads(answer.stdout)["Dir"])
    made.replace(PROGRAM)


def main() -> int:
    if not PROGRAM.exists():
        problem = go_problem()
        if problem is not None:
            print(f"skipped: {problem}", file=sys.stderr)
            return 0
        print("building Jaeger; this takes some minutes, once", file=sys.stderr)
        build()
    print(PROGRAM)
    return 0


if __name__ == "__main__":
    sys.exit(main())
