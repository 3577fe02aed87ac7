"""Builds the programs of examples/other_languages, once, below .cache; says why when this machine cannot.

The programs are built in a copy, so that nothing is left in examples/, and with caches of their own, so that no home
directory is needed. Only what cannot be fetched is a reason to skip: a program that does not build is a failure.
"""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "examples" / "other_languages"
CACHE = ROOT / ".cache" / "other_languages"
"""As deep as SOURCES: the programs find proto/ beside it by the same path."""
BUILD_SECONDS = 600
NODE_MIN, GO_MIN = (18,), (1, 24)

_OUT_OF_REACH = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT|code E(401|403|407|5\d\d)"
    r"|dial tcp|no such host|i/o timeout|TLS handshake timeout|connection refused|GOPROXY=off|proxyconnect"
    r"|(401|403|407|5\d\d) (Unauthorized|Forbidden|Proxy|Internal|Bad Gateway|Service|Gateway)"
)


class CannotBuild(Exception):
    """This machine lacks what the programs of a language are built with; the text says what, and how to get it."""


@dataclass(frozen=True, slots=True)
class Language:
    """How the programs of a language are started: `worker` QUEUE; `client` start or signal, with arguments."""

    name: str
    worker: tuple[str, ...]
    client: tuple[str, ...]


def built(name: str) -> Language:
    """The programs of a language, built unless they are there already. Raises CannotBuild, AssertionError."""
    return _LANGUAGES[name]()


def _node() -> Language:
    node = _tool("node", ("node", "--version"), NODE_MIN, "https://nodejs.org")
    npm = shutil.which("npm")
    if npm is None:
        raise CannotBuild("npm is not installed; it comes with Node.js, https://nodejs.org")
    with _build("node") as (folder, is_current):
        if not is_current:
            environment = {"npm_config_cache": str(CACHE / "npm"), "npm_config_update_notifier": "false"}
            retries = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000")
            command = (npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", *retries)
            _fetch(command, folder, environment, "packages of the npm registry")
    worker, client = folder / "worker.mjs", folder / "client.mjs"
    return Language("node", (node, str(worker)), (node, str(client)))


def _go() -> Language:
    go = _tool("go", ("go", "env", "GOVERSION"), GO_MIN, "https://go.dev")
    with _build("go") as (folder, is_current):
        program = folder / "holdfast-go"
        if not is_current:
            environment = {
                "GOCACHE": str(CACHE / "go-build"),
                "GOMODCACHE": str(CACHE / "go-modules"),
                "GOPATH": str(CACHE / "go-path"),
                "GOTOOLCHAIN": "local",
                "GOTELEMETRY": "off",
                "GOFLAGS": "-modcacherw -buildvcs=false",
                "PATH": os.pathsep.join((str(Path(sys.executable).parent), str(Path(go).parent), os.environ["PATH"])),
                "XDG_CACHE_HOME": str(CACHE / "buf"),
            }
            _fetch((go, "mod", "download"), folder, environment, "modules of the Go module proxy")
            offline = environment | {"GOPROXY": "off"}
            for command in ((go, "generate"), (go, "build", "-o", str(program), ".")):
                code, output = _run(command, folder, offline)
                assert code == 0, f"{' '.join(command)} failed:\n{output}"
    return Language("go", (str(program), "worker"), (str(program),))


_LANGUAGES: Mapping[str, Callable[[], Language]] = {"node": _node, "go": _go}
LANGUAGES = tuple(_LANGUAGES)


def _tool(name: str, asks_version: tuple[str, ...], least: tuple[int, ...], home: str) -> str:
    """The path of a tool that is new enough."""
    path = shutil.which(name)
    wanted = ".".join(map(str, least))
    if path is None:
        raise CannotBuild(f"{name} is not installed; {name} {wanted} or newer comes from {home}")
    said = subprocess.run((path, *asks_version[1:]), check=True, capture_output=True, text=True).stdout.strip()
    if tuple(int(number) for number in re.findall(r"\d+", said)[:2]) < least:
        raise CannotBuild(f"{name} is {said}; {wanted} or newer comes from {home}")
    return path


@contextmanager
def _build(name: str) -> Iterator[tuple[Path, bool]]:
    """A copy of the sources of a language, and whether it is built already. Of several test runs one builds."""
    CACHE.mkdir(parents=True, exist_ok=True)
    folder, stamp = CACHE / name, CACHE / f"{name}.built"
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest = _digest(SOURCES / name)
        is_current = stamp.exists() and stamp.read_text() == digest
        if not is_current:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(SOURCES / name, folder, ignore=shutil.ignore_patterns("node_modules", "api"))
        yield folder, is_current
        stamp.write_text(digest)


def _digest(folder: Path) -> str:
    """What the programs are made of: their sources and the protos."""
    found = hashlib.sha256()
    for path in sorted((*folder.glob("*.*"), *(ROOT / "proto").rglob("*.proto"))):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def _fetch(command: tuple[str, ...], folder: Path, environment: Mapping[str, str], what: str) -> None:
    code, output = _run(command, folder, environment)
    problem = next(filter(_OUT_OF_REACH.search, output.splitlines()), None)
    if code and problem is not None:
        raise CannotBuild(f"{what} cannot be fetched; once they were, they are kept in {CACHE}: {problem}")
    assert code == 0, f"{' '.join(command)} failed:\n{output}"


def _run(command: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """The exit code and the output; all that it has started ends with it, also when it takes too long."""
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=BUILD_SECONDS)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, output
