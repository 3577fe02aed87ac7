"""A process beside a worker that says that it lives while its interpreter is held: a long C call is no death.

Run as a file, with nothing but the standard library until it is needed, so that it costs little. The worker's
heartbeat thread writes a line to its standard input with every beat. When the lines stop coming and the worker is
there and not stopped, this sends the last heartbeat again, as one that vouches for the session and says nothing of
what it holds. It ends with the worker, and vouches for a worker no longer than it was asked to.

It also looks at the socket into which the operating system writes the worker's signals. What is not taken from there
waits for the interpreter: two of them end the worker all the same.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

METHOD = "/holdfast.api.v1.WorkerService/Heartbeat"
LINE_BYTES = 65_536
LOOK_SECONDS = 0.25
LEAVE_SECONDS = 1.5
"""Seconds that a worker may leave two signals where they are, before it is killed."""
STOPPED = "TtZX"
"""States of Linux in which a process does nothing: stopped, traced, ended."""


def main() -> None:
    """Works until the worker has ended. The first argument is the descriptor of its signals, if it has any."""
    worker = os.getppid()
    voucher = Voucher(worker)
    signals = socket.socket(fileno=int(sys.argv[1])) if len(sys.argv) > 1 else None
    watched: list[Any] = [0] if signals is None else [0, signals]
    rest = b""
    while os.getppid() == worker:
        readable, _, _ = select.select(watched, [], [], voucher.patience())
        if 0 in readable:
            data = os.read(0, LINE_BYTES)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                voucher.receive(line)
        if signals is not None:
            if signals in readable:
                time.sleep(LOOK_SECONDS)  # the worker takes them in less, if it can
            voucher.waiting_signals(_waiting(signals))
        voucher.vouch_if_due()


def _waiting(signals: socket.socket) -> int:
    """How many signals have not been taken yet; they stay there."""
    try:
        numbers = signals.recv(LINE_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return 0
    return sum(number in (signal.SIGTERM, signal.SIGINT) for number in numbers)


class Voucher:
    """What the worker last said, and when."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._about: dict[str, Any] | None = None
        self._came_at = time.monotonic()
        self._due = float("inf")
        self._asked_twice_at: float | None = None
        self._msg_no = 0
        self._call: Any = None
        self._channel: Any = None

    def patience(self) -> float | None:
        """How long to wait for the next line, in seconds; None: for ever."""
        return None if self._due == float("inf") else max(0.0, self._due - time.monotonic())

    def receive(self, line: bytes) -> None:
        """Takes a line: an object with what is new about a session, or null for none."""
        self._came_at = time.monotonic()
        news = json.loads(line)
        self._about = None if news is None else (self._about or {}) | news
        self._msg_no = 0
        self._due = float("inf") if self._about is None else self._came_at + 1.5 * self._about["interval_seconds"]
        self._disconnect()

    def waiting_signals(self, count: int) -> None:
        """Takes how many signals wait for the worker; ends it when it was asked twice and takes them no more."""
        if not count or count + (self._about or {}).get("signals", 0) < 2:
            self._asked_twice_at = None
        elif self._asked_twice_at is None:
            self._asked_twice_at = time.monotonic()
        elif time.monotonic() - self._asked_twice_at > LEAVE_SECONDS:
            os.kill(self._worker, signal.SIGKILL)

    def vouch_if_due(self) -> None:
        """Sends a heartbeat when it is time; what goes wrong is left to the next one."""
        about, now = self._about, time.monotonic()
        if about is None or now < self._due:
            return
        self._due = now + about["interval_seconds"]
        if now - self._came_at > about["limit_seconds"] or not is_at_work(self._worker):
            return
        self._msg_no += 1
        number = about["msg_no"] + min(self._msg_no, about["msg_no_step"] - 1)
        try:
            self._connect(about)
            request = bytes.fromhex(about["request"]) + bytes([about["msg_no_tag"]]) + varint(number)
            self._call(request, timeout=about["interval_seconds"])
        except Exception:  # noqa: BLE001 - whatever it is, the next one goes to the next address
            self._disconnect()
            about["targets"].append(about["targets"].pop(0))

    def _disconnect(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _connect(self, about: dict[str, Any]) -> None:
        if self._channel is None:
            sys.path[:] = about["path"]
            import grpc  # only now: it takes 20 MB and a quarter of a second

            self._channel = grpc.insecure_channel(about["targets"][0], options=[tuple(one) for one in about["options"]])
            self._call = self._channel.unary_unary(METHOD)


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def is_at_work(pid: int) -> bool:
    """False when the process is stopped or gone. Where that cannot be known it is taken to be at work."""
    if not os.path.isdir("/proc/self"):
        return True
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in STOPPED
    except OSError:
        return False


if __name__ == "__main__":
    main()
