"""The same totals without holdfast, in one loop: what the durable audit is checked against.

Shares with it only where distributions lie. Must not import `audit` or `holdfast`.
"""

import base64
import csv
import hashlib
from collections import Counter
from importlib.metadata import Distribution
from itertools import chain, islice
from pathlib import Path

from .places import metadata_paths


def totals(directories: list[Path], limit: int | None = None) -> Counter[str]:
    """How many distributions, files and bytes there are, and how many files verified, mismatched and so on."""
    total: Counter[str] = Counter()
    for info in islice(chain.from_iterable(map(metadata_paths, directories)), limit):
        total["distributions"] += 1
        record = _record(info)
        if record is None:
            total["unrecorded"] += 1
            continue
        for line in csv.reader(record.splitlines()):
            if line:
                verdict, bytes_read = _verdict(info.parent, line)
                total.update({"files": 1, verdict: 1, "bytes": bytes_read})
    return total


def _record(info: Path) -> str | None:
    try:
        return Distribution.at(info).read_text("RECORD")
    except (OSError, UnicodeDecodeError):
        return None


def _verdict(directory: Path, line: list[str]) -> tuple[str, int]:
    """What a line of RECORD says about its file, and how many bytes were read to know it."""
    name, recorded_hash, recorded_size = (*line, "", "")[:3]
    if recorded_hash.split("=")[0] not in hashlib.algorithms_guaranteed - {"shake_128", "shake_256"}:
        return "unverifiable", 0
    path = Path(directory, name)
    try:
        if not path.is_file():
            return "missing", 0
        content = path.read_bytes()
    except OSError:
        return "unverifiable", 0
    algorithm, _, digest = recorded_hash.partition("=")
    same_size = not recorded_size.isdecimal() or int(recorded_size) == len(content)
    same_hash = _decoded(digest) == hashlib.new(algorithm, content).digest()
    return "verified" if same_hash and same_size else "mismatched", len(content)


def _decoded(digest: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4))
    except ValueError:
        return b""
