"""The command line. Commands are thin: they parse, ask the client or the worker, and print."""

import os

# Before gRPC is imported, which reads it then. The program starts processes beside gRPC, and never forks: for
# each of them gRPC would write to stderr that it does not handle the fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# What goes wrong in gRPC's core comes back as an error, and is said here in one sentence; its own log says it twice.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from holdfast.cli.root import make_app

__all__ = ["main", "make_app"]


def main() -> None:
    """The `holdfast` program."""
    make_app()()
