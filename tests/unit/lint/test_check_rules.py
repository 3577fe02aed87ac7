"""Each rule of `holdfast check` with what it finds, and with what looks like it and is right."""

import textwrap
from pathlib import Path

import pytest

from holdfast.lint import RULES, check_files

HEAD = """
import asyncio
import contextlib
import datetime as dt
import os
import random
import secrets
import signal
import socket
import subprocess
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from multiprocessing import Process
from pathlib import Path
from time import monotonic as ticks

import httpx
import numpy as np
import requests

import holdfast
from holdfast import App, receive, sleep, step, workflow
from shop import settings

billing = App("billing")
PRICES = {"lamp": 20}
TOTALS: dict[str, int] = {}
ATTEMPTS = 0


@step
async def charge(order_id: str, amount: int = 0) -> str: ...


@billing.step(retries=5)
def archive(receipt: str) -> int: ...


@workflow
async def child(order_id: str) -> str: ...


def note_total(order_id: str) -> None:
    TOTALS[order_id] = 1

"""


def found(body: str, tmp_path: Path, *, head: str = HEAD) -> list[str]:
    """The codes that a module breaks: the head, and this."""
    path = tmp_path / "flows.py"
    path.write_text(head + textwrap.dedent(body))
    return [one.code for one in check_files([path])]


def in_workflow(code: str) -> str:
    return "@workflow\nasync def order(order_id: str, tags: set[str], path: Path) -> object:\n" + textwrap.indent(
        textwrap.dedent(code), "    "
    )


HITS = {
    "HF101": [
        "return time.time()",
        "return ticks()",
        "return datetime.now(dt.UTC)",
        "return dt.datetime.utcnow()",
        "return date.today()",
        "return datetime.today()",
        "return time.strftime('%Y')",
        "return time.localtime(None)",
        "clock = time.time\nreturn clock()",
        "import time as inner\nreturn inner.perf_counter()",
        "return [item for item in (1, 2) if time.monotonic() > item]",
        "return (lambda: time.time())()",
    ],
    "HF102": ["time.sleep(5)"],
    "HF103": [
        "return random.choice([1, 2])",
        "return random.Random().random()",
        "return os.urandom(16)",
        "return secrets.token_hex()",
        "return np.random.rand(3)",
    ],
    "HF104": ["return str(uuid.uuid4())", "from uuid import uuid1\nreturn uuid1()"],
    "HF105": [
        "with open('prices.csv') as file:\n    return file.name",
        "return input()",
        "return os.listdir('.')",
        "return os.path.exists('x')",
        "return Path('prices.csv').read_text()",
        "return path.exists()",
        "folder = Path('a') / order_id\nreturn list(folder.iterdir())",
        "import shutil\nshutil.copyfile('a', 'b')",
    ],
    "HF106": [
        "return requests.get('https://example.org').json()",
        "async with httpx.AsyncClient() as client:\n    return client",
        "return socket.create_connection(('localhost', 80))",
        "return await asyncio.open_connection('localhost', 80)",
        "from urllib.request import urlopen\nreturn urlopen('https://example.org')",
    ],
    "HF107": [
        "subprocess.run(['ls'])",
        "os.system('ls')",
        "Process(target=print).start()",
        "await asyncio.create_subprocess_exec('ls')",
    ],
    "HF108": [
        "threading.Thread(target=print).start()",
        "with ThreadPoolExecutor() as pool:\n    return pool",
        "return await asyncio.to_thread(print, 1)",
        "return await asyncio.get_running_loop().run_in_executor(None, print)",
    ],
    "HF109": ["os._exit(1)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "os.abort()"],
    "HF110": [
        "return os.environ['REGION']",
        "return os.environ.get('REGION')",
        "return os.getenv('REGION')",
        "return hash(order_id)",
        "return id(order_id)",
        "from os import environ\nreturn environ['REGION']",
    ],
    "HF201": [
        "charge(order_id)",
        "archive('r')",
        "child(order_id)",
        "sleep('1d')",
        "holdfast.sleep('1d')",
        "asyncio.sleep(5)",
        "charge.with_options(retries=2)(order_id)",
        "receipt = charge(order_id)\nreturn 'done'",
        "receipt = charge(order_id)\nreturn receipt.upper()",
        "if charge(order_id):\n    return 1",
        "return f'{charge(order_id)}'",
        "return charge(order_id)",
        "return await archive(charge(order_id))",
        "return await archive(receipt=charge(order_id))",
        "total = 0\ntotal += len(charge(order_id))",
        "return charge(order_id) == 'x'",
        "if receive('approval'):\n    return 1",
        "async def helper() -> None: ...\nhelper()",
    ],
    "HF202": [
        "for tag in tags:\n    await charge(tag)",
        "for tag in {order_id, 'b'}:\n    await charge(tag)",
        "return await asyncio.gather(*[charge(tag) for tag in set(order_id)])",
        "return await asyncio.gather(*(charge(tag) for tag in tags - {'x'}))",
        "names = list(tags)\nreturn await charge(names[0])",
        "return await charge(tags.pop())",
        "return await charge(', '.join(tags))",
        "chosen = {tag for tag in tags}\nfor tag in chosen:\n    await charge(tag)",
        "names = []\nfor tag in tags:\n    names.append(tag)\nreturn names",
        "for key in PRICES.keys() - ['x']:\n    await charge(key)",
    ],
    "HF203": [
        "global ATTEMPTS\nATTEMPTS += 1",
        "TOTALS[order_id] = 1",
        "PRICES.update(lamp=3)",
        "return TOTALS",
        "settings.rate = 2",
        "del TOTALS[order_id]",
    ],
}

NEAR_MISSES = {
    "HF101": [
        "return holdfast.now()",
        "return time.strftime('%Y', time.gmtime(0))",
        "return time.localtime(0)",
        "return datetime(2026, 1, 1)",
        "return datetime.fromisoformat('2026-01-01')",
        "time = order_id\nreturn time.time()",
        "with holdfast.unguarded():\n    return time.time()",
        "return await holdfast.inline('clock', lambda: time.time())",
        "return await holdfast.inline('clock', time.time)",
        "@step\ndef stamp() -> float:\n    return time.time()\nreturn await stamp()",
        "return sorted([3, 2], key=lambda time: time.time())",
        "time = order_id\ndef inner():\n    return time.time()\nreturn inner()",
    ],
    "HF102": ["await asyncio.sleep(5)", "await sleep('5s')"],
    "HF103": ["return holdfast.random().choice([1])", "return random.Random(order_id).random()"],
    "HF104": ["return uuid.UUID(int=5)", "return uuid.uuid5(uuid.NAMESPACE_URL, order_id)", "return holdfast.uuid4()"],
    "HF105": [
        "return os.path.join('a', 'b')",
        "return Path('a').with_suffix('.txt')",
        "return order_id.replace('a', 'b')",
        "open = str\nreturn open(5)",
        "return path.name",
    ],
    "HF106": [
        "try:\n    return await charge(order_id)\nexcept requests.HTTPError:\n    return None",
        "raise httpx.HTTPError('no')",
    ],
    "HF107": ["return subprocess.list2cmdline(['a'])", "return os.sep"],
    "HF108": ["return await asyncio.gather(charge('a'), charge('b'))", "return threading.TIMEOUT_MAX"],
    "HF109": ["return signal.SIGTERM"],
    "HF110": ["return {'environ': 1}['environ']", "id = order_id\nreturn id.upper()", "return order_id.environ"],
    "HF201": [
        "await charge(order_id)",
        "await charge.with_options(retries=2)(order_id)",
        "await asyncio.gather(charge('a'), charge('b'))",
        "task = asyncio.create_task(charge(order_id))\nreturn await task",
        "receipt = charge(order_id)\nreturn await receipt",
        "calls = [charge('a'), charge('b')]\nreturn await asyncio.gather(*calls)",
        "async with asyncio.TaskGroup() as group:\n    group.create_task(charge(order_id))",
        "calls = {name: charge(name) for name in ('a', 'b')}\nreturn [await call for call in calls.values()]",
        "def late():\n    return charge(order_id)\nreturn await late()",
        "sleeping = sleep('1d')\nasync def wait() -> None:\n    await sleeping\nawait wait()",
        "async with asyncio.timeout(5):\n    return await receive('approval')",
    ],
    "HF202": [
        "for tag in sorted(tags):\n    await charge(tag)",
        "total = 0\nfor tag in tags:\n    total += len(tag)\nreturn total",
        "return await charge(str(len(tags)))",
        "return sorted(list(tags))",
        "for number in {1, 2, 3}:\n    await charge(str(number))",
        "for tag in PRICES:\n    await charge(tag)",
        "return await charge('x' if 'x' in tags else 'y')",
        "done, _ = await asyncio.wait([asyncio.create_task(charge('a'))])\nfor one in done:\n    await one",
        "return await charge(tags)",
        "return sum(len(tag) for tag in tags)",
    ],
    "HF203": [
        "return PRICES['lamp']",
        "totals = {}\ntotals[order_id] = 1\nreturn totals",
        "PRICES = {}\nPRICES[order_id] = 1\nreturn PRICES",
        "order = holdfast.current_run()\norder.seen = 1",
        "return settings.rate",
        "return len(PRICES)",
    ],
}


@pytest.mark.parametrize(("code", "body"), [(code, body) for code, bodies in HITS.items() for body in bodies])
def test_a_rule_finds_what_it_is_about(code: str, body: str, tmp_path: Path) -> None:
    assert set(found(in_workflow(body), tmp_path)) == {code}


@pytest.mark.parametrize("body", [body for bodies in NEAR_MISSES.values() for body in bodies])
def test_what_looks_like_it_and_is_right_is_not_found(body: str, tmp_path: Path) -> None:
    assert found(in_workflow(body), tmp_path) == []


def test_every_rule_has_a_hit_and_a_near_miss() -> None:
    rules = {rule.code for rule in RULES} - {"HF001"}
    assert HITS.keys() == rules
    assert NEAR_MISSES.keys() == rules


def test_steps_and_plain_functions_may_do_all_of_it(tmp_path: Path) -> None:
    for place, body in enumerate(body for bodies in HITS.values() for body in bodies):
        for decorator in ("@step\n", "@billing.step\n", ""):
            written = in_workflow(body).replace("@workflow\n", decorator).replace("order(", f"order_{place}(")
            assert found(written, tmp_path) == [], written


def test_a_file_that_cannot_be_parsed_is_a_finding_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "flows.py"
    path.write_text("from holdfast import workflow\n\ndef broken(:\n")
    (one,) = check_files([path])
    assert (one.code, one.line) == ("HF001", 3)
    path.write_bytes(b"# workflow \xff\n")
    (one,) = check_files([path])
    assert "not UTF-8" in one.message


PLAIN = """
import asyncio
import time

import holdfast
from holdfast import blocking, step, workflow


@step
async def charge(order_id: str) -> str: ...


@blocking.step
def archive(receipt: str) -> int: ...


async def helper() -> int: ...


@blocking.workflow
def order(order_id: str) -> object:
{body}
"""


@pytest.mark.feature("F147")
@pytest.mark.parametrize(
    ("body", "codes"),
    [
        ("charge(order_id)\nreturn archive(charge(order_id))", []),
        ("holdfast.sleep('1d')\nreturn holdfast.parallel(charge.call('a'), archive.call('b'), helper())", []),
        ("return [archive(one) for one in charge.map(['a'])]", []),
        ("time.sleep(1)", ["HF102"]),
        ("asyncio.sleep(1)", ["HF201"]),
        ("return asyncio.gather(charge.call('a'))", ["HF201"]),
        ("charge.call(order_id)", ["HF201"]),
        ("return archive(charge.call(order_id))", ["HF201"]),
        ("helper()", ["HF201"]),
    ],
)
def test_plain_workflows_need_no_await_and_can_do_nothing_with_what_does(
    body: str, codes: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "flows.py"
    path.write_text(PLAIN.format(body=textwrap.indent(body, "    ")))
    findings = check_files([path])
    assert [one.code for one in findings] == codes
    assert all("holdfast.parallel" in one.message for one in findings if one.code == "HF201")
