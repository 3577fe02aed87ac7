"""Distributions for the demo to audit: enough that a worker can be killed in the middle, and one file is wrong."""

import base64
import hashlib
import os
import sys
from pathlib import Path

from tests.support.processes import Process

DISTRIBUTIONS = 12
FILES = 400
FILE_BYTES = 200_000


def make_packages(directory: Path) -> Path:
    """Writes the distributions into a directory. One file of the first is not as recorded."""
    content = os.urandom(FILE_BYTES)
    said = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    (directory / "content").write_bytes(content)
    for number in range(DISTRIBUTIONS):
        info = directory / f"made{number}-1.0.dist-info"
        info.mkdir()
        lines = []
        for file in range(FILES):
            name = f"made{number}_{file}.bin"
            os.link(directory / "content", directory / name)
            lines.append(f"{name},{said},{FILE_BYTES + (number == file == 0)}\n")
        (info / "RECORD").write_text("".join(lines))
    return directory


def demo_process(packages: Path, *options: str) -> Process:
    """The demo on what is installed in a directory."""
    return Process("demo", [sys.executable, "-m", "holdfast", "demo", "--path", str(packages), *options])
