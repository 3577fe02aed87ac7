"""The tutorial, typed as a reader types it: files written and changed, terminals, a killed worker, a web server.

Blocks are taken in the order of the page. Python is written to the file that its first line names; with ", changed" its
definitions take the place of those of their names. Of a console what follows a command is its output, in which "..." is
anything; of a text each line comes from a terminal in which something runs.
"""

import ast
import asyncio
import os
import re
import shlex
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.processes import Process, free_port

from . import pages

PAGE = "docs/tutorial.md"
INSTALLS = ("python3 -m venv", "pip install")
READY = {"serve": None, "worker": "ready: queue", "uvicorn": "Application startup complete"}
KILL_WORKER = 'pkill -9 -f "holdfast worker"'
SECONDS = 60.0

LOOKS = re.compile(r"holdfast runs |curl \S+ \S+$")
"""Commands that change nothing, and may be typed again until they show what they should."""
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CHANGED = re.compile(r"# (\w+\.py), changed\n")


@pytest.mark.timeout(400)
@pytest.mark.feature("F34", "F35", "F97")
async def test_a_reader_who_types_the_tutorial_sees_what_it_says(open_directory: Path) -> None:
    async with AsyncExitStack() as stack:
        reader = Reader(open_directory, stack)
        for language, text in _BLOCK.findall(pages.read(PAGE)):
            match language:
                case "python":
                    reader.write(text)
                case "console":
                    await reader.type(text)
                case "text":
                    await reader.see(text)
                case _:
                    raise AssertionError(f"nobody tries a block of {language}")
        assert reader.printed_twice == [], "a step that had finished was executed again"


class Reader:
    """Sits before a few terminals, in a directory."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._web_port = free_port()
        port = str(free_port())
        self._address = f"localhost:{port}"
        self._environment = {
            "HOLDFAST_PORT": port,
            "HOLDFAST_ADDRESS": self._address,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.terminals: dict[str, Process] = {}
        self._earlier: list[Process] = []

    @property
    def printed_twice(self) -> list[str]:
        """What steps that had finished have printed again, over all workers; packing may repeat its last part."""
        workers = (*self._earlier, self.terminals["worker"])
        lines = [line for worker in workers for line in worker.lines if re.search(r" is (reserved|paid|on its)", line)]
        return [line for line in set(lines) if lines.count(line) > 1]

    def write(self, text: str) -> None:
        """Writes a file, or the definitions of a changed one."""
        if changed := _CHANGED.match(text):
            path = self._directory / changed[1]
            path.write_text(with_definitions(path.read_text(), text))
            return
        first = re.match(r"# (\w+\.py)\n", text)
        assert first is not None, text
        (self._directory / first[1]).write_text(text)

    async def type(self, console: str) -> None:
        """Types the commands of a block, and looks for the output that it shows."""
        for typed in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
            line, *shown = typed.splitlines()
            words = shlex.split(line)
            if line.startswith(INSTALLS):
                continue
            if line == KILL_WORKER:
                await self.terminals["worker"].kill()
            elif (name := words[0] if words[0] == "uvicorn" else words[1]) in READY:
                assert not shown
                await self._open(name, line)
            else:
                await self._run(line, shown)

    async def see(self, text: str) -> None:
        """Waits for lines in the terminal of the worker."""
        for line in text.splitlines():
            await self.terminals["worker"].wait_for_line(re.escape(line), seconds=SECONDS)

    async def _open(self, name: str, line: str) -> None:
        """Starts what goes on running; what ran in that terminal is stopped with Ctrl-C before."""
        if (before := self.terminals.get(name)) is not None:
            if name == "worker":
                self._earlier.append(before)
            if not before.has_ended:
                before.send(signal.SIGINT)
                await before.wait()
        if name == "uvicorn":
            line += f" --port {self._web_port}"
        here = shlex.quote(str(self._directory))
        process = Process(name, ["bash", "-c", f"cd {here} && exec {line}"], self._environment)
        self.terminals[name] = await self._stack.enter_async_context(process)
        if (ready := READY[name]) is not None:
            await process.wait_for_line(ready, seconds=SECONDS)
        else:
            await self._run(f"until holdfast health {self._address}; do sleep 0.2; done", [])

    async def _run(self, line: str, shown: list[str]) -> None:
        """Runs a command to its end. One that looks at a run is typed again until it shows what it should."""
        pattern = ".*".join(re.escape(part) for part in "...\n...".join(shown).split("..."))
        line = line.replace("localhost:8000", f"localhost:{self._web_port}")
        async with asyncio.timeout(SECONDS):
            while True:
                code, output = await self._output_of(line)
                if code == (1 if any(one.startswith("holdfast: ") for one in shown) else 0) and re.search(
                    pattern, output, re.DOTALL
                ):
                    return
                assert LOOKS.match(line), f"{line}\nended with {code}:\n{output}"

    async def _output_of(self, line: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", line, cwd=self._directory, stdin=asyncio.subprocess.DEVNULL,
            env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200"} | self._environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()


def with_definitions(source: str, changes: str) -> str:
    """The source with what the changes define in the place of what has the same name.

    New imports come first, new definitions before the last one.
    """
    parts = _parts(source)
    for name, text in _parts(changes).items():
        if name in parts:
            parts[name] = text
        elif name == text:
            parts = {name: text} | parts
        else:
            last, of_last = parts.popitem()
            parts |= {name: text, last: of_last}
    return "\n\n\n".join(parts.values()) + "\n"


def _parts(source: str) -> dict[str, str]:
    """Each definition with its decorators, by its name; each import by its text."""
    lines, found = source.splitlines(), dict[str, str]()
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                begin, name = min([node.lineno, *(one.lineno for one in node.decorator_list)]), node.name
            case ast.Import() | ast.ImportFrom():
                begin, name = node.lineno, ""
            case _:
                raise AssertionError(f"what is to become of {ast.unparse(node)}?")
        text = "\n".join(lines[begin - 1 : node.end_lineno])
        found[name or text] = text
    return found
