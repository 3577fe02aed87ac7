"""A replay attaches results to the same calls only: arguments are compared, and the one that differs is named."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import App
from holdfast.errors import NonDeterminism
from holdfast.journal import Entry, RunStarted, StepCompleted
from holdfast.worker.stall_reasons import stall_reason
from holdfast.workflow.commands import Close
from tests.support.workflow_driver import CODEC, START, Driver, instance_of

app = App("same")
_HERE = Path(__file__).parent


@app.step
def charge(tag: Any, amount: int = 1, *, note: str = "") -> Any:
    return str(tag)


@app.workflow
async def child(tag: Any) -> Any:
    return tag


def replay(function: Callable[..., Any], journal: list[Entry]) -> None:
    instance = instance_of(function)
    instance.is_replaying = True
    try:
        for entry in journal:
            instance.feed(entry)
    finally:
        instance.close()


def assert_differs(recorded: Callable[..., Any], now: Callable[..., Any], argument: str) -> NonDeterminism:
    driver = Driver(recorded, children={"child": str}).run()
    replay(recorded, driver.journal)
    with pytest.raises(NonDeterminism) as caught:
        replay(now, driver.journal)
    assert f"the argument {argument!r}" in str(caught.value)
    return caught.value


DIFFERENT: list[tuple[Callable[[], Any], Callable[[], Any], str]] = [
    (lambda: charge("a"), lambda: charge("b"), "tag"),
    (lambda: charge("a", 1), lambda: charge("a", 2), "amount"),
    (lambda: charge("a"), lambda: charge("a", 2), "amount"),
    (lambda: charge("a", note="x"), lambda: charge("a", note="y"), "note"),
    (lambda: charge(["a", "b"]), lambda: charge(["b", "a"]), "tag"),
    (lambda: charge(1), lambda: charge("1"), "tag"),
    (lambda: charge({"a": 1}), lambda: charge({"a": 2}), "tag"),
    (lambda: charge({1, 2}), lambda: charge({1, 3}), "tag"),
    (lambda: child("a"), lambda: child("b"), "tag"),
    (lambda: charge.with_options(step_id="x")("a"), lambda: charge.with_options(step_id="x")("b"), "tag"),
]


@pytest.mark.feature("F152")
@pytest.mark.parametrize(("recorded", "now", "argument"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_a_call_with_other_arguments_is_a_difference_that_names_the_argument(
    recorded: Callable[[], Any], now: Callable[[], Any], argument: str
) -> None:
    async def before() -> Any:
        return await recorded()

    async def after() -> Any:
        return await now()

    assert_differs(before, after, argument)


SAME: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
    (lambda: charge("a"), lambda: charge(tag="a")),
    (lambda: charge("a", 1), lambda: charge("a", amount=1)),
    (lambda: charge("a"), lambda: charge("a", 1, note="")),
    (lambda: charge({"a": 1, "b": 2}), lambda: charge({"b": 2, "a": 1})),
    (lambda: child({"a", "b", "c"}), lambda: child({"c", "b", "a"})),
]


@pytest.mark.parametrize(("recorded", "now"), SAME, ids=range(len(SAME)))
def test_the_same_call_written_in_another_way_is_the_same_call(
    recorded: Callable[[], Any], now: Callable[[], Any]
) -> None:
    async def before() -> Any:
        return await recorded()

    async def after() -> Any:
        return await now()

    driver = Driver(before, children={"child": str}).run()
    replay(after, driver.journal)


async def over_a_set() -> dict[str, str]:
    return {tag: await charge(tag) for tag in {"red", "green", "blue", "black", "white"}}


async def with_sets() -> str:
    tags = {"red", "green", "blue", "black", "white"}
    nested = {"all": [frozenset(tags), {"deep": tags}]}
    return str(await charge(tags) + await charge(nested, note="x"))


def recorded_under(seed: str, function: str) -> str:
    """The journal that a process with this hash seed records, or what a replay of the last one says."""
    code = (
        "import pickle, sys, test_same_calls as t\n"
        "from pathlib import Path\n"
        f"function, path = getattr(t, {function!r}), Path(sys.argv[1])\n"
        "if path.exists():\n"
        "    try:\n"
        "        t.replay(function, pickle.loads(path.read_bytes()))\n"
        "        print('replayed')\n"
        "    except t.NonDeterminism as error:\n"
        "        print(error)\n"
        "else:\n"
        "    path.write_bytes(pickle.dumps(t.Driver(function).run().journal))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(_HERE), *sys.path])}
    ran = subprocess.run([sys.executable, "-c", code, str(_journal)], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


_journal = Path()


@pytest.fixture(autouse=True)
def _path(tmp_path: Path) -> None:
    global _journal
    _journal = tmp_path / "journal"


@pytest.mark.feature("F152")
def test_a_loop_over_a_set_is_never_given_the_results_of_other_calls() -> None:
    recorded_under("1", "over_a_set")
    answers = {recorded_under(seed, "over_a_set") for seed in ("2", "3", "4")}
    assert any("the argument 'tag'" in answer for answer in answers), answers
    assert recorded_under("1", "over_a_set") == "replayed\n"


def test_a_set_as_an_argument_has_no_order() -> None:
    recorded_under("1", "with_sets")
    assert {recorded_under(seed, "with_sets") for seed in ("2", "3", "4", "5")} == {"replayed\n"}


@pytest.mark.feature("F152")
def test_a_uuid_of_the_standard_library_is_a_difference_and_the_stall_says_what_to_look_for() -> None:
    async def flow() -> Any:
        return await charge(str(uuid.uuid4()))

    driver = Driver(flow).run()
    with pytest.raises(NonDeterminism, match="the argument 'tag'") as caught:
        replay(flow, driver.journal)
    error = caught.value
    assert "deploy the code" in stall_reason(error, recorded_by="v1-py3.11", build="v2-py3.11")
    assert "deploy the code" in stall_reason(error)
    same = stall_reason(error, recorded_by="v1-py3.11", build="v1-py3.11")
    assert "look for random numbers" in same
    assert "deploy" not in same
    other_python = stall_reason(error, recorded_by="v1-py3.11", build="v1-py3.12")
    assert "v1-py3.11 wrote the journal" in other_python


def test_code_with_a_parameter_less_shows_why_it_ended() -> None:
    def charge_order(order: str, amount: int) -> str:
        return order

    before = App("before").step(name="charge")(charge_order)

    async def old() -> Any:
        return await before("o", 1)

    @App("after").step(name="charge")
    def after(order: str) -> str:
        return order

    async def new() -> Any:
        return await after("o", 1)  # type: ignore[call-arg]

    driver = Driver(old).run()
    with pytest.raises(NonDeterminism, match=r"ended as failed with ArgumentsRejected: .*one too many"):
        replay(new, driver.journal)


# Seeds


async def by_chance() -> list[str]:
    await charge("first")
    return [str(holdfast.uuid4()), str(holdfast.random().random())]


@pytest.mark.feature("F153")
def test_random_numbers_and_uuids_are_made_of_the_seed_that_the_journal_names() -> None:
    def result(run_id: str, seed: str) -> bytes:
        instance = instance_of(by_chance, run_id=run_id)
        instance.feed(RunStarted(START, "by_chance", "", seed))
        instance.take_commands()
        instance.feed(StepCompleted(START, 1, CODEC.encode("x", what="")))
        (close,) = instance.take_commands()
        assert isinstance(close, Close)
        assert close.result is not None
        return close.result.data

    origin = "run_00" + "0" * 26
    again = "run_00" + "1" * 26
    assert result(again, origin) == result(origin, "")
    assert result(again, "") != result(origin, "")
