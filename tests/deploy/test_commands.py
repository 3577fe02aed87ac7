"""Every command of Dockerfile, compose.yaml and chart does what it is there for: a run completes, probes answer.

They run as plain processes from directories made of the Dockerfile, on a Postgres that listens on TCP.
"""

import asyncio
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from holdfast_coordinator.postgres import EmbeddedPostgres

from . import chart, compose
from .containers import Container, can_harden, free_port
from .image import Image, build

RUN = ["holdfast", "run", "fulfil", "--arg", 'order={"id": "o-1", "item": "unicorn", "amount": "10"}']
"""Completes at once: there are no unicorns, so the money goes back."""


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, Image]]:
    """The images, in a directory that every user may read."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-images-"))
    folder.chmod(0o755)
    try:
        made = build(folder)
        # What compose.yaml mounts, and what a user's image would bring.
        shutil.copytree(chart.DEPLOY.parent / "examples", made["worker"].workdir / "examples")
        yield made
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def tcp_postgres() -> Iterator[EmbeddedPostgres]:
    """A Postgres that other users can reach."""
    with EmbeddedPostgres(None, tcp_port=free_port()) as server:
        yield server


@pytest.fixture
def database_url(tcp_postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> str:
    """The URL of an empty database."""
    name = f"deploy_{abs(hash(request.node.name))}"
    superuser = tcp_postgres.url(database="postgres", role="postgres")
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER holdfast".encode())
    return tcp_postgres.url(database=name)


async def test_a_release_of_the_chart_completes_a_run(images: dict[str, Image], database_url: str) -> None:
    ports = {"7410": str(free_port()), "7411": str(free_port()), "7412": str(free_port())}
    second_port, second_metrics = str(free_port()), str(free_port())
    host = {"shop-holdfast-coordinator.prod.svc": "127.0.0.1", "shop-holdfast-jaeger.prod.svc": "127.0.0.1"}
    pods = chart.pods(
        {
            "worker": chart.WORKER,
            "jaeger": {"enabled": True},
            "coordinator": {
                "namespaces": ["billing"],
                "drainSeconds": 1,
                "env": [{"name": "HOLDFAST_POLL_WAIT", "value": "20s"}],
            },
        }
    )
    containers = {
        file: Container.of_pod(images[image], pods[file], secret=database_url)
        for file, image in {
            "migrations-job.yaml": "server",
            "coordinator-deployment.yaml": "server",
            "worker-deployment.yaml": "worker",
        }.items()
    }
    code, output = await containers["migrations-job.yaml"].run()
    assert code == 0, output
    assert "up to date" in output
    coordinator = containers["coordinator-deployment.yaml"]
    replaced = {**ports, **host}
    first = coordinator.with_replaced(replaced)
    second = coordinator.with_replaced({**replaced, "7410": second_port, "7412": second_metrics})
    worker = containers["worker-deployment.yaml"].with_replaced(replaced)
    worker_lives, coordinator_lives = (
        containers[file]
        .running(chart.container(pods[file])["livenessProbe"]["exec"]["command"])
        .with_replaced(replaced)
        for file in ("worker-deployment.yaml", "coordinator-deployment.yaml")
    )

    async with first.process() as one, second.process() as other, worker.process() as working:
        assert (await one.wait_for_line(r'"serving_begun", "address": "(\S+?)"'))[1] == f"0.0.0.0:{ports['7410']}"
        await asyncio.gather(other.wait_for_line("serving_begun"), working.wait_for_line("ready"))
        # The worker is with the first replica, the client with the second.
        outcomes = await asyncio.gather(
            worker.running([*RUN, "--address", f"127.0.0.1:{second_port}"]).run(),
            first.running(["holdfast", "health", f"127.0.0.1:{ports['7410']}"]).run(),
            worker.running(["holdfast", "health", f"127.0.0.1:{ports['7411']}"]).run(),
        )
        assert [code for code, _ in outcomes] == [0, 0, 0], outcomes
        assert '"refunded"' in outcomes[0][1]
        await asyncio.gather(one.stop(), other.stop())
        assert await one.wait() == await other.wait() == 0
        code, output = await worker.running(["holdfast", "health", f"127.0.0.1:{ports['7411']}"]).run()
        assert (code, "does not serve: it answers NOT_SERVING" in output) == (1, True), output
        (alive, _), (dead, output) = await asyncio.gather(worker_lives.run(), coordinator_lives.run())
        assert alive == 0, "a worker without coordinator is alive: no restart would help it"
        assert dead == 1
        assert "no health answer" in output
        await working.stop()
        assert await working.wait() == 0


async def test_what_compose_starts_completes_a_run(images: dict[str, Image], database_url: str) -> None:
    port, health_port = str(free_port()), str(free_port())
    services = compose.services()
    migrate, coordinator, worker = (
        Container.of_service(name, images[services[name]["build"]["target"]], services[name])
        for name in ("migrate", "coordinator", "worker")
    )
    code, output = await migrate.with_variables(HOLDFAST_DATABASE_URL=database_url).run()
    assert code == 0, output
    # Without an option the port is the usual one, and the check asks there.
    metrics_port = str(free_port())
    coordinator = coordinator.with_replaced({"7412": metrics_port, "jaeger": "127.0.0.1"}).with_variables(
        HOLDFAST_DATABASE_URL=database_url, HOLDFAST_PORT=port, HOLDFAST_ADDRESS=f"localhost:{port}"
    )
    worker = worker.with_replaced({"coordinator:7410": f"127.0.0.1:{port}", "7411": health_port})
    check = [word.replace("7411", health_port) for word in worker.image.stage.last("HEALTHCHECK").command]
    async with coordinator.process() as serving, worker.process() as working:
        await asyncio.gather(serving.wait_for_line("serving_begun"), working.wait_for_line("ready"))
        outcomes = await asyncio.gather(
            worker.running(RUN).run(),
            coordinator.running(coordinator.image.stage.last("HEALTHCHECK").command).run(),
            worker.running(check).run(),
        )
        assert [code for code, _ in outcomes] == [0, 0, 0], outcomes
        assert '"refunded"' in outcomes[0][1]
        assert 'holdfast_runs_closed_total{namespace="default",status="completed"' in await _metrics(metrics_port)


async def _metrics(port: str) -> str:
    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            text: str = response.read().decode()
            return text

    return await asyncio.to_thread(read)


async def test_the_commands_of_the_images_themselves_are_understood(images: dict[str, Image]) -> None:
    def default(target: str) -> Container:
        return Container.of_service(target, images[target], {})

    (code, output), (refused, said), (absent, where) = await asyncio.gather(
        default("worker").run(),
        default("worker").running(["holdfast", "serve"]).run(),
        default("server").running(["holdfast", "bench", "--quick"]).run(),
    )
    assert code == 2, output
    assert "HOLDFAST_MODULES" in output, "a user's image says which modules there are"
    assert refused == 1
    assert "needs the server" in said
    assert absent == 1
    assert "run `make bench` there" in where, "no benchmarks are installed"


def test_the_processes_ran_as_another_user_on_a_read_only_file_system(images: dict[str, Image]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can take privileges away")
    if not can_harden(images["server"].root):
        pytest.skip("this machine has no mount namespaces, or other users cannot read the environment of the tests")
    assert can_harden(images["worker"].root)
