"""Owns the postmaster on behalf of a parent, and ends it when the parent ends, however that happens.

Run as a script (`python -I -S guardian.py PLAN`), so it imports the standard library only and never
anything of holdfast: it has to start in some 30 ms, also as root with a virtual environment elsewhere.

Why a process of its own, between the parent and the postmaster:
- PR_SET_PDEATHSIG on the postmaster alone would fire when the *thread* that started it ends, is Linux only,
  and can send one signal, and nothing follows up or removes an ephemeral directory.
- The guardian is the postmaster's real parent. So there is no moment at which a server runs unwatched, and
  its pid cannot be recycled under the guardian, which is the one who reaps it.
- The parent's end shows in two ways: the pipe on stdin reaches its end, and getppid() changes. The pipe alone
  would not do: a child that the parent forked without exec holds a copy of the writing end.
Should the guardian itself be killed, PR_SET_PDEATHSIG takes the postmaster along; the guardian has one
thread, and sets it after the change of user, which would clear it.

The guardian also inherits the lock of the data directory: it is held for as long as the server runs.

Protocol: PLAN is JSON (see GuardianPlan in embedded_server.py). stdout gets a JSON object per line:
{"event": "ready", "pid"},
{"event": "failed", "reason", "log"} before that, {"event": "exited", "log"} when the server ends unasked,
{"event": "error", "errno", "text"} for an error of the operating system.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

FAST_SECONDS = 30.0  # the shutdown checkpoint may have 2 GB to write
IMMEDIATE_SECONDS = 5.0
START_POLL_SECONDS = 0.01
WATCH_SECONDS = 0.2  # for what does not wake us: the server's end, and a parent whose pipe was copied
LOG_TAIL_BYTES = 4096
PR_SET_PDEATHSIG = 1


class ParentEnded(Exception):
    """The parent closed the pipe or ended. Everything that was started is to be taken down."""


class Parent:
    """The process that the server runs for, seen through stdin and its pid."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self, seconds: float) -> None:
        """Waits at most this long. Raises ParentEnded as soon as the pipe is at its end."""
        readable, _, _ = select.select([0], [], [], seconds)
        if readable and not os.read(0, 4096):
            raise ParentEnded
        if os.getppid() != self.pid:
            raise ParentEnded


def main() -> None:
    plan: dict[str, Any] = json.loads(sys.argv[1])
    # Handlers rather than SIG_IGN, which would be inherited by the server. A terminal's Ctrl-C or a service
    # manager's SIGTERM goes to the parent too, which still needs the database while it shuts down.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    scratch = Path(plan["scratch"])
    try:
        make_directory(scratch, plan)
        run(plan, Parent(plan["parent"]))
    except ParentEnded:
        pass
    except OSError as error:
        report(event="error", errno=error.errno, text=str(error))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def run(plan: dict[str, Any], parent: Parent) -> None:
    """Makes the data directory if there is none, then runs the server until it or the parent ends."""
    data, log_path = Path(plan["data"]), Path(plan["log"])
    with open_log(log_path) as log:
        if plan["initdb"] and not initialise(plan, parent, log):
            report(event="failed", reason="could not make its data directory", log=tail(log_path))
            return
        for name, text in plan["files"].items():
            write_file(data / name, text, plan)
        server = launch(plan["postgres"], plan, log, last_signal=signal.SIGQUIT)
        try:
            watch(server, parent, data, log_path)
        finally:
            end(server, immediately=plan["ephemeral"])


def initialise(plan: dict[str, Any], parent: Parent, log: Any) -> bool:
    """Makes the data directory, whole or not at all: a rename is the last thing that happens."""
    data = Path(plan["data"])
    staging = data.with_name(data.name + ".new")
    shutil.rmtree(staging, ignore_errors=True)  # of an attempt that was cut short; we hold the lock
    make_directory(staging, plan)
    try:
        for command in plan["initdb"]:
            made = launch([*command, "--pgdata", str(staging)], plan, log, last_signal=signal.SIGTERM)
            try:
                while made.poll() is None:
                    parent.wait(START_POLL_SECONDS)
            finally:
                if made.poll() is None:
                    made.terminate()
                    made.wait()
            if made.returncode != 0:
                return False
        staging.rename(data)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return True


def watch(server: subprocess.Popen[bytes], parent: Parent, data: Path, log: Path) -> None:
    """Returns when the server has ended by itself, and reports it. Raises ParentEnded."""
    ready = False
    while server.poll() is None:
        if not ready and is_ready(data, server.pid):
            ready = True
            report(event="ready", pid=server.pid)
        parent.wait(WATCH_SECONDS if ready else START_POLL_SECONDS)
    if ready:
        report(event="exited", log=tail(log))
    else:
        report(event="failed", reason=f"ended with status {server.returncode} at its start", log=tail(log))


def is_ready(data: Path, pid: int) -> bool:
    """Whether the server takes connections: line 8 of postmaster.pid, as pg_ctl reads it."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def end(server: subprocess.Popen[bytes], *, immediately: bool) -> None:
    """Fast shutdown, then immediate, then SIGKILL. Data that will not be read again needs no checkpoint."""
    steps = [(signal.SIGQUIT, IMMEDIATE_SECONDS), (signal.SIGKILL, IMMEDIATE_SECONDS)]
    if not immediately:
        steps.insert(0, (signal.SIGINT, FAST_SECONDS))
    for number, seconds in steps:
        if server.poll() is not None:
            return
        server.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(seconds)


def launch(
    command: list[str], plan: dict[str, Any], log: Any, *, last_signal: signal.Signals
) -> subprocess.Popen[bytes]:
    """Starts a program as the server's user. last_signal: what it gets should the guardian be killed."""
    guardian = os.getpid()
    # Loaded before the fork: a child of a fork should not take the loader's lock.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def follow_guardian() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, int(last_signal), 0, 0, 0)
            if os.getppid() != guardian:  # it was killed before the call
                os._exit(1)

    return subprocess.Popen(
        command,
        cwd="/",  # the directory of the parent may be closed to the other user
        env=plan["environment"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        user=plan["uid"],
        group=plan["gid"],
        extra_groups=[] if plan["uid"] is not None else None,
        preexec_fn=follow_guardian,
    )


def make_directory(path: Path, plan: dict[str, Any]) -> None:
    path.mkdir(mode=0o700)
    if plan["uid"] is not None:
        os.chown(path, plan["uid"], plan["gid"], follow_symlinks=False)


def write_file(path: Path, text: str, plan: dict[str, Any]) -> None:
    """Replaces a file. Never through a symlink: root writes here into a directory of another user."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        if plan["uid"] is not None:
            os.fchown(handle, plan["uid"], plan["gid"])
        file.write(text)
    partial.replace(path)


def open_log(path: Path) -> Any:
    """A new log; the one of the start before is kept beside it."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(path.name + ".1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "wb")


def tail(log: Path) -> str:
    """The last lines of the log, "" when it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


def report(**event: Any) -> None:
    """Writes one line to the parent, which may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, (json.dumps(event) + "\n").encode())


if __name__ == "__main__":
    main()
