"""Finding steps and workflows in modules, and the build that identifies their code."""

import sys
from pathlib import Path

import pytest

from holdfast.authoring.apps import DuplicateName
from holdfast.authoring.build import build_of
from holdfast.authoring.discovery import ModuleNotLoaded, discover
from holdfast.definitions.definitions import StepDefinition, WorkflowDefinition

FLOWS = """
import holdfast
from holdfast import App

app = App("{app}")

@app.step("{app}.charge")
def charge(): ...

@app.workflow("{app}.order")
async def order(): ...

@holdfast.workflow("{app}.default")
async def default(): ...

number = 5
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package directory on the import path."""
    package = tmp_path / "discovered_shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("discovered_shop")]:
        monkeypatch.delitem(sys.modules, name)
    return package


def test_a_module_gives_its_apps_and_the_default_app(shop: Path) -> None:
    (shop / "flows.py").write_text(FLOWS.format(app="a"))
    found = discover(["discovered_shop.flows"])
    assert {"a.order", "a.default"} <= {workflow.name for workflow in found.workflows}
    assert "a.charge" in {step.name for step in found.steps}


@pytest.mark.feature("F21")
def test_two_modules_give_the_workflows_of_both(shop: Path) -> None:
    (shop / "one.py").write_text(FLOWS.format(app="b1"))
    (shop / "two.py").write_text(FLOWS.format(app="b2"))
    found = discover(["discovered_shop.one", "discovered_shop.two"])
    assert {"b1.order", "b2.order"} <= {workflow.name for workflow in found.workflows}


@pytest.mark.parametrize(
    ("attribute", "workflows", "steps"),
    [("app", ["c.order"], ["c.charge"]), ("order", ["c.order"], []), ("charge", [], ["c.charge"])],
)
def test_a_named_attribute_gives_only_what_it_holds(
    shop: Path, attribute: str, workflows: list[str], steps: list[str]
) -> None:
    (shop / "named.py").write_text(FLOWS.format(app="c"))
    found = discover([f"discovered_shop.named:{attribute}"])
    assert [workflow.name for workflow in found.workflows] == workflows
    assert [step.name for step in found.steps] == steps


def test_a_step_imported_from_another_app_is_found(shop: Path) -> None:
    (shop / "billing.py").write_text(FLOWS.format(app="d"))
    (shop / "sales.py").write_text("from discovered_shop.billing import charge\n")
    assert "d.charge" in {step.name for step in discover(["discovered_shop.sales"]).steps}


def test_one_name_in_two_discovered_apps_is_refused(shop: Path) -> None:
    flows = FLOWS.format(app="e").replace('@holdfast.workflow("e.default")', "")
    (shop / "left.py").write_text(flows)
    (shop / "right.py").write_text(flows.replace("def charge", "def refund"))
    with pytest.raises(DuplicateName, match=r"e\.charge"):
        discover(["discovered_shop.left:app", "discovered_shop.right:app"])


def test_a_module_that_names_a_step_twice_is_named_with_its_line(shop: Path) -> None:
    twice = "\n@app.step(name='h.charge')\ndef again(): ...\n"
    (shop / "twice.py").write_text(FLOWS.format(app="h") + twice)
    with pytest.raises(ModuleNotLoaded, match=r"twice in app 'h'.*twice\.py, line 18\)$"):
        discover(["discovered_shop.twice"])


@pytest.mark.feature("F21")
@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("discovered_shop.missing", "no module 'discovered_shop.missing' on the import path"),
        ("no_such_package.flows", "no module 'no_such_package'"),
        ("discovered_shop.broken", r"ZeroDivisionError: division by zero .*broken\.py, line 2"),
        ("discovered_shop.needy", "imports 'not_installed_here', which is not installed"),
        ("discovered_shop.wrong", r"SyntaxError"),
        ("discovered_shop.flows:nothing", "has no 'nothing'; it has app, charge, order, default"),
        ("discovered_shop.flows:number", "number is a int, not an App"),
        ("discovered_shop/flows.py", "it is a path; give the module: 'discovered_shop.flows'"),
        ("flows.py", "it is a path; give the module: 'flows'"),
        ("./discovered_shop/flows.py:app", "it is a path; give the module: 'discovered_shop.flows:app'"),
        ("", "give a module as"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_the_reason(shop: Path, target: str, says: str) -> None:
    (shop / "broken.py").write_text("\n1 / 0\n")
    (shop / "needy.py").write_text("import not_installed_here\n")
    (shop / "wrong.py").write_text("def (\n")
    (shop / "flows.py").write_text(FLOWS.format(app="f"))
    with pytest.raises(ModuleNotLoaded, match=says) as caught:
        discover([target])
    assert caught.value.target == target
    assert "\n" not in str(caught.value)


def test_a_build_is_twelve_hex_digits_that_change_with_the_source(shop: Path) -> None:
    file = shop / "built.py"
    file.write_text(FLOWS.format(app="g"))
    found = discover(["discovered_shop.built:app"])
    definitions: list[StepDefinition | WorkflowDefinition] = [*found.steps, *found.workflows]
    build = build_of(definitions)
    assert len(build) == 12
    assert int(build, 16) >= 0
    assert build_of(reversed(definitions)) == build
    file.write_text(FLOWS.format(app="g") + "# changed\n")
    assert build_of(definitions) != build


def test_functions_without_a_source_file_have_a_build_too() -> None:
    assert len(build_of([])) == 12
