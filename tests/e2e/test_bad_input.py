"""What users and operators get wrong, and the one sentence and exit code that they get for it.

Wrong values of single features are in the files of these features: values, sizes, time, signals, queries.
"""

import asyncio
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import (
    App,
    CoordinatorUnavailable,
    InvalidRequest,
    NamespaceNotFound,
    PayloadNotSerializable,
    RunNotFound,
    constant,
)
from holdfast.client import Client, by_name
from holdfast.worker import Worker
from tests.support.processes import Process, coordinator_process, worker_process

from .conftest import Coordinator, WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(30)]

app = App("bad input", backoff=constant(0))


@app.workflow
async def echo(value: Any = None) -> Any:
    return value


def command(*arguments: str, environment: dict[str, str] | None = None) -> Process:
    """The command line, as a process."""
    return Process("holdfast", [sys.executable, "-m", "holdfast", *arguments], environment)


@contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# Starting


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"id": ""}, "id is empty"),
        ({"id": "x" * 500}, "limit"),
        ({"id": "run_mine"}, "kept for run ids"),
        ({"id": "a\nb"}, "cannot be printed"),
        ({"id": "a\x00b"}, "cannot be printed"),
        ({"id": "a\u202eb"}, "cannot be printed"),
        ({"id": "\u200d\u200c"}, "cannot be printed"),
        ({"idempotency_key": ""}, "idempotency_key is empty"),
        ({"idempotency_key": "k" * 500}, "limit"),
        ({"queue": " "}, "queue is empty"),
        ({"delay": "5 minutes"}, '"5s"'),
        ({"delay": "-5s"}, '"5s"'),
        ({"delay": 1e12}, "ten years"),
        ({"max_duration": "0s"}, "max_duration is 0"),
        ({"max_duration": "1000w"}, "ten years"),
        ({"priority": 101}, "from -100 to 100"),
        ({"on_conflict": "join"}, "on_conflict is one of 'attach'"),
        ({"reuse": "always"}, "reuse is one of 'attach'"),
        ({"metadata": {"key": "a\x00b"}}, "which is no text"),
        ({"metadata": {"key": "a\ud800b"}}, "which is no text"),
        ({"metadata": {"": "value"}}, "a metadata key is empty"),
    ],
    ids=str,
)
async def test_a_malformed_option_of_a_start_is_refused_where_it_is_given(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        echo.with_options(**options)


@pytest.mark.parametrize(
    "text",
    ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"],
    ids=["a family", "Persian"],
)
async def test_ids_names_and_keys_may_have_the_joiners_of_emoji_and_persian(
    client: Client, worker: WorkerFactory, queue: str, text: str
) -> None:
    start = echo.with_options(
        id=f"{queue} {text}", idempotency_key=f"{queue} {text}", metadata={text: text}, queue=queue
    )
    run = await client.start(start, text)
    await run.signal(text)
    async with worker(workflows=[app]):
        assert await run.result(timeout=10) == text
    found = await client.get(f"{queue} {text}").describe()
    assert (found.run_id, found.id) == (run.run_id, f"{queue} {text}")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"metadata": {f"key {number}": "value" for number in range(65)}}, "metadata"),
        ({"metadata": {"key": "x" * 9_000}}, "metadata"),
    ],
    ids=["many", "long"],
)
async def test_what_only_the_coordinator_refuses_is_refused_by_its_field_beside_good_starts(
    client: Client, worker: WorkerFactory, queue: str, options: dict[str, Any], field: str
) -> None:
    """The starts travel together; the bad one takes none of the others with it."""
    async with worker(workflows=[app]):
        good = echo.with_options(queue=queue)
        bad = echo.with_options(queue=queue, **options)
        refused = asyncio.create_task(client.start(bad, 0))
        runs = await asyncio.gather(*(client.start(good, number) for number in range(5)))
        with pytest.raises(InvalidRequest) as caught:
            await refused
        assert caught.value.field == field
        assert await client.wait_many(runs, timeout=10) == list(range(5))


@pytest.mark.parametrize(
    "value",
    ["\ud800", object(), {1, object()}, float, lambda: None],
    ids=["half a character", "an object", "a set with an object", "a class", "a function"],
)
async def test_an_argument_that_cannot_be_encoded_is_refused_beside_good_starts(
    client: Client, worker: WorkerFactory, queue: str, value: Any
) -> None:
    async with worker(workflows=[app]):
        start = echo.with_options(id=f"encode-{queue}", queue=queue)
        refused = asyncio.create_task(client.start(start, value))
        run = await client.start(echo.with_options(queue=queue), 1)
        with pytest.raises(PayloadNotSerializable, match="argument 'value' of workflow echo"):
            await refused
        assert await run.result(timeout=10) == 1
    with pytest.raises(RunNotFound):
        await client.get(f"encode-{queue}")


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00b", "a\ud800b", "x" * 201], ids=repr)
async def test_a_malformed_workflow_name_is_refused(client: Client, name: str) -> None:
    with pytest.raises((ValueError, InvalidRequest), match="name"):
        await client.start(name)


async def test_what_is_no_workflow_cannot_be_started(client: Client) -> None:
    with pytest.raises(TypeError, match="is not a workflow; give a function decorated with @workflow, or its name"):
        await client.start(print)  # type: ignore[call-overload]


async def test_an_unknown_namespace_is_refused_to_clients_and_workers(client: Client, coordinator: Coordinator) -> None:
    async with Client.connect(coordinator.address, "nowhere") as lost:
        with pytest.raises(NamespaceNotFound, match="'nowhere' does not exist; create it with") as caught:
            await lost.start(echo)
        assert caught.value.namespace == "nowhere"
        with pytest.raises(NamespaceNotFound):
            await lost.list()
        with pytest.raises((NamespaceNotFound, ExceptionGroup)) as raised:
            await asyncio.wait_for(Worker(lost, workflows=[app]).run(), 10)
        assert isinstance(raised.value, NamespaceNotFound)


# A coordinator that is not there


async def test_a_client_without_a_coordinator_says_so_in_one_sentence() -> None:
    with free_port() as port:
        with pytest.raises(CoordinatorUnavailable, match=f"no coordinator answers at 127.0.0.1:{port}") as caught:
            await Client.connect(f"127.0.0.1:{port}", timeout=0.3)
        assert caught.value.address == f"127.0.0.1:{port}"
        async with Client.connect(f"127.0.0.1:{port}", timeout=None, retry_for=0.3) as client:
            with pytest.raises(CoordinatorUnavailable, match=f"127.0.0.1:{port}"):
                await client.start(by_name("echo"))


@pytest.mark.parametrize("address", ["", "http://localhost:7410", "localhost:port", "localhost:70000", "a b:1", "::1"])
async def test_a_malformed_address_is_refused_with_the_accepted_forms(address: str) -> None:
    with pytest.raises(InvalidRequest, match="write host:port, for example localhost:7410") as caught:
        await Client.connect(address)
    assert caught.value.field == "address"


# The command line: one sentence on stderr, no traceback, an exit code


async def failing(process: Process, code: int) -> str:
    """Runs a command that must fail with this exit code; what it printed, without a traceback."""
    async with process:
        assert await process.wait() == code, process.output
    assert "Traceback" not in process.output
    return " ".join(process.output.replace("│", "").split())


async def test_commands_fail_with_one_sentence_that_says_what_to_do(coordinator: Coordinator) -> None:
    """Without a coordinator, and about an unknown run; side by side, because the first tries for five seconds."""
    with free_port() as port:
        lonely, lost = await asyncio.gather(
            failing(command("runs", "list", "--address", f"127.0.0.1:{port}"), 1),
            failing(command("runs", "show", "no-such-run", "--address", coordinator.address), 1),
        )
    assert lonely.startswith(f"holdfast: no coordinator answers at 127.0.0.1:{port}")
    assert lonely.endswith("start one with `holdfast dev`, or set HOLDFAST_ADDRESS")
    assert lost == "holdfast: no run 'no-such-run' in namespace 'default'; `holdfast runs list` shows what is there"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["start", "echo", "--input", "{not json"], "JSON"),
        (["worker"], "HOLDFAST_MODULES"),
    ],
    ids=lambda given: given[-1] if isinstance(given, list) else "",
)
async def test_wrong_usage_of_a_command_is_said_in_one_message(
    coordinator: Coordinator, arguments: list[str], said: str
) -> None:
    environment = {"HOLDFAST_ADDRESS": coordinator.address, "HOLDFAST_MODULES": ""}
    process = command(*arguments, environment=environment)
    async with process:
        assert await process.wait() in (1, 2), process.output
    assert "Traceback" not in process.output
    assert said in process.output


async def test_a_failed_run_makes_its_command_fail_with_the_error_of_the_run(
    client: Client, worker: WorkerFactory, coordinator: Coordinator
) -> None:
    async with worker(queue="default", workflows=[failing_app]):
        process = command("run", "always_fails", "--address", coordinator.address)
        async with process:
            assert await process.wait() == 1, process.output
    assert "ValueError: kaput" in process.output


failing_app = App("failing", retries=0)


@failing_app.workflow
async def always_fails() -> None:
    raise ValueError("kaput")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "there is no module 'shop_flows' on the import path"),
        (
            "import holdfast\n@holdfast.step\ndef a(): ...\n@holdfast.step(name='a')\ndef b(): ...\n",
            "step 'a' is defined twice",
        ),
    ],
    ids=["missing", "twice"],
)
async def test_a_worker_with_a_bad_module_exits_with_the_reason(
    coordinator: Coordinator, tmp_path: Path, source: str | None, said: str
) -> None:
    if source is not None:
        (tmp_path / "shop_flows.py").write_text(source)
    environment = {"PYTHONPATH": str(tmp_path)}
    output = await failing(worker_process(coordinator.address, "shop_flows", environment=environment), 1)
    assert output.startswith("holdfast: ")
    assert said in output


async def test_a_worker_for_an_unknown_namespace_exits_with_the_reason(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    (tmp_path / "small_flows.py").write_text("import holdfast\n@holdfast.workflow\nasync def small(): ...\n")
    environment = {"PYTHONPATH": str(tmp_path)}
    process = worker_process(
        coordinator.address, "small_flows", options=["--namespace", "nowhere"], environment=environment
    )
    assert "namespace 'nowhere' does not exist" in await failing(process, 1)


# The coordinator's own start


async def test_a_coordinator_whose_port_is_taken_exits_with_one_sentence(module_database: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = await failing(coordinator_process(module_database, port=port), 1)
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "choose another with --port" in said


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("postgresql://holdfast@127.0.0.1:1/none", 1, "Connection refused"),
        ("mysql://localhost/x", 2, "begins with postgresql://"),
        ("postgresql://[half", 2, "this database URL cannot be read"),
    ],
)
async def test_a_coordinator_without_its_database_exits_with_one_sentence(url: str, code: int, said: str) -> None:
    output = await failing(coordinator_process(url), code)
    assert said in output


@pytest.mark.parametrize(
    ("option", "value"),
    [("--session-ttl", "soon"), ("--namespace", "")],
)
async def test_a_coordinator_with_a_malformed_option_exits_with_wrong_usage(
    module_database: str, option: str, value: str
) -> None:
    output = await failing(command("serve", "--database-url", module_database, option, value), 2)
    assert value in output or "namespace" in output


async def test_commands_print_nothing_but_json_where_json_is_asked_for(coordinator: Coordinator) -> None:
    process = command("runs", "list", "--address", coordinator.address, "--output", "json")
    async with process:
        assert await process.wait() == 0
    json.loads(process.output)
