"""What the documentation shows works, and what it names exists: examples, commands, options, links, tables."""

import asyncio
import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer

from holdfast.cli import make_app
from holdfast.statuses import RunStatus
from holdfast_coordinator.config import Config
from holdfast_coordinator.rpc import refusals
from holdfast_coordinator.store import tables
from holdfast_coordinator.store.batch_reads import CellReads
from holdfast_coordinator.store.database_connection import Statement
from holdfast_coordinator.store.statements_control import ControlStatements
from holdfast_coordinator.store.statements_due import CellDue
from holdfast_coordinator.store.statements_elsewhere import CellElsewhere
from holdfast_coordinator.store.statements_gauges import CellGauges
from holdfast_coordinator.store.statements_journals import CellJournals
from holdfast_coordinator.store.statements_leases import CellLeases
from holdfast_coordinator.store.statements_runs import CellRuns
from holdfast_coordinator.store.statements_traces import CellTraces
from holdfast_coordinator.store.statements_writes import CellWrites
from tests.support.processes import Process

from ..e2e.conftest import Coordinator
from . import pages

SECONDS = 60.0
TYPED = {"docs/tutorial.md"}
"""Pages that test_tutorial.py types as a reader does."""
WITH_PYTHON = [page for page in pages.PAGES if page not in TYPED and pages.blocks(page, "python")]
WITH_CLIENT = [
    page
    for page in WITH_PYTHON
    if any(word in block.text for block in pages.blocks(page, "python") for word in ("Client", "HOLDFAST_ADDRESS"))
]
WITHOUT_CLIENT = [page for page in WITH_PYTHON if page not in WITH_CLIENT]
WITH_TESTS = [
    page
    for page in WITH_PYTHON
    if any((one.file_name or "").startswith("test_") for one in pages.blocks(page, "python"))
]


# Examples


@pytest.mark.parametrize("page", WITHOUT_CLIENT)
async def test_the_examples_of_a_page_run(page: str, tmp_path: Path) -> None:
    await _run_page(page, tmp_path)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("page", WITH_CLIENT)
async def test_the_examples_of_a_page_run_against_a_coordinator(
    page: str, tmp_path: Path, coordinator: Coordinator
) -> None:
    await _run_page(page, tmp_path, HOLDFAST_ADDRESS=coordinator.address)


@pytest.mark.parametrize("page", WITH_TESTS)
async def test_the_tests_that_a_page_shows_pass(page: str, tmp_path: Path) -> None:
    files = [name for name in _write_files(page, tmp_path) if name.startswith("test_")]
    await _succeeds("-m", "pytest", "-q", "-p", "no:cacheprovider", *files, directory=tmp_path)


async def test_the_commands_of_the_first_workflow_do_what_the_readme_says(tmp_path: Path) -> None:
    """`holdfast dev` in one terminal, `holdfast run` in another; any free port, and no data left behind."""
    _write_files("README.md", tmp_path)
    typed = list(pages.typed_lines("README.md"))
    dev = next(line for line in typed if line.startswith("holdfast dev"))
    run = next(line for line in typed if line.startswith("holdfast run "))
    environment = {"HOLDFAST_PORT": "0", "HOLDFAST_EPHEMERAL": "true", "PYTHONPATH": str(tmp_path)}
    async with Process("dev", [sys.executable, "-m", "holdfast", *shlex.split(dev)[1:]], environment) as running:
        address = (await running.wait_for_line(r"listens on (\S+:\d+)"))[1]
        await running.wait_for_line("worker: ready")
        output = await _succeeds("-m", "holdfast", *shlex.split(run)[1:], HOLDFAST_ADDRESS=address)
        assert "bought" in await _succeeds("buy.py", directory=tmp_path, HOLDFAST_ADDRESS=address)
        for line in typed:
            if line.startswith(("holdfast runs history ", "holdfast trace show ")) and "RUN" not in line:
                assert "charge" in await _succeeds("-m", "holdfast", *shlex.split(line)[1:], HOLDFAST_ADDRESS=address)
    promised = re.search(r"\$ holdfast run .*\n(.+)\n", pages.read("README.md"))
    assert promised is not None
    assert json.loads(promised[1]) in output


async def test_the_program_that_is_all_of_it_gets_its_receipt_also_the_second_time(open_directory: Path) -> None:
    _write_files("README.md", open_directory)
    for _ in range(2):
        assert "receipt o-4: 5.00" in await _succeeds("alone.py", directory=open_directory)


def _write_files(page: str, directory: Path) -> list[str]:
    """Writes the files that a page shows; their names."""
    files = {block.file_name: block.text for block in pages.blocks(page, "python") if block.file_name}
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    return list(files)


async def _run_page(page: str, directory: Path, **environment: str) -> None:
    _write_files(page, directory)
    await _succeeds("-m", "tests.docs.run_page", page, directory=directory, **environment)


async def _succeeds(*command: str, directory: Path = pages.ROOT, **environment: str) -> str:
    """What a Python program prints; fails with it unless it ends with exit code 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(pages.ROOT), "NO_COLOR": "1"} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode()
    return output.decode()


# Commands


def _options_of_commands() -> dict[str, set[str]]:
    """Every command ("runs list") with its options, as --help shows them."""
    found: dict[str, set[str]] = {}

    def walk(command: object, path: list[str]) -> None:
        subcommands = getattr(command, "commands", {})
        for name, subcommand in subcommands.items():
            walk(subcommand, [*path, name])
        parameters = [one for one in getattr(command, "params", ()) if not getattr(one, "hidden", False)]
        options = {option for one in parameters for option in one.opts if option.startswith("-")}
        found[" ".join(path)] = options | {"--help", "-h"}

    walk(typer.main.get_command(make_app()), [])
    return found


COMMANDS = _options_of_commands()
ALL_OPTIONS = set().union(*COMMANDS.values())


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_command_and_option_that_a_page_names_exists(page: str) -> None:
    for line in pages.typed_lines(page):
        if not re.match(r"(\.venv/bin/)?holdfast( |$)", line):
            continue
        words = shlex.split(line.partition("#")[0])[1:]
        is_group = any(name.startswith(f"{words[0]} ") for name in COMMANDS) if words else False
        command = " ".join(words[: 2 if is_group else 1])
        assert command in COMMANDS, line
        unknown = {word.partition("=")[0] for word in words if word.startswith("-")} - COMMANDS[command]
        assert not unknown, f"{line}: {unknown}"


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_option_between_back_quotes_exists(page: str) -> None:
    named = {span.split()[0] for span in pages.spans(page) if re.match(r"--[a-z]", span)}
    assert named <= ALL_OPTIONS


def test_the_configuration_page_names_every_option_of_its_commands() -> None:
    described = pages.sections("docs/configuration.md")
    for command in ("serve", "dev", "worker"):
        text = next(text for heading, text in described.items() if f"`holdfast {command}" in heading)
        options = {one for one in COMMANDS[command] if one.startswith("--")} - {"--help"}
        assert set(re.findall(r"`(--[a-z-]+)`", text)) >= options, command


def test_the_configuration_page_names_every_variable() -> None:
    variables = {f"HOLDFAST_{name.upper()}" for name in Config.model_fields} | _variables_of_the_code()
    assert set(re.findall(r"HOLDFAST_[A-Z_]+", pages.read("docs/configuration.md"))) == variables


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_variable_that_a_page_names_exists(page: str) -> None:
    known = {f"HOLDFAST_{name.upper()}" for name in Config.model_fields} | _variables_of_the_code()
    assert set(re.findall(r"HOLDFAST_[A-Z_]+[A-Z]", pages.read(page))) <= known


def _variables_of_the_code() -> set[str]:
    sources = [*pages.ROOT.glob("sdk/holdfast/**/*.py"), *pages.ROOT.glob("coordinator/**/*.py")]
    return {name for path in sources for name in re.findall(r'"(HOLDFAST_[A-Z_]+[A-Z])"', path.read_text("utf-8"))}


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", pages.read("Makefile"), re.MULTILINE))
    named = {line.split()[1] for line in pages.typed_lines(page) if re.match(r"make [a-z]", line)}
    assert named <= targets


# Links


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_relative_link_of_a_page_resolves(page: str) -> None:
    for link in pages.links(page):
        if re.match(r"[a-z]+:", link.target):
            continue
        path, _, anchor = link.target.partition("#")
        target = ((pages.ROOT / page).parent / path).resolve() if path else pages.ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in pages.anchors(target.relative_to(pages.ROOT).as_posix()), link


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_test_that_a_page_names_is_in_the_file_that_it_links(page: str) -> None:
    for link in pages.links(page):
        if link.text.startswith("`test_"):
            file = (pages.ROOT / page).parent / link.target
            assert f"def {link.text.strip('`')}(" in file.read_text(encoding="utf-8"), link


def test_every_decision_is_numbered_once_and_has_its_three_parts() -> None:
    decisions = [page for page in pages.PAGES if page.startswith("docs/decisions/0")]
    numbers = [Path(page).name[:4] for page in decisions]
    assert numbers == sorted(set(numbers))
    for page in decisions:
        assert list(pages.sections(page)) == ["Context", "Decision", "Consequences"], page


# Tables


def test_the_schema_page_names_every_table_and_index() -> None:
    text = pages.read("docs/schema.md")
    for metadata in (tables.cell_metadata, tables.control_metadata):
        for table in metadata.sorted_tables:
            assert re.search(rf"^\| `{table.name}` \|", text, re.MULTILINE), table.name
            assert all(f"`{index.name}`" in text for index in table.indexes), table.name


def test_the_schema_page_names_every_statement() -> None:
    parts = (CellReads, CellWrites, CellDue, CellLeases, CellJournals, CellRuns, CellGauges, CellTraces, CellElsewhere)
    of_cells = [part("x") for part in parts]
    holders = (*of_cells, ControlStatements("x"))
    statements = {one.name for holder in holders for one in vars(holder).values() if isinstance(one, Statement)}
    assert statements <= set(pages.spans("docs/schema.md"))


def test_the_protocol_page_names_every_reason() -> None:
    source = Path(refusals.__file__).read_text(encoding="utf-8")
    reasons = set(re.findall(r'"([A-Z]{5,}[A-Z_]*)"', source)) | set(re.findall(r'"([A-Z]+_[A-Z_]+)"', source))
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", pages.sections("docs/protocol.md")["Refusals"], re.MULTILINE))
    assert listed == reasons


def test_the_glossary_has_every_status_of_a_run() -> None:
    assert {f"`{status}`" for status in RunStatus} <= {f"`{span}`" for span in pages.spans("docs/GLOSSARY.md")}
