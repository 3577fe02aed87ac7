"""Runs what containers would run, as plain processes: as another user, on a read-only file system, where root may.

Only addresses, ports and the URL of the database are replaced.
"""

import functools
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from tests.support.processes import Process

from .image import Image

# The whole file system once more, read-only, without privileges that could change that; and no fork, so that the
# process which is started is the one that signals reach. All mounts are private to it and end with it. A Python in a
# closed directory, such as the home of root, is shown without what else is there.
_HARDEN = """
set -e
root=$1 user=$2 group=$3 closed=$4 python=$5
shift 5
if [ -n "$closed" ]; then
    mount --bind "$python" "$root"
    mount -t tmpfs -o mode=755 none "$closed"
    mkdir -p "$python"
    mount --bind "$root" "$python"
fi
mount --rbind / "$root"
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid "$user" --regid "$group" --clear-groups \
    --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""


@dataclass(frozen=True, slots=True)
class Container:
    """One container: its image, its whole command, its variables, its user and group."""

    name: str
    image: Image
    command: tuple[str, ...]
    variables: Mapping[str, str]
    user: tuple[int, int]

    @classmethod
    def of_pod(cls, image: Image, pod: Mapping[str, Any], *, secret: str) -> Self:
        """The only container of a pod. secret: the value of what it refers to."""
        (one,) = pod["containers"]
        security = pod["securityContext"]
        return cls(
            one["name"],
            image,
            (*one["command"], *one["args"]),
            {each["name"]: each.get("value", secret) for each in one.get("env", ())},
            (security["runAsUser"], security["runAsGroup"]),
        )

    @classmethod
    def of_service(cls, name: str, image: Image, service: Mapping[str, Any]) -> Self:
        """A service of compose.yaml."""
        user, group = map(int, image.stage.last("USER").text.split(":"))
        command = (*image.stage.last("ENTRYPOINT").command, *service.get("command", image.stage.last("CMD").command))
        return cls(name, image, command, dict(service.get("environment", {})), (user, group))

    def with_replaced(self, texts: Mapping[str, str]) -> Self:
        """With whole words replaced, in the command and in the variables."""
        pattern = re.compile("|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in texts))

        def put(text: str) -> str:
            return pattern.sub(lambda found: texts[found[0]], text)

        variables = {name: put(value) for name, value in self.variables.items()}
        return replace(self, command=tuple(map(put, self.command)), variables=variables)

    def with_variables(self, **variables: str) -> Self:
        """With further variables, or other values."""
        return replace(self, variables={**self.variables, **variables})

    def running(self, command: Sequence[str]) -> Self:
        """The same container with another command: a probe, or what somebody runs beside."""
        return replace(self, command=tuple(command))

    def process(self) -> Process:
        """What its command runs as."""
        command = [*_prefix(self.image.root, self.user), "env", f"--chdir={self.image.workdir}", *self.command]
        return Process(self.name, command, {**self.image.variables, **self.variables})

    async def run(self) -> tuple[int, str]:
        """Runs the command to its end: exit code and output."""
        async with self.process() as process:
            code = await process.wait()
            return code, process.output


def _prefix(root: Path, user: tuple[int, int]) -> list[str]:
    return _hardened(root, user) if can_harden(root) else []


def _hardened(root: Path, user: tuple[int, int]) -> list[str]:
    mount_point = root / "mnt"
    mount_point.mkdir(exist_ok=True)
    python = Path(sys.base_prefix).resolve()
    closed = [folder for folder in reversed(python.parents) if not folder.stat().st_mode & stat.S_IXOTH]
    shown = [str(closed[0]) if closed else "", str(python)]
    return ["unshare", "--mount", "sh", "-c", _HARDEN, "sh", str(mount_point), *map(str, user), *shown]


@functools.cache
def can_harden(root: Path) -> bool:
    """Whether this machine lets us take away user, privileges and writing, and the images are still readable then."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "chroot"))):
        return False
    open_door = root / "writable"
    open_door.mkdir(exist_ok=True)
    open_door.chmod(0o777)
    check = (
        f'! touch "{open_door}/file" && test "$(id -u)" = 10001 && "{root}/opt/holdfast/bin/python" -c "import grpc"'
    )
    ran = subprocess.run([*_hardened(root, (10001, 10001)), "sh", "-c", check], capture_output=True, check=False)
    return ran.returncode == 0


def free_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
