"""The command line. Commands are thin: they parse, ask the client or the worker, and print.

Their modules import what declares the commands; each command imports what it needs when it is called, so that `--help`
and the other commands do not wait for it.
"""

import os
import signal
import sys


def _end_early(number: int, _: object) -> None:
    sys.exit(128 + number)


if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
    # The kernel keeps from process 1, which this is in a container, all signals that it has no handler for: one that
    # came before the command has its own would be lost, and the container killed half a minute later.
    signal.signal(signal.SIGTERM, _end_early)

# Before gRPC is imported, which reads it then. The program starts processes beside gRPC, and never forks: for
# each of them gRPC would write to stderr that it does not handle the fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# What goes wrong in gRPC's core comes back as an error, and is said here in one sentence; its own log says it twice.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from holdfast.cli.root import make_app  # noqa: E402

__all__ = ["main", "make_app"]


def main() -> None:
    """The `holdfast` program."""
    make_app()()
