"""The programs of examples/other_languages, which share no code with holdfast, on a real coordinator that is killed."""

import signal

import pytest

from examples.other_languages.flows import publish
from holdfast import RunFailed
from holdfast.client import Client
from holdfast.journal import AttemptRecord, Mail, MailConsumed, StepResult
from holdfast.statuses import AttemptOutcome
from tests.support import other_languages
from tests.support.cell_rows import read_cell
from tests.support.invariants import check
from tests.support.other_languages import BUILD_SECONDS, LANGUAGES, CannotBuild, Language
from tests.support.processes import Process, coordinator_process, free_port, worker_process

from .conftest import Coordinator, WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(BUILD_SECONDS + 120)]

FLOWS = "examples.other_languages.flows"


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Language:
    """The programs of one language."""
    try:
        return other_languages.built(request.param)
    except CannotBuild as error:
        pytest.skip(str(error))


def worker_of(language: Language, address: str) -> Process:
    """Its worker, for the queue that has the name of the language."""
    return Process(f"{language.name} worker", (*language.worker, language.name), {"HOLDFAST_ADDRESS": address})


def client_of(language: Language, address: str, *arguments: str) -> Process:
    """A run of its client."""
    return Process(f"{language.name} client", (*language.client, *arguments), {"HOLDFAST_ADDRESS": address})


async def test_a_run_of_two_languages_survives_that_the_coordinator_is_killed(
    language: Language, database: str
) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    ttl = ("--session-ttl", "60s")  # however slowly this machine starts the second coordinator
    start = ("start", "publish", f'["D\\u00fcne <1>", "{language.name}", 1.5]')
    async with (
        coordinator_process(database, port=port, options=ttl) as first,
        worker_process(address, FLOWS) as python,
        worker_of(language, address) as foreign,
    ):
        await first.wait_for_line("listens on")
        await python.wait_for_line("ready")
        session = (await foreign.wait_for_line(r"session (\S+) is open")).group(1)
        async with client_of(language, address, *start) as starting:
            run_id = (await starting.wait_for_line(r"started (\S+)")).group(1)
            await foreign.wait_for_line(f"step 1 of {run_id}: attempt 1 begins")
            await first.kill()
            async with client_of(language, address, "signal", run_id, "approval", "true") as signalling:
                await signalling.wait_for_line("SignalRun is repeated")
                await starting.wait_for_line("WaitRuns is repeated")
                await foreign.wait_for_line("cut off")
                async with coordinator_process(database, port=port, options=ttl) as second:
                    await second.wait_for_line("listens on")
                    assert await signalling.wait() == 0
                    assert await starting.wait() == 0
                    assert f'result "Düne <1>, drawn by {language.name}"' in starting.lines
                    async with Client.connect(address) as client:
                        attempts = await _attempts(client, run_id)
                    assert foreign.lines.count(f"session {session} is open") == 2
                    foreign.send(signal.SIGTERM)
                    assert await foreign.wait() == 0
                    assert "time limit" not in foreign.output, foreign.output
                    await second.wait_for_line(f"session_closed.*{session}")
    check(read_cell(database))
    assert [(one.outcome, one.session_id) for one in attempts] == [(AttemptOutcome.COMPLETED, session)]


async def test_a_step_of_another_language_is_repeated_as_its_caller_asked_and_fails_for_good(
    language: Language, coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[publish]), worker_of(language, coordinator.address) as foreign:
        await foreign.wait_for_line("session .* is open")
        run = await client.start(publish.with_options(queue=queue), "", language.name)
        with pytest.raises(RunFailed, match="the title is empty"):
            await run.result(timeout=20)
        attempts = await _attempts(client, run.run_id)
    repeated, final = AttemptOutcome.FAILED_RETRYABLE, AttemptOutcome.FAILED_FINAL
    assert [one.outcome for one in attempts] == [repeated, repeated, final]
    for one in attempts:
        assert one.eligible_at <= one.started_at <= one.ended_at


async def test_a_worker_of_another_language_that_was_taken_for_dead_works_again(
    language: Language, coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str
) -> None:
    """It is stopped for longer than its session lives: what it held was given away, and is not wanted from it."""
    async with worker(workflows=[publish]), worker_of(language, coordinator.address) as foreign:
        session = (await foreign.wait_for_line(r"session (\S+) is open")).group(1)
        run = await client.start(publish.with_options(queue=queue), "Dune", language.name, 0.5)
        await foreign.wait_for_line("attempt 1 begins")
        foreign.send(signal.SIGSTOP)
        await coordinator.process.wait_for_line(f"session_died.*{session}")
        foreign.send(signal.SIGCONT)
        await foreign.wait_for_line("attempt 2 begins")
        await run.signal("approval", True)
        assert await run.result(timeout=20) == f"Dune, drawn by {language.name}"
        attempts = await _attempts(client, run.run_id)
    lost, completed = attempts
    # Whether the worker had said that it has the attempt, before it was stopped, is a matter of chance.
    assert lost.outcome in (AttemptOutcome.LOST, AttemptOutcome.HANDED_BACK)
    assert completed.outcome is AttemptOutcome.COMPLETED


async def _attempts(client: Client, run_id: str) -> tuple[AttemptRecord, ...]:
    """The attempts of the queued step, as the mail with its result names them."""
    for one in await client.get(run_id).history():
        match one.entry:
            case MailConsumed(mail=Mail(body=StepResult(attempts=attempts))):
                return attempts
    raise AssertionError("no queued step has ended")
