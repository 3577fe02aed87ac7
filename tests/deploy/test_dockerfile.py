"""What deploy/Dockerfile promises: two small images, not root, pinned, without secrets."""

import re
import tomllib

import pytest

from holdfast_coordinator.config import Config

from .chart import DEPLOY
from .dockerfile import read_stages

STAGES = read_stages()
TARGETS = ("server", "worker")
ROOT = DEPLOY.parent
PORT = Config.model_fields["port"].default


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_as_a_user_who_is_not_root_and_is_a_number(target: str) -> None:
    user, group = map(int, STAGES[target].last("USER").text.split(":"))
    assert user >= 10_000
    assert group >= 10_000
    instructions = STAGES[target].all
    after = instructions[instructions.index(STAGES[target].last("USER")) :]
    assert not [one for one in after if one.word == "RUN"], "nothing is left to do once root is given up"


def test_every_base_is_a_stage_or_pinned_by_tag() -> None:
    for stage in STAGES.values():
        if stage.parent is None:
            assert re.fullmatch(r"[a-z0-9./-]+:[0-9]+\.[0-9]+[a-z0-9.-]*", stage.base), stage.base


def test_the_base_has_a_python_that_the_project_supports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    oldest = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    for stage in STAGES.values():
        if stage.parent is None:
            assert tuple(map(int, stage.base.partition(":")[2].split("-")[0].split("."))) >= oldest


def test_nothing_is_added_from_a_url() -> None:
    for stage in STAGES.values():
        assert not stage.those("ADD")
        assert not [one for one in stage.those("COPY") if "://" in one.text]
        assert not [one for one in stage.those("RUN") if re.search(r"curl|wget|https?://|--trusted-host", one.text)]


def test_no_secret_is_in_the_image() -> None:
    for stage in STAGES.values():
        for one in stage.all:
            if one.word in ("ENV", "ARG"):
                assert not re.search(r"(?i)password|secret|token|://|DATABASE", one.text), one.text


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_holds_the_built_environment_and_no_sources(target: str) -> None:
    copies = STAGES[target].those("COPY")
    assert [one.option("from") for one in copies] == [f"{target}-environment"]
    assert copies[0].operands == ["/opt/holdfast", "/opt/holdfast"]
    assert not [one for one in STAGES[target].those("RUN") if "pip" in one.text]


def test_only_the_server_has_the_coordinator_extra_and_neither_has_a_postgres() -> None:
    assert "[coordinator]" in STAGES["server-environment"].own[-1].text
    assert "[" not in STAGES["worker-environment"].own[-1].text.partition(".whl)")[2]


def test_every_source_that_is_copied_exists_and_reaches_the_builder() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        source
        for one in STAGES["build"].those("COPY")
        for source in one.operands[:-1]
    }  # fmt: skip
    assert copied == sent
    assert all((ROOT / source).exists() for source in copied)


def test_every_installation_is_held_to_the_constraints() -> None:
    names = {line.partition("==")[0] for line in (DEPLOY / "constraints.txt").read_text("utf-8").splitlines()[1:]}
    for stage in STAGES.values():
        for one in stage.own:
            if " install " in one.text:
                assert "--constraint deploy/constraints.txt" in one.text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    direct = [*project["dependencies"], *project["optional-dependencies"]["coordinator"], "hatchling"]
    assert {re.split(r"[\[>=<;!~ ]", one)[0].lower() for one in direct} <= names


@pytest.mark.parametrize(("target", "port"), [("server", PORT), ("worker", 7411)])
def test_a_target_exposes_and_checks_the_port_that_it_serves(target: str, port: int) -> None:
    stage = STAGES[target]
    assert stage.last("ENTRYPOINT").command == ["holdfast"]
    assert stage.last("EXPOSE").text == str(port)
    check = stage.last("HEALTHCHECK").command
    assert check[:2] == ["holdfast", "health"]
    assert check[2:] == ([] if port == PORT else [f"localhost:{port}"])
    assert (str(port) in stage.last("CMD").command) == (target == "worker")
