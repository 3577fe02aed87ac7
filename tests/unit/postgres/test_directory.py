"""The lock of a data directory, what a crash leaves in it, and where it is by default."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast_coordinator.postgres import directory
from holdfast_coordinator.postgres.account import Account, server_account
from holdfast_coordinator.postgres.errors import DataDirectoryInUse, DataDirectoryUnusable

OURSELVES = Account(name="us", uid=os.geteuid(), gid=os.getegid(), dropped=False)

# Holds the lock in itself and in a child, as a parent and its guardian do, and says its pid.
HOLDER = """
import subprocess, sys
from pathlib import Path
from holdfast_coordinator.postgres.directory import Lock
lock = Lock(Path(sys.argv[1]))
lock.acquire()
subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], pass_fds=[lock.handle], stdin=0)
print("held", flush=True)
sys.stdin.read()
"""


def start_holder(home: Path) -> subprocess.Popen[bytes]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_a_second_lock_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    first, second = directory.Lock(tmp_path), directory.Lock(tmp_path)
    first.acquire()
    with pytest.raises(DataDirectoryInUse, match=f"process {os.getpid()};") as caught:
        second.acquire()
    assert caught.value.pid == os.getpid()
    first.release()
    second.acquire()
    second.release()


def test_a_lock_that_the_guardian_of_a_killed_process_still_holds_is_waited_for(tmp_path: Path) -> None:
    holder = start_holder(tmp_path)
    holder.kill()
    holder.wait()
    lock = directory.Lock(tmp_path)
    with pytest.raises(DataDirectoryInUse):
        lock.acquire(seconds=0.0)
    assert holder.stdin is not None
    holder.stdin.close()  # what its child waits for, the one that shares the lock
    lock.acquire(seconds=20.0)
    lock.release()
    assert holder.stdout is not None
    holder.stdout.close()


def write_pid_file(data: Path, pid: int) -> Path:
    file = data / "postmaster.pid"
    file.write_text(f"{pid}\n{data}\n1700000000\n5432\n/tmp\n\n  1234  5678\nready   \n")
    return file


def test_the_pid_of_another_program_in_postmaster_pid_is_made_harmless(tmp_path: Path) -> None:
    file = write_pid_file(tmp_path, os.getpid())
    directory.settle(tmp_path)
    lines = file.read_text().splitlines()
    assert not directory.is_alive(int(lines[0]))
    assert lines[6] == "  1234  5678"  # the shared memory, by which Postgres finds surviving backends


def test_postmaster_pid_of_a_dead_process_is_left_to_postgres(tmp_path: Path) -> None:
    file = write_pid_file(tmp_path, directory.IMPOSSIBLE_PID)
    before = file.read_bytes()
    directory.settle(tmp_path)
    assert file.read_bytes() == before


def test_the_default_is_inside_the_project(tmp_path: Path) -> None:
    assert directory.default_home(tmp_path, OURSELVES) == tmp_path.resolve() / ".holdfast" / "postgres"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_the_default_is_below_var_lib_where_the_dropped_user_cannot_enter_the_project(tmp_path: Path) -> None:
    closed, open_to_all = tmp_path / "closed", tmp_path / "var"
    closed.mkdir(mode=0o700)
    account = server_account(None)
    first = directory.default_home(closed, account, root_directory=open_to_all)
    assert first.parent.parent == open_to_all
    assert first == directory.default_home(closed, account, root_directory=open_to_all)
    assert first != directory.default_home(tmp_path, account, root_directory=open_to_all)


def test_a_new_project_directory_ignores_itself_in_git(tmp_path: Path) -> None:
    home = tmp_path / ".holdfast" / "postgres"
    directory.prepare(home, OURSELVES)
    assert (tmp_path / ".holdfast" / ".gitignore").read_text() == "*\n"


def test_a_data_directory_that_somebody_else_made_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("16\n")
    with pytest.raises(DataDirectoryUnusable, match="did not make"):
        directory.prepare(tmp_path, OURSELVES)


def test_other_files_where_the_data_should_go_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("months of work")
    with pytest.raises(DataDirectoryUnusable, match="did not make"):
        directory.prepare(tmp_path, OURSELVES)


def test_a_file_in_place_of_the_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryUnusable, match=str(tmp_path)):
        directory.prepare(tmp_path / "file" / "postgres", OURSELVES)
