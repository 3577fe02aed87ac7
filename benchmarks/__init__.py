"""Comparisons with other engines. `holdfast bench` measures holdfast itself; see README.md."""

import os

# Before gRPC is loaded: it comments on every process that is started while it runs.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
