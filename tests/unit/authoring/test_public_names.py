"""What `import holdfast` gives, and what it leaves alone."""

import subprocess
import sys

import pytest

import holdfast


def run(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)


def test_importing_holdfast_loads_no_grpc_and_no_client() -> None:
    run("import holdfast, sys; assert not {'grpc', 'holdfast.client', 'holdfast.worker'} & set(sys.modules)")


def test_the_first_start_loads_the_client_that_sets_the_default_starter() -> None:
    run(
        "import holdfast, sys\n"
        "from holdfast.authoring.starter import default_starter\n"
        "assert callable(default_starter())\n"
        "assert 'holdfast.client' in sys.modules"
    )


@pytest.mark.parametrize("name", sorted(set(holdfast.__all__) - set(holdfast._LAZY)))
def test_every_public_name_exists(name: str) -> None:
    assert getattr(holdfast, name) is not None


def test_workflow_is_the_decorator_and_not_the_package_of_that_name() -> None:
    import holdfast.workflow.commands

    assert callable(holdfast.workflow)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = holdfast.nothing
