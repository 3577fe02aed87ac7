"""The command line: exit codes, one-sentence errors, and what is parsed before anything connects."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from holdfast.cli import make_app
from holdfast.cli.root import SERVER_COMMANDS, RootGroup, add_commands
from holdfast.errors import HoldfastError

runner = CliRunner()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address where nothing listens."""
    monkeypatch.setattr("holdfast.channel.connection.CONNECT_SECONDS", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_help_names_the_commands() -> None:
    result = runner.invoke(make_app(), ["--help"])
    assert result.exit_code == 0
    for command in ("worker", "start", "run", "runs", "trace"):
        assert command in result.output


def test_help_has_the_first_sentence_of_every_command_whole() -> None:
    for path in ([], ["runs"], ["trace"]):
        shown = " ".join(runner.invoke(make_app(), [*path, "--help"]).output.split())
        group: Any = typer.main.get_command(make_app())
        for name in path:
            group = group.commands[name]
        for name, command in group.commands.items():
            sentence = " ".join(command.help.split()).partition(". ")[0].rstrip(".")
            assert f"{name} {sentence}." in shown


HEAVY = {
    "asyncio", "google", "grpc", "holdfast.channel", "holdfast.client", "holdfast.worker", "importlib.metadata",
    "holdfast_coordinator.server_commands", "logging", "pydantic", "rich", "sqlalchemy", "structlog", "uvloop",
}  # fmt: skip
"""What takes longer to import than what declares the commands, and what would bring it along."""


def test_help_waits_for_nothing_that_only_a_command_needs() -> None:
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "from holdfast.cli import main\n"
        "sys.argv[1:] = ['--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    print('imported:', *set(sys.modules) - before)"
    )
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    help, _, imported = ran.stdout.partition("imported:")
    assert "Commands:" in help
    assert sorted(HEAVY.intersection(imported.split())) == []


def test_without_the_server_extra_its_commands_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast_coordinator.cli.SERVER_PACKAGES", ("a_package_that_is_not_there",))
    result = runner.invoke(make_app(), ["serve"])
    assert result.exit_code == 1
    assert "(no module named 'a_package_that_is_not_there'); install it with: pip install" in result.stderr


def test_every_way_to_steer_a_run_is_a_command() -> None:
    output = runner.invoke(make_app(), ["runs", "--help"]).output
    for command in ("list", "show", "history", "cancel", "terminate", "retry", "resume", "signal"):
        assert command in output


@pytest.mark.parametrize(
    "arguments",
    [
        ["start", "order"],
        ["run", "order", "--input", "[1]"],
        ["runs", "list"],
        ["runs", "show", "o-1", "--output", "json"],
        ["runs", "cancel", "o-1", "--wait", "--timeout", "5s"],
        ["runs", "signal", "o-1", "approval", "true"],
        ["trace", "show", "o-1"],
        ["trace", "export", "o-1"],
    ],
)
def test_without_a_coordinator_a_command_fails_with_one_sentence(arguments: list[str], nobody: str) -> None:
    result = runner.invoke(make_app(), [*arguments, "--address", nobody])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"holdfast: no coordinator answers at {nobody}")
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["start"], "WORKFLOW"),
        (["start", "order", "--input", "{'a': 1}"], "is not JSON"),
        (["start", "order", "--delay", "5 minutes"], "--delay"),
        (["start", "order", "--id", "run_1"], "kept for run ids"),
        (["start", "order", "--on-conflict", "ignore"], "on_conflict"),
        (["run", "order", "--metadata", "team"], "KEY=VALUE"),
        (["runs", "list", "--status", "sleeping"], "sleeping"),
        (["runs", "list", "--limit", "0"], "--limit"),
        (["runs", "list", "--started-after", "yesterday"], "--started-after"),
        (["runs", "signal", "o-1", "approval", "yes"], "is not JSON"),
        (["runs", "show", "o-1", "--output", "yaml"], "yaml"),
        (["worker"], "HOLDFAST_MODULES"),
        (["nonsense"], "nonsense"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage_ends_with_code_2_and_says_what_is_wrong(
    arguments: list[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOLDFAST_MODULES", raising=False)
    monkeypatch.setenv("COLUMNS", "400")
    result = runner.invoke(make_app(), arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    said, hint = result.stderr.splitlines()
    assert said.startswith("holdfast: "), "as every other error"
    assert "--help` shows" in hint


def test_a_group_without_a_command_shows_what_there_is() -> None:
    for arguments in ([], ["runs"]):
        assert "Usage: " in runner.invoke(make_app(), arguments).output


def test_a_malformed_address_is_said_before_anything_connects() -> None:
    result = runner.invoke(make_app(), ["runs", "list", "--address", "http://localhost"])
    assert result.exit_code == 1
    assert "begins with http://" in result.stderr


def test_a_worker_whose_module_does_not_import_fails_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_flows.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    result = runner.invoke(make_app(), ["worker", "broken_flows"])
    assert result.exit_code == 1
    assert "a_module_that_is_not_there" in result.stderr


def test_a_worker_finds_modules_in_the_current_directory_and_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd_flows.py").write_text(
        "import holdfast\n\napp = holdfast.App('cwd')\n\n\n@app.workflow\nasync def empty() -> None: ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("HOLDFAST_MODULES", "cwd_flows:app")
    # It would wait for a coordinator; this address it refuses once it has the modules.
    result = runner.invoke(make_app(), ["worker", "--address", "localhost:no-port"])
    assert "1 workflow(s) and 0 step(s)" in result.stderr
    assert "no-port" in result.stderr


def test_commands_of_a_missing_package_say_what_to_install() -> None:
    app = typer.Typer(cls=RootGroup)
    add_commands(app, "package_that_is_not_there.cli")
    for name in SERVER_COMMANDS:
        result = runner.invoke(app, [name, "--whatever", "module"])
        assert result.exit_code == 1
        assert "pip install 'holdfast[server]'" in result.stderr


def test_any_error_of_holdfast_is_one_sentence_and_code_1() -> None:
    app = typer.Typer(cls=RootGroup)

    @app.command()
    def fail() -> None:
        raise HoldfastError("the moon is full; wait")

    @app.command()
    def other() -> None: ...

    result = runner.invoke(app, ["fail"])
    assert (result.exit_code, result.stderr) == (1, "holdfast: the moon is full; wait\n")
