"""`holdfast check`: how it prints, which rules it applies, and its exit codes."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from holdfast.cli import make_app

ROOT = Path(__file__).resolve().parents[3]
runner = CliRunner()

FLOWS = """\
import time
from holdfast import step, workflow

@step
async def charge() -> None: ...

@workflow
async def order() -> float:
    charge()
    return time.time()
"""
CLOCK = "time.time() in workflow order: use holdfast.now(), which is the same in every replay, or put this in a step"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/flows.py").write_text(FLOWS)
    (tmp_path / "clean.py").write_text("from holdfast import workflow\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*arguments: str) -> Result:
    return runner.invoke(make_app(), ["check", *arguments])


def test_findings_are_a_line_each_with_file_line_column_and_rule(project: Path) -> None:
    result = check()
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.startswith("shop/flows.py:9:5: HF201 charge() is not awaited in workflow order: write `await` before")
    assert second == f"shop/flows.py:10:12: HF101 {CLOCK}"
    assert result.stderr == "2 files checked: 2 problems\n"


def test_without_findings_the_exit_code_is_0_and_nothing_is_printed_but_the_count(project: Path) -> None:
    result = check("clean.py")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "1 file checked: no problem\n")


def test_json_is_a_list_of_objects(project: Path) -> None:
    result = check("shop", "--output", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[1] == {
        "path": "shop/flows.py", "line": 10, "column": 12, "code": "HF101", "message": CLOCK,
    }  # fmt: skip
    assert json.loads(check("clean.py", "-o", "json").stdout) == []


def test_github_gets_annotations(project: Path) -> None:
    (project / "a,b%.py").write_text(FLOWS)
    result = check("a,b%.py", "-o", "github", "--select", "HF101")
    assert result.exit_code == 1
    assert result.stdout == f"::error file=a%2Cb%25.py,line=10,col=12,title=HF101::{CLOCK}\n"


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        (["--select", "HF101"], ["HF101"]),
        (["--select", "HF1"], ["HF101"]),
        (["--select", "HF201,HF101"], ["HF201", "HF101"]),
        (["--select", "HF201", "--select", "HF101"], ["HF201", "HF101"]),
        (["--ignore", "HF2"], ["HF101"]),
        (["--select", "HF", "--ignore", "HF101, HF102"], ["HF201"]),
        (["--ignore", "HF"], []),
    ],
)
def test_rules_are_selected_and_ignored_by_codes_and_their_beginnings(
    options: list[str], codes: list[str], project: Path
) -> None:
    result = check(*options)
    assert [line.split()[1] for line in result.stdout.splitlines()] == codes
    assert result.exit_code == (1 if codes else 0)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nowhere.py"], "nowhere.py: there is no such file or directory"),
        (["--select", "HF999"], "'HF999' is no rule; rules are HF001 to HF203"),
        (["--ignore", ""], "'' is no rule"),
        (["--output", "xml"], "xml"),
    ],
)
def test_bad_usage_ends_with_code_2_and_one_sentence(arguments: list[str], problem: str, project: Path) -> None:
    result = check(*arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stdout == ""


def test_it_runs_as_a_hook_of_pre_commit(project: Path) -> None:
    """As pre-commit does it: the entry of the hook, and the names of the changed files."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program = Path(sys.executable).parent / "holdfast"
    name, *arguments = shlex.split(hook["entry"])
    assert (hook["id"], name, hook["language"], hook["types"]) == ("holdfast-check", "holdfast", "python", ["python"])
    command = [program, *arguments, "shop/flows.py", "clean.py"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project, env=os.environ)
    assert ran.returncode == 1
    assert "shop/flows.py:10:12: HF101" in ran.stdout
