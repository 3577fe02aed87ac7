"""`holdfast replay` over files: histories that were kept, and code that has changed since."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import asyncio
import holdfast

@holdfast.step
async def fetch(url: str) -> dict[str, int]:
    return {"rows": 3}

@holdfast.step
async def store(rows: int) -> str:
    return f"stored {rows}"

async def fetched(url: str) -> int:
    found = await fetch(url)
    rows = found["rows"]
    await holdfast.sleep("1h")
    return rows

@holdfast.workflow
async def load(url: str) -> str:
    label = url.upper()
    rows = await fetched(url)
    answer = await holdfast.receive("go", str)
    return await store(rows) + answer + label
"""
RUN = """
import asyncio, json, sys
from dataclasses import replace
import shop
from holdfast.replay.files import history_values
from holdfast.replay.stored import StoredRun
from holdfast.testing import run_local

for number, signals in enumerate(([], [("go", "!", "2h")])):
    run = asyncio.run(run_local(shop.load, "http://a", signals=signals))
    stored = StoredRun(run.info, run.arguments, run.history)
    with open(f"histories/{number}.json", "w") as file:
        json.dump(history_values(stored, {}), file)
"""


def _run(folder: Path, *command: str, typed: str = "") -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, *command], cwd=folder, input=typed, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=60, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout


def _replay(folder: Path, *arguments: str, typed: str = "") -> tuple[int, str]:
    return _run(folder, "-m", "holdfast", "replay", *arguments, typed=typed)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code, and the histories of an open and of a completed run of it."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "shop.py").write_text(CODE)
    (folder / "histories").mkdir()
    code, output = _run(folder, "-c", RUN)
    assert code == 0, output
    return folder


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    """The same for one test, which may change the code."""
    for path in kept.rglob("*.[jp]*"):
        if path.suffix in (".json", ".py"):
            (tmp_path / path.relative_to(kept)).parent.mkdir(exist_ok=True)
            (tmp_path / path.relative_to(kept)).write_bytes(path.read_bytes())
    return tmp_path


def _change(folder: Path, old: str, new: str) -> None:
    assert CODE.count(old) == 1
    (folder / "shop.py").write_text(CODE.replace(old, new))


def test_the_code_that_wrote_them_replays_all_of_a_folder(folder: Path) -> None:
    code, output = _replay(folder, "histories", "shop")
    assert code == 0, output
    assert "histories/0.json: load replays, 5 entries" in output
    assert "histories/1.json: load replays, 9 entries" in output
    assert "2 runs replayed, none with a difference" in output


def test_changed_code_is_told_by_entry_what_was_expected_what_it_did_and_where(folder: Path) -> None:
    _change(folder, '    await holdfast.sleep("1h")\n', "    await store(rows)\n")
    code, output = _replay(folder, "histories/0.json", "histories/1.json", "shop")
    assert code == 1
    assert output.count("differs at entry 4") == 2
    line = CODE.splitlines().index('    await holdfast.sleep("1h")') + 1
    assert "  the journal has  timer 1" in output
    assert "  the code         called step store" in output
    assert f"  at               shop.py:{line}" in output
    assert "2 runs replayed, 2 with a difference" in output


def test_a_change_behind_the_end_of_an_open_run_is_none(folder: Path) -> None:
    _change(folder, "    return await store(rows) + answer + label\n", "    return answer\n")
    code, output = _replay(folder, "histories/0.json", "-m", "shop")
    assert code == 0, output
    code, output = _replay(folder, "histories/1.json", "-m", "shop", "-o", "json")
    assert code == 1
    (found,) = json.loads(output[: output.rindex("]") + 1])
    assert (found["entry"], found["expected"], found["replays"]) == (7, "step store (2)", False)
    assert found["actual"] == "ended as completed"


def test_other_arguments_are_a_difference_too(folder: Path) -> None:
    _change(folder, "await fetch(url)", "await fetch(url + '/')")
    code, output = _replay(folder, "histories/0.json", "shop")
    assert code == 1
    assert "called step fetch with another 'url'" in output


def test_code_that_asks_for_the_time_is_told_what_to_write(folder: Path) -> None:
    _change(folder, "    label = url.upper()\n", "    import time\n    label = str(time.time())\n")
    code, output = _replay(folder, "histories/0.json", "shop")
    assert code == 1
    assert "holdfast.now()" in output or "time.time() cannot be repeated" in output


def test_the_debugger_stops_after_an_entry_in_the_frames_of_the_code(folder: Path) -> None:
    code, output = _replay(
        folder, "histories/1.json", "shop", "--pdb", "--at", "4", typed="p rows, found\nu\np label\nn\nn\nw\nq\n"
    )
    assert code == 0, output
    assert "(3, {'rows': 3})" in output
    assert "'HTTP://A'" in output
    assert 'await holdfast.sleep("1h")' in output
    assert 'await holdfast.receive("go", str)' in output


def test_the_debugger_goes_on_to_an_entry_and_to_the_end(folder: Path) -> None:
    code, output = _replay(
        folder, "histories/1.json", "shop", "--pdb", "--at", "2", typed="entry 1\nentry 7\np answer, rows\nc\n"
    )
    assert code == 0, output
    assert "entries are not taken back" in output
    assert "('!', 3)" in output
    assert "the code has ended, after entry 9 of 9" in output


def test_the_debugger_stops_where_the_code_differs(folder: Path) -> None:
    _change(folder, '    await holdfast.sleep("1h")\n', "    await store(rows)\n")
    code, output = _replay(folder, "histories/0.json", "shop", "--pdb", typed="p rows\nq\n")
    assert code == 1
    assert "(replay) 3" in output
    assert "await store(rows)" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a run or a file"),
        (["none.json", "shop"], "none.json holds no history: it cannot be read"),
        (["histories/0.json", "shpo"], "there is no module 'shpo'"),
        (["histories/0.json", "shop", "--at", "3"], "says where --pdb stops"),
        (["histories/0.json", "shop", "--pdb", "--at", "99"], "has 5 entries"),
        (["histories/0.json", "histories/1.json", "shop", "--pdb", "--at", "2"], "exactly one run or file"),
        (["histories/0.json", "shop", "--status", "failed"], "chooses among the runs of --workflow"),
    ],
)
def test_bad_input_is_told_in_a_sentence(folder: Path, arguments: list[str], words: str) -> None:
    code, output = _replay(folder, *arguments)
    assert code != 0
    assert words in output
    assert "Traceback" not in output


def test_a_workflow_that_the_modules_do_not_have_is_named(folder: Path) -> None:
    _change(folder, "async def load(", "async def loaded(")
    code, output = _replay(folder, "histories/0.json", "shop")
    assert code == 1
    assert "no workflow 'load' is defined in the modules. Did you mean 'loaded'?" in output
