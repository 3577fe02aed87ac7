"""One form of JSON log lines for all processes: what reads those of workers reads those of coordinators."""

import json
import logging
import re
import subprocess
import sys

from holdfast.logs import JsonLines

PROGRAM = """
import structlog
from holdfast_coordinator.logs import configure_logs
configure_logs(level="info", json=True)
log = structlog.get_logger("holdfast_coordinator.engine.facts")
log.warning("lease_lost", run_id="run_1", epoch=3)
try:
    raise ValueError("kaput")
except ValueError:
    log.exception("loop_failed")
log.error("turn_failed", exc_info=ValueError("k\\u00f6nig"), why={1})
"""


def test_a_line_of_a_coordinator_has_the_fields_of_a_line_of_a_worker() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lost, failed, turn = map(json.loads, ran.stderr.splitlines())
    record = logging.LogRecord("holdfast.worker", logging.WARNING, "", 1, "lease lost", (), None)
    worker = json.loads(JsonLines().format(record))
    assert list(lost)[: len(worker)] == list(worker)
    assert (lost["level"], lost["logger"], lost["message"]) == (
        "WARNING", "holdfast_coordinator.engine.facts", "lease_lost",
    )  # fmt: skip
    assert (lost["run_id"], lost["epoch"]) == ("run_1", 3)
    assert failed["error_type"] == "ValueError"
    assert failed["traceback"].endswith("ValueError: kaput")
    assert (turn["error_type"], turn["why"]) == ("ValueError", "{1}")


BANNER = """
from holdfast_coordinator.logs import announcements, configure_logs
log = announcements("holdfast_coordinator.server_commands")
configure_logs(level="error", json=True)
log.info("serving_begun", address="127.0.0.1:7410")
"""


def test_what_is_printed_as_text_whatever_the_level_is_there_as_json_too() -> None:
    ran = subprocess.run([sys.executable, "-c", BANNER], capture_output=True, text=True, check=True)
    (line,) = map(json.loads, ran.stderr.splitlines())
    assert (line["message"], line["level"], line["address"]) == ("serving_begun", "INFO", "127.0.0.1:7410")


def test_times_have_one_form_in_all_processes() -> None:
    ran = subprocess.run([sys.executable, "-c", BANNER], capture_output=True, text=True, check=True)
    record = logging.LogRecord("holdfast.worker", logging.WARNING, "", 1, "lease lost", (), None)
    record.created = 1_772_366_400.0
    worker = json.loads(JsonLines().format(record))
    assert worker["time"] == "2026-03-01T12:00:00.000000Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", json.loads(ran.stderr)["time"])
