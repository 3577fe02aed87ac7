"""The plugin of pytest: fixtures with a real coordinator, and tests whose steps and workflows do not meet.

A module of its own beside the package, for pytest imports it in every run: it imports nothing of holdfast before a test
asks for a fixture, or has imported it itself.
"""

import importlib.util
import itertools
import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

if TYPE_CHECKING:
    import asyncio

    from holdfast.client import Client
    from holdfast.testing.registries import Layer
    from holdfast.worker import Worker

NAMESPACES = 50
"""How many tests share a coordinator, each with a namespace of its own. The next ones get a fresh one."""
START_SECONDS = 60.0
STOP_SECONDS = 30.0

_Function = TypeVar("_Function", bound=Callable[..., Any])
_LISTENS_ON = re.compile(r"listens on (\S+:\d+)")
# The pipe ends when this process does, however it does: no coordinator, and no Postgres, is left behind.
_SERVE = """
import os, signal, sys, threading
def end_with_parent():
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=end_with_parent, daemon=True).start()
from holdfast.cli import main
main()
"""

WorkerFactory = Callable[..., "Awaitable[Worker]"]


class _Coordinator:
    """A coordinator process with an embedded Postgres, whose data is gone when it ends."""

    def __init__(self, namespaces: Iterable[str]) -> None:
        options = [option for name in namespaces for option in ("--namespace", name)]
        command = [sys.executable, "-c", _SERVE, "serve", "--embedded", "--ephemeral", "--port", "0", *options]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HOLDFAST_")}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self._lines = deque[str](maxlen=50)
        self._found = threading.Event()
        self.address = ""
        threading.Thread(target=self._read, daemon=True).start()
        if not self._found.wait(START_SECONDS) or not self.address:
            self.stop()
            said = "".join(self._lines) or "nothing"
            raise RuntimeError(
                "holdfast_client: the coordinator did not start; `pip install 'holdfast[server]'` brings what it "
                f"needs. It said: {said}"
            )

    def stop(self) -> None:
        """Ends it, and waits until it is gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if not self.address and (match := _LISTENS_ON.search(line)):
                self.address = match.group(1)
                self._found.set()
        self._found.set()


class _Coordinators:
    """The coordinator of the tests to come, and a namespace for each."""

    def __init__(self) -> None:
        self._running: _Coordinator | None = None
        self._left: Iterator[str] = iter(())
        self._numbers = itertools.count(1)

    def place(self) -> tuple[str, str]:
        """An address and a namespace in which nothing has happened."""
        namespace = next(self._left, None)
        if namespace is None:
            self.stop()
            names = [f"test-{next(self._numbers)}" for _ in range(NAMESPACES)]
            self._running = _Coordinator(names)
            self._left = iter(names)
            namespace = next(self._left)
        assert self._running is not None
        return self._running.address, namespace

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None


@pytest.fixture(scope="session")
def _holdfast_coordinators() -> Iterator[_Coordinators]:
    coordinators = _Coordinators()
    try:
        yield coordinators
    finally:
        coordinators.stop()


@pytest.fixture
def holdfast_place(_holdfast_coordinators: _Coordinators) -> tuple[str, str]:
    """The address of a coordinator, and a namespace for this test alone: for clients that a test makes itself."""
    return _holdfast_coordinators.place()


def _async_fixture(function: _Function) -> _Function:
    """A fixture of pytest-asyncio where that is there; the plugin of anyio takes async fixtures as they are."""
    if importlib.util.find_spec("pytest_asyncio") is None:
        return cast("_Function", pytest.fixture(function))
    import pytest_asyncio

    return cast("_Function", pytest_asyncio.fixture(function))


@_async_fixture
async def holdfast_client(holdfast_place: tuple[str, str]) -> "AsyncIterator[Client]":
    """A client of a real coordinator on an embedded Postgres, in a namespace that no other test uses.

    The coordinator is started by the first test that asks for it.
    """
    from holdfast.client import Client

    address, namespace = holdfast_place
    async with Client.connect(address, namespace) as client:
        yield client


@_async_fixture
async def holdfast_worker(holdfast_client: "Client", request: pytest.FixtureRequest) -> AsyncIterator[WorkerFactory]:
    """`await holdfast_worker(workflows=[order], deps=...)` starts a worker, which is drained at the end of the test.

    It takes what `Worker` takes, but the client, and `modules=["shop.flows"]`; without workflows, steps and modules it
    has those of the test's module. It returns when the worker is ready.
    """
    async with AsyncExitStack() as stack:

        async def start(*, modules: Iterable[str] = (), **options: Any) -> "Worker":
            import asyncio

            from holdfast.authoring.discovery import discover
            from holdfast.worker import Worker

            targets = list(modules)
            if not (targets or options.get("workflows") or options.get("steps")):
                targets = [request.module.__name__]
            if targets:
                found = discover(targets)
                options["workflows"] = [*options.get("workflows", ()), *found.workflows]
                options["steps"] = [*options.get("steps", ()), *found.steps]
            worker = Worker(holdfast_client, handle_signals=False, **options)
            running = asyncio.create_task(worker.run())
            stack.push_async_callback(_drained, worker, running)
            ready = asyncio.create_task(worker.ready())
            await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await asyncio.gather(ready, return_exceptions=True)
                running.result()
            return worker

        yield start


async def _drained(worker: "Worker", running: "asyncio.Task[None]") -> None:
    worker.drain()
    await running


# Definitions of tests. Nothing is done, and nothing imported, before something else has imported holdfast.

_APPS = "holdfast.authoring.apps"
_layers: "dict[str, Layer]" = {}


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """What a test module defines is there for its own tests: others may use the same names."""
    report = yield
    if isinstance(collector, pytest.Module) and _APPS in sys.modules and report.passed:
        from holdfast.testing.registries import Layer, defined_by_module

        _layers[collector.nodeid] = Layer(defined_by_module(collector.obj.__name__))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """What a test defines is forgotten after it."""
    if _APPS not in sys.modules:
        return (yield)
    from holdfast.testing.registries import defined_in_functions, isolated_definitions

    module = item.getparent(pytest.Module)
    layer = None if module is None else _layers.get(module.nodeid)
    with ExitStack() as stack:
        if layer is not None:
            stack.enter_context(layer.on_top())
        stack.enter_context(isolated_definitions(defined_in_functions))
        return (yield)
