"""Which code is workflow code, over aliases, helpers and modules; what a comment allows; what is never imported."""

import ast
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from holdfast import App, RunFailed
from holdfast.forbidden_calls import FORBIDDEN_CALLS, ForbiddenCalls
from holdfast.lint import Finding, check_files, python_files
from holdfast.testing import run_local

ROOT = Path(__file__).resolve().parents[3]
LINES = 1_000
PARSE_TIMES_MAX = 6
"""A check may take as often as long as Python takes to parse the file, which is 10 to 20 ms."""


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def check(directory: Path, *names: str) -> list[Finding]:
    return check_files([directory / name for name in names] or python_files([directory]))


def places(findings: Iterable[Finding]) -> list[tuple[str, int, str]]:
    return [(one.path.name, one.line, one.code) for one in findings]


@pytest.mark.parametrize(
    ("imports", "decorator"),
    [
        ("from holdfast import workflow", "@workflow"),
        ("from holdfast import workflow", "@workflow()"),
        ("from holdfast import workflow as flow", "@flow('order')"),
        ("import holdfast", "@holdfast.workflow(id='x')"),
        ("import holdfast as hf", "@hf.workflow"),
        ("from holdfast import *", "@workflow"),
        ("import holdfast\napp = holdfast.App('shop')", "@app.workflow"),
        ("from holdfast import App\napp: App = App('shop', retries=5)", "@app.workflow(name='order')"),
        ("from base import app as shop", "@shop.workflow"),
        ("import base", "@base.app.workflow(id='x')"),
        ("from base import flow", "@flow"),
        ("try:\n    from holdfast import workflow\nexcept ImportError:\n    raise", "@workflow"),
    ],
)
def test_a_workflow_is_known_by_its_decorator_however_that_is_named(
    imports: str, decorator: str, tmp_path: Path
) -> None:
    write(tmp_path, {"base.py": "import holdfast\napp = holdfast.App('shop')\nflow = holdfast.workflow\n"})
    (tmp_path / "flows.py").write_text(
        f"import time\n{imports}\n\n{decorator}\ndef order():\n    time.time()  # workflow\n"
    )
    assert [one.code for one in check(tmp_path, "flows.py")] == ["HF101"]


@pytest.mark.parametrize(
    "before",
    [
        "from prefect import workflow",
        "def workflow(function): return function",
        "from holdfast import step as workflow",
    ],
)
def test_other_decorators_of_that_name_make_no_workflow(before: str, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(f"import time\n{before}\n\n@workflow\ndef order():\n    return time.time()\n")
    assert check(tmp_path) == []


def test_a_function_that_a_call_makes_a_workflow_is_workflow_code(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(
        "import time, holdfast\ndef _order():\n    time.time()\norder = holdfast.workflow(_order, id='x')\n"
        "def _other():\n    time.time()\nother = holdfast.workflow(id='x')(_other)\n"
    )
    assert places(check(tmp_path)) == [("flows.py", 3, "HF101"), ("flows.py", 6, "HF101")]


def test_helpers_of_the_module_are_workflow_code_and_what_steps_use_is_not(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "flows.py": """
            import time
            from holdfast import step, workflow

            def stamp():
                return deeper()

            def deeper():
                return time.time()

            def of_steps():
                return time.time()

            def by_age(item):
                return time.time() - item

            @step
            def charge():
                return of_steps()

            @workflow
            async def order():
                stamp()
                await charge()
                return sorted([1, 2], key=by_age)

            @workflow
            async def other():
                return deeper()
            """
        },
    )
    findings = check(tmp_path)
    assert places(findings) == [("flows.py", 9, "HF101"), ("flows.py", 15, "HF101")], "each place once"
    assert findings[0].message.startswith("time.time() in deeper, which workflow order uses: use holdfast.now()")


def test_what_is_used_unguarded_only_may_do_what_guards_refuse(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "flows.py": """
            import time
            import holdfast

            def measured():
                return time.perf_counter()

            def guarded_too():
                return time.perf_counter()

            @holdfast.step
            async def charge(): ...

            @holdfast.workflow
            async def order():
                with holdfast.unguarded():
                    measured()
                    guarded_too()
                    charge()
                guarded_too()
            """
        },
    )
    assert places(check(tmp_path)) == [("flows.py", 9, "HF101"), ("flows.py", 19, "HF201")]


def test_steps_of_other_modules_are_known_without_being_checked_or_imported(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "shop/__init__.py": "raise SystemExit('imported')\nfrom .steps import charge as pay\n",
            "shop/steps.py": "raise SystemExit('imported')\nfrom holdfast import App\napp = App('x')\n"
            "@app.step\nasync def charge(): ...\ndef plain(): ...\n",
            "shop/deep/__init__.py": "",
            "shop/deep/flows.py": """
            from holdfast import workflow
            import shop
            import shop.steps as s
            from shop import pay
            from shop.steps import charge, plain
            from .. import steps
            from ..steps import charge as relative

            @workflow
            async def order():
                charge()
                relative()
                s.charge()
                steps.charge()
                pay()
                shop.pay()
                plain()
                s.plain()
            """,
        },
    )
    findings = check(tmp_path, "shop/deep/flows.py")
    assert [(one.line, one.code) for one in findings] == [(line, "HF201") for line in range(12, 18)]
    assert findings[2].message.startswith("s.charge() is not awaited in workflow order: write `await`")


def test_modules_that_import_each_other_end_the_search(tmp_path: Path) -> None:
    flows = "from other import charge\nfrom holdfast import workflow\n@workflow\nasync def order():\n    charge()\n"
    write(tmp_path, {"flows.py": flows, "other.py": "from flows import charge\n"})
    assert check(tmp_path) == []


def test_calls_in_a_plain_def_workflow_need_no_await(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "flows.py": """
            from holdfast import step, workflow
            @step
            def charge(): ...
            @workflow
            def order():
                charge()
                return charge() + 1
            """
        },
    )
    assert check(tmp_path) == []


@pytest.mark.parametrize(
    ("comment", "is_allowed"),
    [
        ("# noqa", True),
        ("# noqa: HF101", True),
        ("#noqa:HF101", True),
        ("# noqa: E501, HF101", True),
        ("# why  # noqa: HF101 for the log", True),
        ("# noqa: HF102", False),
        ("# noqa: E501", False),
        ("# nothing", False),
    ],
)
def test_a_comment_allows_the_rules_that_it_names(comment: str, is_allowed: bool, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(
        f"import time\nfrom holdfast import workflow\n@workflow\nasync def order():\n    time.time()  {comment}\n"
    )
    assert (check(tmp_path) == []) is is_allowed


def test_handlers_and_methods_in_workflow_code_are_checked_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "flows.py": """
            import time, holdfast
            class Shop:
                @holdfast.workflow
                async def order(self):
                    @holdfast.on_signal("add")
                    def add(item):
                        time.time()
                    def never_used():
                        time.time()
            """
        },
    )
    assert places(check(tmp_path)) == [("flows.py", 8, "HF101")]


def test_directories_are_searched_but_for_what_is_no_code_of_the_project(tmp_path: Path) -> None:
    names = ["a.py", "b/c.py", "b/d.pyi", "b/e.txt", ".venv/f.py", "node_modules/g.py", "env/pyvenv.cfg", "env/h.py"]
    write(tmp_path, dict.fromkeys(names, ""))
    found = [path.relative_to(tmp_path).as_posix() for path in python_files([tmp_path, tmp_path / "a.py"])]
    assert found == ["a.py", "b/c.py", "b/d.pyi"]


@pytest.mark.parametrize("directory", ["examples", "benchmarks", "sdk/holdfast", "coordinator/holdfast_coordinator"])
def test_our_own_workflows_are_clean(directory: str) -> None:
    files = python_files([ROOT / directory])
    assert files
    assert check_files(files) == []


async def test_what_is_found_is_what_the_guard_of_a_worker_says(tmp_path: Path) -> None:
    app = App("same-sentence")

    @app.workflow
    async def order() -> float:
        return time.time()

    run = await run_local(order)
    with pytest.raises(RunFailed) as failed:
        run.value()
    (tmp_path / "flows.py").write_text(
        "import time\nfrom holdfast import workflow\n@workflow\nasync def order():\n    return time.time()\n"
    )
    (finding,) = check(tmp_path)
    call, _, instead = finding.message.partition(" in workflow order: ")
    assert f"{call} cannot be repeated when workflow code is replayed: {instead}" in str(failed.value)


def _written(one: ForbiddenCalls) -> Iterable[str]:
    """The calls of one row as a program writes them; methods of objects are found where the object is made."""
    made = {"Random", "SystemRandom", "Popen", "socket", "Thread", "BaseProcess"}
    owner = one.owner.rpartition(".")[2]
    if owner in made and one.owner != "socket":
        kind = "multiprocessing.Process" if owner == "BaseProcess" else one.owner
        return [f"{kind}()"]
    if owner.endswith("Executor"):
        return [f"{one.owner}()"]
    module = "" if one.owner == "builtins" else f"{one.owner}."
    return [f"{module}{name}({'1' if one.condition == 'with_one_argument' else ''})" for name in one.names]


@pytest.mark.parametrize("row", FORBIDDEN_CALLS, ids=lambda row: f"{row.owner}.{row.names[0]}")
def test_whatever_a_worker_guards_is_found(row: ForbiddenCalls, tmp_path: Path) -> None:
    calls = list(_written(row))
    body = "\n".join(f"    {call}" for call in calls)
    (tmp_path / "flows.py").write_text(
        "import _thread, concurrent.futures, datetime, io, multiprocessing, os, random, signal, socket, subprocess\n"
        f"import threading, time, uuid\nfrom holdfast import workflow\n@workflow\ndef order():\n{body}\n"
    )
    findings = check(tmp_path)
    assert len({one.line for one in findings}) == len(calls)
    assert all(one.message.endswith(row.instead) for one in findings)


@pytest.mark.alone
def test_a_file_of_a_thousand_lines_is_checked_in_a_few_times_the_time_to_parse_it(tmp_path: Path) -> None:
    part = """
    @step(retries=3)
    async def charge_{0}(order_id: str, amount: int) -> str:
        answer = requests.post(URL, json={{"order": order_id, "amount": amount, "at": time.time()}})
        return answer.json()["receipt"]

    def total_{0}(prices: dict[str, int], items: list[str]) -> int:
        return sum(prices[item] for item in items if item in prices)

    @workflow(id="order-{0}-{{order_id}}")
    async def order_{0}(order_id: str, prices: dict[str, int], items: list[str]) -> str:
        amount = total_{0}(prices, items)
        receipt = await charge_{0}(order_id, amount)
        first, second = await asyncio.gather(charge_{0}("a", 1), charge_{0}("b", 2))
        if amount > LIMITS["approval"] and first != second:
            await sleep("3d")
            receipt = await charge_{0}(order_id, amount - 1)
        for item in sorted(set(items)):
            await charge_{0}(item, prices[item])
        return f"{{receipt}} at {{time.time()}}"
    """
    head = 'import asyncio, time, requests\nfrom holdfast import *\nURL, LIMITS = "", {"approval": 1}\n'
    parts = LINES // part.count("\n")
    path = tmp_path / "flows.py"
    path.write_text(head + "".join(textwrap.dedent(part).format(number) for number in range(parts + 1)))
    assert len(path.read_text().splitlines()) >= LINES
    assert len(check_files([path])) == parts + 1

    def seconds(act: Callable[[], object]) -> float:
        began = time.process_time()
        act()
        return time.process_time() - began

    parsing = min(seconds(lambda: ast.parse(path.read_text())) for _ in range(9))
    checking = min(seconds(lambda: check_files([path])) for _ in range(9))
    assert checking < parsing * PARSE_TIMES_MAX
