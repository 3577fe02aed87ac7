"""`python -m tests.chaos`: see harness.py."""

import os
import signal
import sys

INTERRUPTED = 130


def main() -> int:
    """Runs the harness; the exit code."""
    # As Ctrl-C does, which asyncio takes: processes, disk and network namespaces are taken down before it ends.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # gRPC reads these when it is imported. Its handlers for fork may end a child before it becomes another program.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from tests.chaos import harness

    try:
        return harness.main()
    except KeyboardInterrupt:
        print("interrupted; nothing can be said")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
