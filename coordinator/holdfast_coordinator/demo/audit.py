"""The audit, as a user of holdfast would write it: three steps and two workflows.

One run awaits a child run per installed distribution. A child reads the distribution's RECORD, in which its
installer wrote the hash and size of every file, and verifies the files in chunks, all chunks at once. Kill a
worker at any moment: what was verified stays verified, and only the chunks under way are read again.
"""

import asyncio
import base64
import csv
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import islice
from pathlib import Path

from holdfast import step, workflow

from .places import metadata_paths

CHUNK_FILES = 20
CHUNKS_MAX = 200  # a distribution of 40,000 files gets larger chunks, not thousands of steps
PROBLEMS_SHOWN = 5


@dataclass(frozen=True)
class Distribution:
    """An installed distribution. `info` is the directory with its metadata."""

    name: str
    info: Path


@dataclass(frozen=True)
class Chunk:
    """Which lines of a RECORD to verify, counted from 0."""

    first: int
    count: int


@dataclass(frozen=True)
class RecordedFile:
    """One line of a RECORD. `hash` is "sha256=<urlsafe base64>"; None when the line has none."""

    path: str
    hash: str | None
    size: int | None


@dataclass(frozen=True)
class Findings:
    """What an audit found; of a chunk, of a distribution, or of all.

    unrecorded: distributions without a readable RECORD. files: lines in RECORDs; each is verified, mismatched,
    missing or unverifiable (no hash, or not readable). bytes: read to compare hashes. problems: for people.
    """

    distributions: int = 0
    unrecorded: int = 0
    files: int = 0
    verified: int = 0
    mismatched: int = 0
    missing: int = 0
    unverifiable: int = 0
    bytes: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        both = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        return Findings(**both)


@workflow
async def audit_machine(directories: list[Path], limit: int | None = None) -> Findings:
    """Audits the distributions in some directories, at most `limit` of them, each in a run of its own."""
    distributions = await list_distributions(directories, limit)
    return summary(await asyncio.gather(*map(audit_distribution, distributions)))


@workflow
async def audit_distribution(distribution: Distribution) -> Findings:
    """Verifies every file of a distribution that its RECORD names."""
    chunks = await plan_chunks(distribution)
    if chunks is None:
        return Findings(distributions=1, unrecorded=1)
    found = await asyncio.gather(*(verify_chunk(distribution, chunk) for chunk in chunks))
    return Findings(distributions=1) + summary(found)


@step
def list_distributions(directories: list[Path], limit: int | None) -> list[Distribution]:
    """What is installed in the directories."""
    found = (Distribution(info.stem, info) for directory in directories for info in metadata_paths(directory))
    return list(islice(found, limit))


@step
def plan_chunks(distribution: Distribution) -> list[Chunk] | None:
    """How to divide the files of a distribution; None when nothing is recorded of it, as of system packages."""
    files = recorded_files(distribution.info)
    if files is None:
        return None
    size = max(CHUNK_FILES, math.ceil(len(files) / CHUNKS_MAX))
    return [Chunk(first, min(size, len(files) - first)) for first in range(0, len(files), size)]


@step
def verify_chunk(distribution: Distribution, chunk: Chunk) -> Findings:
    """Compares some files of a distribution with what its RECORD says."""
    files = recorded_files(distribution.info) or []
    directory = distribution.info.parent
    return summary(verify(directory, file) for file in files[chunk.first : chunk.first + chunk.count])


# Every chunk of a distribution needs its RECORD. Passed as an argument it could exceed the limit of a payload.
@lru_cache(maxsize=512)
def recorded_files(info: Path) -> list[RecordedFile] | None:
    """The lines of a RECORD; None when there is none, or none that can be read."""
    try:
        text = (info / "RECORD").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return [_recorded(row) for row in csv.reader(text.splitlines()) if row]


def _recorded(row: list[str]) -> RecordedFile:
    path, digest, size = (*row, "", "")[:3]
    return RecordedFile(path, digest or None, int(size) if size.isdecimal() else None)


def verify(directory: Path, file: RecordedFile) -> Findings:
    """Compares one file with its line. Paths are relative to the directory that holds the distribution."""
    algorithm, _, expected = (file.hash or "").partition("=")
    if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
        return Findings(files=1, unverifiable=1)  # compiled files and the RECORD itself have no hash
    path = directory / file.path
    try:
        if not path.is_file():
            return Findings(files=1, missing=1, problems=(f"missing: {path}",))
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, algorithm).digest()
            size = content.tell()
    except OSError:
        return Findings(files=1, unverifiable=1)  # other people's files
    actual = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if actual == expected.rstrip("=") and file.size in (None, size):
        return Findings(files=1, verified=1, bytes=size)
    return Findings(files=1, mismatched=1, bytes=size, problems=(f"differs: {path}",))


def summary(parts: Iterable[Findings]) -> Findings:
    """The sum of the parts, with the first problems of all."""
    total = sum(parts, Findings())
    return Findings(**{**vars(total), "problems": total.problems[:PROBLEMS_SHOWN]})
