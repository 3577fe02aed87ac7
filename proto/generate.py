"""Generates the Python modules of the protos into sdk/, and the diagrams of states in docs/ARCHITECTURE.md.

With --check it says whether they are current.

Run by `make proto` and `make check`. The generator is pinned in pyproject.toml, so its output is stable.
"""

import argparse
import filecmp
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

PROTO = Path(__file__).resolve().parent
SDK = PROTO.parent / "sdk"
PACKAGE = Path("holdfast/api/v1")


def generate(target: Path) -> None:
    """Writes the modules of every proto below `target`, with type stubs."""
    sources = sorted(str(path.relative_to(PROTO)) for path in (PROTO / PACKAGE).glob("*.proto"))
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={target}",
         f"--pyi_out={target}", f"--grpc_python_out={target}", *sources],
        check=True,
    )  # fmt: skip
    for service in (target / PACKAGE).glob("*_pb2_grpc.py"):
        if not service.name.removesuffix("_pb2_grpc.py").endswith("_service"):
            service.unlink()  # protos without a service have nothing for gRPC


def stale_modules(current: Path, fresh: Path) -> list[str]:
    """Names of generated modules that differ, are missing or should not be there."""
    names = {path.name for path in fresh.glob("*_pb2*")} | {path.name for path in current.glob("*_pb2*")}
    _, differing, missing = filecmp.cmpfiles(current, fresh, names, shallow=False)
    return sorted([*differing, *missing])


def _state_diagrams() -> ModuleType:
    """The module that draws them. Its imports need generated code, which may only just have been made."""
    return importlib.import_module("state_diagrams")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the code is not current")
    if not parser.parse_args().check:
        for old in (SDK / PACKAGE).glob("*_pb2*"):
            old.unlink()
        generate(SDK)
        diagrams = _state_diagrams()
        diagrams.PAGE.write_text(diagrams.with_diagrams(diagrams.PAGE.read_text()))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        stale = stale_modules(SDK / PACKAGE, Path(scratch) / PACKAGE)
    if not stale:
        diagrams = _state_diagrams()
        page = diagrams.PAGE.read_text()
        stale = [] if diagrams.with_diagrams(page) == page else [str(diagrams.PAGE.relative_to(PROTO.parent))]
    if stale:
        print(f"what is generated is not current: {', '.join(stale)}; run `make proto`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
