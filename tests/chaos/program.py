"""How the programs of this package begin and end."""

import importlib
import os
import signal

INTERRUPTED = 130


def run(module: str) -> int:
    """Runs `main` of a module; the exit code."""
    # As Ctrl-C does, which asyncio takes: processes, disk and network namespaces are taken down before it ends. A shell
    # starts what runs in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # gRPC reads these when it is imported. Its handlers for fork may end a child before it becomes another program.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        return int(importlib.import_module(module).main())
    except KeyboardInterrupt:
        print("interrupted; nothing can be said")
        return INTERRUPTED
