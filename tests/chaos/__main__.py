"""`python -m tests.chaos`: see harness.py."""

import os
import sys


def main() -> int:
    """Runs the harness; the exit code."""
    # gRPC reads these when it is imported. Its handlers for fork may end a child before it becomes another program.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from tests.chaos import harness

    return harness.main()


if __name__ == "__main__":
    sys.exit(main())
