"""How fast this machine can go at all, how fast holdfast goes on it, and how fast other engines go: see README.md.

`make bench` begins in command.py, `make bench-peers` in peers/__main__.py, `make bench-against` in against.py.
"""

import os

# Before gRPC is loaded: it comments on every process that is started while it runs.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
