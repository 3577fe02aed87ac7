"""Peers are processes that answer lines: work is divided among them, and nothing that they start outlives them."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.peers.engines import Asked, PeerFailed, answering

ANSWERS = """
import json, sys
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    sys.stderr.write(f"asked for {asked}\\n")
    sys.stderr.flush()
    if asked["do"] == "end":
        sys.exit(3)
    with open(sys.argv[1], "a") as file:
        file.write(line)
    print(json.dumps({"clocked_steps": [1e6, 3e6, 5e6, 11e6], "idle_runs": [0.001, 0.002, 0.009]}.get(asked["do"], [])))
    sys.stdout.flush()
"""

STARTS_ANOTHER = """
import subprocess, sys
print("ready", flush=True)
other = subprocess.Popen(["/bin/sleep", "600"])
sys.stdin.readline()
print([other.pid], flush=True)
sys.stdin.readline()
"""


async def test_runs_are_divided_among_the_processes_and_each_has_its_own_in_flight(tmp_path: Path) -> None:
    asked_for = tmp_path / "asked"
    async with answering("peer", [[sys.executable, "-c", ANSWERS, str(asked_for)]] * 2) as processes:
        seconds = await Asked(processes, in_flight=7).runs("one_step", 10)
    lines = [json.loads(line) for line in asked_for.read_text().splitlines()]
    assert lines == [{"do": "runs", "workflow": "one_step", "count": 5, "in_flight": 7}] * 2
    assert seconds > 0


async def test_times_of_a_peer_are_in_milliseconds(tmp_path: Path) -> None:
    async with answering("peer", [[sys.executable, "-c", ANSWERS, str(tmp_path / "asked")]]) as processes:
        peer = Asked(processes, in_flight=1)
        assert await peer.sequential_step_ms(4) == 2.0
        assert await peer.idle_run_ms(3) == (2.0, 9.0)


async def test_a_peer_that_ends_is_reported_with_the_end_of_what_it_wrote(tmp_path: Path) -> None:
    async with answering("Peer", [[sys.executable, "-c", ANSWERS, str(tmp_path / "asked")]]) as (process,):
        with pytest.raises(PeerFailed, match=r"Peer does not answer; it wrote:\nasked for \{'do': 'end'\}"):
            await process.ask({"do": "end"})


async def test_a_peer_that_does_not_start_is_reported_with_what_it_wrote() -> None:
    with pytest.raises(PeerFailed, match="no such engine"):
        async with answering("Peer", [[sys.executable, "-c", "import sys; sys.exit('no such engine')"]]):
            pass


async def test_what_a_peer_has_started_ends_with_it() -> None:
    async with answering("peer", [[sys.executable, "-c", STARTS_ANOTHER]]) as (process,):
        (other,) = await process.ask({"do": "say"})
        os.kill(int(other), 0)
    await asyncio.to_thread(_wait_for_end, int(other))


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 30
    while _state(pid) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)  # no event says that a process that is not our child has ended


def _state(pid: int) -> str:
    """Z too when it is gone: whoever inherited it may have taken note of its end, or not yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
