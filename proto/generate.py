"""Makes Python code and docs of the protos and of the tables of states, or with --check says whether they are current.

The modules of the messages come from the generator that is pinned in pyproject.toml, so its output is stable; what
the journal's kinds make up beside them comes from journal_code, the diagrams in docs/ARCHITECTURE.md from
state_diagrams. Run by `make proto` and `make check`.
"""

import argparse
import filecmp
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from journal_code import Disagreement, made

PROTO = Path(__file__).resolve().parent
ROOT = PROTO.parent
SDK = ROOT / "sdk"
PACKAGE = Path("holdfast/api/v1")


def protoc(*arguments: str) -> None:
    """Runs the pinned generator over every proto."""
    sources = sorted(str(path.relative_to(PROTO)) for path in (PROTO / PACKAGE).glob("*.proto"))
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", *arguments, *sources], check=True)


def generate(target: Path) -> None:
    """Writes the modules of every proto below `target`, with type stubs."""
    protoc(f"--python_out={target}", f"--pyi_out={target}", f"--grpc_python_out={target}")
    for service in (target / PACKAGE).glob("*_pb2_grpc.py"):
        if not service.name.removesuffix("_pb2_grpc.py").endswith("_service"):
            service.unlink()  # protos without a service have nothing for gRPC


def descriptors() -> FileDescriptorSet:
    """The protos with their comments."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "protos.bin"
        protoc(f"--descriptor_set_out={path}", "--include_source_info")
        return FileDescriptorSet.FromString(path.read_bytes())


def stale_modules(current: Path, fresh: Path) -> list[str]:
    """Names of generated modules that differ, are missing or should not be there."""
    names = {path.name for path in fresh.glob("*_pb2*")} | {path.name for path in current.glob("*_pb2*")}
    _, differing, missing = filecmp.cmpfiles(current, fresh, names, shallow=False)
    return sorted([*differing, *missing])


def stale_files(texts: dict[str, str]) -> list[str]:
    """Paths below the root of files that have not the text that they should have."""
    paths = {path: ROOT / path for path in texts}
    return [name for name, path in paths.items() if not path.exists() or path.read_text() != texts[name]]


def _state_diagrams() -> ModuleType:
    """The module that draws them. Its imports need generated code, which may only just have been made."""
    return importlib.import_module("state_diagrams")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the code is not current")
    is_check = parser.parse_args().check
    try:
        texts = made(descriptors())
    except Disagreement as error:
        print(error, file=sys.stderr)
        return 1
    if not is_check:
        for old in (SDK / PACKAGE).glob("*_pb2*"):
            old.unlink()
        generate(SDK)
        for name, text in texts.items():
            (ROOT / name).write_text(text)
        diagrams = _state_diagrams()
        diagrams.PAGE.write_text(diagrams.with_diagrams(diagrams.PAGE.read_text()))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        stale = stale_modules(SDK / PACKAGE, Path(scratch) / PACKAGE) + stale_files(texts)
    if not stale:
        diagrams = _state_diagrams()
        page = diagrams.PAGE.read_text()
        stale = [] if diagrams.with_diagrams(page) == page else [str(diagrams.PAGE.relative_to(ROOT))]
    if stale:
        print(f"what is generated is not current: {', '.join(stale)}; run `make proto`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
