"""Random programs, and what is expected of them: without any fault a run does just that."""

import asyncio
import random
import re
from pathlib import Path

import pytest

from holdfast.testing import run_local
from tests.chaos import ledger
from tests.chaos.flows import run_program
from tests.chaos.programs import Child, Generator, Plan, Several, effects, expected, payload_of


def plans(seed: int, count: int) -> list[Plan]:
    generator = Generator(random.Random(seed), harmful=False)
    return [generator.plan() for _ in range(count)]


def test_a_seed_makes_the_same_plans_again() -> None:
    assert plans(7, 20) == plans(7, 20)
    assert plans(7, 20) != plans(8, 20)


def test_every_step_of_a_plan_has_a_name_of_its_own() -> None:
    for plan in plans(1, 200):
        names = [effect.name for effect in effects(plan.program)]
        assert len(names) == len(set(names))


def test_plans_hold_everything_that_a_workflow_does() -> None:
    text = "".join(repr(plan) for plan in plans(3, 300))
    for part in (
        "kind='sleep'", "kind='receive'", "kind='deadline'", "kind='child'", "kind='guarded'", "how='gather'",
        "how='group'", "how='plain'", "how='queued'", "fatal=True", "is_repaired=True", "size=1500000",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize("seed", range(4))
def test_a_run_without_faults_comes_to_what_is_expected(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, plan in enumerate(plans(seed, 4)):
        path = tmp_path / str(number) / "ledger"
        path.parent.mkdir()
        monkeypatch.setenv(ledger.ENVIRONMENT, str(path))
        outcome = expected(plan.program)
        signals = [(name, payload_of(name), after) for name, after in plan.signals]
        run = asyncio.run(run_local(run_program, plan.program, signals=signals))
        lines = ledger.read(path)
        assert {line.step for line in lines} == set(outcome.reached)
        if outcome.failed:
            assert run.status == "failed"
            assert outcome.failed in str(run.failure)
        else:
            assert re.sub("@[0-9a-f]{12}", "", repr(run.value())) == repr(outcome.value)


def test_what_comes_after_a_failed_step_is_not_reached() -> None:
    failing = next(plan for plan in plans(5, 100) if plan.is_repaired)
    assert isinstance(failing.program, Several)
    after = failing.program.parts[-1]
    assert after.name not in expected(failing.program).reached  # type: ignore[union-attr]
    assert any(isinstance(part, Child) for plan in plans(5, 100) for part in plan.program.parts)  # type: ignore[union-attr]
