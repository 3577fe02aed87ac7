"""How many connections are served depends on how many files a process may have open."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no limit of this kind")

PROGRAM = """
import resource, sys
from holdfast_coordinator.open_files import room_for_connections
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(room_for_connections(wanted), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "connections", "files"),
    [
        (1_000, 1_000, 400, 400, 1_000),
        (256, 1_000, 400, 400, 560),  # what a service gets is raised as far as that needs
        (256, 1_000, 4_000, 840, 1_000),
        (256, 256, 4_000, 96, 256),
        (100, 100, 4_000, 16, 100),
    ],
)
def test_connections_leave_files_for_the_database(
    soft: int, hard: int, wanted: int, connections: int, files: int
) -> None:
    command = [sys.executable, "-c", PROGRAM, *map(str, (soft, hard, wanted))]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == [str(connections), str(files)]
