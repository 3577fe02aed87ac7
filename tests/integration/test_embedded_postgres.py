"""The embedded Postgres with real servers: starts, restarts, refusals, and deaths of everyone involved."""

import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from holdfast_coordinator.postgres import EmbeddedPostgres, binaries, directory, provide
from holdfast_coordinator.postgres.account import server_account
from holdfast_coordinator.postgres.errors import (
    DataDirectoryInUse,
    DataDirectoryUnusable,
    DataDirectoryVersion,
    DiskFull,
    PostgresDidNotStart,
)

SYSTEM, WHEEL = binaries.system_installations(), binaries.wheel_installations()
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux's pidfd")
DEADLINE_SECONDS = 30.0

# A process that runs a server until it is killed. Its argument is the directory, or "" for an ephemeral one.
PARENT = """
import json, os, sys
from pathlib import Path
from holdfast_coordinator.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]) if sys.argv[1] else None)
server.start()
print(json.dumps({"postmaster": server.pid, "guardian": server._guardian.pid, "scratch": str(server._scratch),
                  "uid": os.geteuid(), "url": server.url()}), flush=True)
if len(sys.argv) > 2:
    import psycopg
    with psycopg.connect(server.url()) as connection:
        print(connection.execute("SELECT current_user").fetchone()[0], flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that any user can enter, unlike pytest's own below /tmp/pytest-of-root."""
    path = Path(tempfile.mkdtemp(prefix="hf-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start_parent() -> Iterator[Callable[[Path | None], tuple[subprocess.Popen[bytes], dict[str, object]]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(home: Path | None) -> tuple[subprocess.Popen[bytes], dict[str, object]]:
        command = [sys.executable, "-c", PARENT, str(home) if home is not None else ""]
        parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(parent)
        assert parent.stdout is not None
        return parent, json.loads(parent.stdout.readline())

    yield start
    for parent in started:
        assert parent.stdin is not None
        assert parent.stdout is not None
        with suppress(OSError):
            parent.stdin.close()
        parent.wait()
        parent.stdout.close()


def wait_until_ended(pid: int) -> None:
    """Waits for the end of a process that is no child of ours."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([handle], [], [], DEADLINE_SECONDS)
        assert ended, f"process {pid} still runs"
    finally:
        os.close(handle)


def wait_until_gone(path: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while path.exists():
        assert time.monotonic() < deadline, f"{path} is still there"
        time.sleep(0.01)


def value(server: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("source", ["system", "wheel 18", "wheel 16"])
def test_a_server_starts_from_each_source_of_binaries(source: str, place: Path) -> None:
    candidates = SYSTEM if source == "system" else [one for one in WHEEL if source == f"wheel {one.major}"]
    if not candidates:
        pytest.skip(f"no Postgres from: {source}")
    with EmbeddedPostgres(place / "pg", installations=candidates[:1]) as server:
        assert str(value(server, "SHOW server_version")).startswith(candidates[0].version)
        assert value(server, "SELECT current_user || '@' || current_database()") == "holdfast@holdfast"
        assert value(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("jit", "off"),
        ("server_encoding", "UTF8"),
        ("max_connections", "150"),
    ],
)
def test_the_server_is_durable_and_private(shared: EmbeddedPostgres, setting: str, expected: str) -> None:
    assert value(shared, f"SHOW {setting}") == expected


@pytest.fixture(scope="module")
def shared() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(None) as server:
        yield server


def test_the_directory_of_the_socket_is_private(shared: EmbeddedPostgres) -> None:
    assert shared._scratch.stat().st_mode & 0o777 == 0o700


def test_data_survives_a_restart(place: Path) -> None:
    with EmbeddedPostgres(place / "pg") as server, psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE kept (number int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    with EmbeddedPostgres(place / "pg") as server:
        assert value(server, "SELECT number FROM kept") == 7


def test_a_second_server_on_the_same_directory_is_refused_with_the_pid_of_the_first(
    place: Path, start_parent: Callable[..., tuple[subprocess.Popen[bytes], dict[str, object]]]
) -> None:
    parent, _ = start_parent(place / "pg")
    with pytest.raises(DataDirectoryInUse, match=f"process {parent.pid};"):
        EmbeddedPostgres(place / "pg").start()


@needs_pidfd
def test_a_killed_parent_leaves_no_server_and_the_next_start_has_the_data(
    place: Path, start_parent: Callable[..., tuple[subprocess.Popen[bytes], dict[str, object]]]
) -> None:
    parent, told = start_parent(place / "pg")
    with psycopg.connect(str(told["url"])) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    parent.kill()
    # Started at once, while the old server is shutting down: waits for it rather than being refused.
    with EmbeddedPostgres(place / "pg") as server:
        assert not directory.is_alive(int(str(told["postmaster"])))
        assert value(server, "SELECT number FROM kept") == 7
    wait_until_ended(int(str(told["guardian"])))
    assert not Path(str(told["scratch"])).exists()


@needs_pidfd
def test_a_killed_parent_leaves_no_ephemeral_server_and_no_directory(
    start_parent: Callable[..., tuple[subprocess.Popen[bytes], dict[str, object]]],
) -> None:
    parent, told = start_parent(None)
    parent.kill()
    wait_until_ended(int(str(told["postmaster"])))
    wait_until_gone(Path(str(told["scratch"])))


@needs_pidfd
def test_a_killed_parent_leaves_no_server_even_when_a_forked_child_of_it_lives_on() -> None:
    # multiprocessing forks without exec: the child has a copy of the pipe by which the guardian sees our end.
    forking = PARENT.replace(
        "sys.stdin.read()", "child = os.fork()\nif child: print(child, flush=True)\nsys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", forking, ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin is not None
    assert parent.stdout is not None
    told, child = json.loads(parent.stdout.readline()), int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    wait_until_ended(told["postmaster"])
    assert directory.is_alive(child)
    os.kill(child, signal.SIGKILL)
    parent.stdin.close()
    parent.stdout.close()


@needs_pidfd
def test_a_parent_that_is_killed_while_it_makes_the_data_directory_leaves_nothing_half_made(place: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(place / "pg")], stdin=subprocess.PIPE)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (place / "pg" / "data.new").exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    parent.kill()
    parent.wait()
    assert parent.stdin is not None
    parent.stdin.close()
    with EmbeddedPostgres(place / "pg") as server:
        assert value(server, "SELECT 1") == 1
    assert not (place / "pg" / "data.new").exists()


@needs_pidfd
@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux only")
def test_a_killed_guardian_takes_the_server_along(
    place: Path, start_parent: Callable[..., tuple[subprocess.Popen[bytes], dict[str, object]]]
) -> None:
    _, told = start_parent(place / "pg")
    os.kill(int(str(told["guardian"])), signal.SIGKILL)
    wait_until_ended(int(str(told["postmaster"])))


@needs_pidfd
def test_a_killed_server_leaves_a_stale_pid_file_that_does_not_prevent_a_start(place: Path) -> None:
    server = EmbeddedPostgres(place / "pg")
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert server._guardian is not None
    wait_until_ended(server._guardian.pid)
    assert isinstance(server.failure(), PostgresDidNotStart)
    server.stop()
    pid_file = place / "pg" / "data" / "postmaster.pid"
    assert pid_file.exists()
    # As in a container, where the pid is soon that of another program: here that of this test.
    pid_file.write_text(pid_file.read_text().replace(pid_file.read_text().split()[0], str(os.getpid()), 1))
    with EmbeddedPostgres(place / "pg") as again:
        assert value(again, "SELECT 1") == 1


def test_an_ephemeral_server_leaves_no_directory() -> None:
    with EmbeddedPostgres(None) as server:
        scratch = server._scratch
        assert scratch.exists()
    assert not scratch.exists()


def test_over_tcp_only_the_right_password_gets_in() -> None:
    with EmbeddedPostgres(None, tcp_port=free_port()) as server:
        assert value(server, "SELECT host(inet_client_addr())") == "127.0.0.1"
        assert str(value(server, "SHOW password_encryption")) == "scram-sha-256"
        right = psycopg.conninfo.conninfo_to_dict(server.url())
        for password in ["wrong", ""]:
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(**{**right, "password": password, "passfile": os.devnull})


def test_a_taken_port_is_an_error_with_the_words_of_the_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PostgresDidNotStart, match="Address already in use"):
            EmbeddedPostgres(None, tcp_port=taken.getsockname()[1]).start()


def test_settings_of_the_user_are_kept_and_broken_ones_are_shown(place: Path) -> None:
    with EmbeddedPostgres(place / "pg"):
        pass
    local = place / "pg" / "data" / "postgresql.local.conf"
    local.write_text("max_connections = 33\n")
    local.chmod(0o644)
    with EmbeddedPostgres(place / "pg") as server:
        assert value(server, "SHOW max_connections") == "33"
    local.write_text("max_connections = many\n")
    with pytest.raises(PostgresDidNotStart, match="max_connections"):
        EmbeddedPostgres(place / "pg").start()


def test_data_of_another_version_is_opened_with_its_own_binaries_or_refused(place: Path) -> None:
    if len(WHEEL) < 2:
        pytest.skip("needs two versions in the wheel")
    newest, oldest = WHEEL[0], WHEEL[-1]
    with EmbeddedPostgres(place / "pg", installations=[oldest]):
        pass
    with EmbeddedPostgres(place / "pg", installations=WHEEL) as server:
        assert server.installation is not None
        assert server.installation.major == oldest.major
    with pytest.raises(DataDirectoryVersion, match=rf"{oldest.major}.*{newest.version}"):
        EmbeddedPostgres(place / "pg", installations=[newest]).start()


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    disk = place / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m,mode=755", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, *, but_bytes: int) -> None:
    room = os.statvfs(disk)
    with (disk / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, room.f_bavail * room.f_frsize - but_bytes)


def test_a_disk_with_no_room_for_new_data_is_refused_before_anything_is_written(small_disk: Path) -> None:
    fill(small_disk, but_bytes=30 * 2**20)
    with pytest.raises(DiskFull, match=r"(29|30) MiB free, 100 MiB needed"):
        EmbeddedPostgres(small_disk / "pg").start()
    assert not (small_disk / "pg" / "data").exists()


def test_a_disk_that_is_full_at_a_later_start_is_said_and_space_repairs_it(small_disk: Path) -> None:
    with EmbeddedPostgres(small_disk / "pg"):
        pass
    fill(small_disk, but_bytes=0)
    with pytest.raises(DiskFull, match=str(small_disk)):
        EmbeddedPostgres(small_disk / "pg").start()
    (small_disk / "filler").unlink()
    with EmbeddedPostgres(small_disk / "pg") as server:
        assert value(server, "SELECT 1") == 1


@needs_root
@pytest.mark.parametrize("name", ["x" * 300, "loop/data", "file/data"])
def test_a_data_directory_that_cannot_be_used_in_whatever_way_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryUnusable, match="choose another one with --data-directory"):
        EmbeddedPostgres(tmp_path / name).start()


def test_root_gets_a_server_of_another_user(shared: EmbeddedPostgres) -> None:
    assert shared.pid is not None
    assert Path(f"/proc/{shared.pid}").stat().st_uid == server_account(None).uid != 0


@needs_root
def test_the_wheel_below_a_closed_directory_is_copied_once_for_the_dropped_user(place: Path) -> None:
    if not WHEEL:
        pytest.skip("needs the wheel")
    closed = place / "closed"
    package = WHEEL[0].directory.parent.parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, closed / part.name, symlinks=True)
    closed.chmod(0o700)
    moved = closed / WHEEL[0].directory.relative_to(package.parent)
    inaccessible = binaries.Installation(moved, WHEEL[0].version, "wheel")
    account = server_account(None)
    copied = binaries.made_usable(inaccessible, account, caches=[place / "cache"])
    assert copied.directory.is_relative_to(place / "cache")
    assert binaries.made_usable(inaccessible, account, caches=[place / "cache"]) == copied
    assert len(list((place / "cache").iterdir())) == 1
    with EmbeddedPostgres(None, installations=[copied]) as server:
        assert value(server, "SELECT 1") == 1


@needs_root
def test_a_given_directory_that_the_dropped_user_cannot_enter_is_refused(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DataDirectoryUnusable, match="cannot be entered by the user"):
        EmbeddedPostgres(closed / "pg").start()


@needs_root
def test_root_runs_the_server_as_the_owner_of_existing_data(place: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    with EmbeddedPostgres(place / "pg"):
        pass
    for entry in [place / "pg", *(place / "pg").rglob("*")]:
        os.chown(entry, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    with EmbeddedPostgres(place / "pg") as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == nobody.pw_uid


@needs_root
def test_a_user_who_is_not_root_gets_a_server_of_his_own(place: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account = server_account(None)
    python = next(
        (one for one in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}") if account.runs(one, "-V")),
        None,
    )
    if python is None:
        pytest.skip(f"no Python {sys.version_info.major}.{sys.version_info.minor} that another user can run")
    home = place / "home"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    done = subprocess.run(
        [python, "-c", PARENT, str(home / "pg"), "query"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": "/nonexistent"},
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told, role = done.stdout.splitlines()
    assert (json.loads(told)["uid"], role) == (nobody.pw_uid, "holdfast")
    assert (home / "pg" / "data").stat().st_uid == nobody.pw_uid
    assert not directory.is_alive(json.loads(told)["postmaster"])


async def test_the_provider_gives_an_ephemeral_server_and_describes_it() -> None:
    async with provide(None, data_directory=None, ephemeral=True) as postgres:
        assert postgres.description.endswith("ephemeral")
        async with await psycopg.AsyncConnection.connect(postgres.url) as connection:
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
        assert postgres.server is not None
        assert postgres.server.failure() is None


async def test_the_default_data_directory_is_in_the_current_directory(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    async with provide(None, data_directory=None, ephemeral=False) as postgres:
        assert str(place / ".holdfast" / "postgres") in postgres.description
    assert (place / ".holdfast" / "postgres" / "data" / "PG_VERSION").exists()
