"""Starts the process that vouches for this worker: the loop names sessions to it, the heartbeat thread each beat."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from typing import Any

from holdfast.channel import voucher_process
from holdfast.worker.stop_signals import StopSignals

log = logging.getLogger("holdfast.worker")

MSG_NO_STEP = 1_000
"""Numbers of heartbeats that each of the worker's leaves for those sent in its place."""
START_AGAIN_SECONDS = 60.0


class VoucherProcess:
    """limit_seconds: how long it vouches for a silent worker. signals: those of this process.

    Any thread may call this.
    """

    def __init__(self, *, limit_seconds: float, signals: StopSignals) -> None:
        self._limit_seconds = limit_seconds
        self._signals = signals
        self._process: subprocess.Popen[bytes] | None = None
        self._about: dict[str, Any] | None = None
        self._started_at = float("-inf")
        self._lock = threading.Lock()

    def about(self, session: dict[str, Any] | None, msg_no: int, *, interval_seconds: float = 0.0) -> None:
        """Whom to vouch for: see `HeartbeatCalls.vouching`; None for no worker. msg_no: of the worker's last beat."""
        with self._lock:
            self._about = session and {
                **session,
                "msg_no": msg_no,
                "path": sys.path,
                "interval_seconds": interval_seconds,
                "limit_seconds": self._limit_seconds,
                "msg_no_step": MSG_NO_STEP,
            }
            self._say(self._about)

    def beat(self, msg_no: int) -> None:
        """The worker is about to beat itself."""
        with self._lock:
            if self._about is not None:
                self._about["msg_no"] = msg_no
                self._say({"msg_no": msg_no, "signals": self._signals.count})

    def stop(self) -> None:
        """Ends the process."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.wait()

    def _say(self, what: dict[str, Any] | None) -> None:
        if self._process is None and not self._start():
            return
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            os.write(process.stdin.fileno(), json.dumps(what).encode() + b"\n")
        except BlockingIOError:
            pass  # it does not read, so it has not run either; the next line says as much
        except OSError:
            log.warning("the process that vouches for this worker has ended; another one is started")
            self._end()

    def _start(self) -> bool:
        if self._about is None or time.monotonic() - self._started_at < START_AGAIN_SECONDS:
            return False
        self._started_at = time.monotonic()
        if os.name != "posix" or not sys.executable:
            return False
        signals = self._signals.descriptors()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", voucher_process.__file__, *map(str, signals)],
                pass_fds=signals,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # signals of the terminal are for the worker
            )
        except OSError as error:
            log.warning("no process vouches for this worker, a step that holds the interpreter ends it: %s", error)
            return False
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        line = json.dumps(self._about).encode() + b"\n"
        with contextlib.suppress(OSError):
            os.write(self._process.stdin.fileno(), line)
        return True
