"""A real Jaeger: one process with everything in memory, on free ports of this machine, which ends with its parent."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from tests.support.processes import free_port

from .query import Query

READY = "Everything is ready"
START_SECONDS = 30.0
PR_SET_PDEATHSIG = 1

# No batch processor: what an export was answered for can be queried at once.
_CONFIG = """\
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}
  telemetry:
    metrics: {{level: none}}
extensions:
  jaeger_storage:
    backends:
      memory: {{memory: {{max_traces: 100000}}}}
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "127.0.0.1:{http}"}}
    grpc: {{endpoint: "127.0.0.1:{grpc}"}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{otlp}"}}
exporters:
  jaeger_storage_exporter: {{trace_storage: memory}}
"""


@dataclass(slots=True, frozen=True)
class Jaeger:
    """A Jaeger that runs. otlp: where it takes OTLP/gRPC, host:port. query: asks it what it shows."""

    otlp: str
    query: Query


@contextmanager
def running_jaeger(program: Path, directory: Path) -> Iterator[Jaeger]:
    """A Jaeger for as long as the block runs. directory: for its configuration."""
    http, grpc, otlp = free_port(), free_port(), free_port()
    config = directory / "jaeger.yaml"
    config.write_text(_CONFIG.format(http=http, grpc=grpc, otlp=otlp))
    process = _start([str(program), "--config", str(config)])
    try:
        _wait_until_ready(process)
        yield Jaeger(f"127.0.0.1:{otlp}", Query(f"http://127.0.0.1:{http}"))
    finally:
        # It has nothing to save, and on SIGTERM waits ten seconds for connections that others hold open.
        process.kill()
        process.wait()


def _start(command: list[str]) -> subprocess.Popen[str]:
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def follow_parent() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != parent:  # it was killed before the call
                os._exit(1)

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=follow_parent,
    )


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    """Reads what it prints until it says that it is ready, and goes on reading: a full pipe would stop it."""
    news: SimpleQueue[str | None] = SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            news.put(line)
        news.put(None)

    threading.Thread(target=read, name="jaeger output", daemon=True).start()
    lines: list[str] = []
    while READY not in (lines[-1] if lines else ""):
        try:
            line = news.get(timeout=START_SECONDS)
        except Empty:
            line = None
        if line is None:
            raise AssertionError(f"Jaeger did not become ready:\n{''.join(lines)}")
        lines.append(line)
