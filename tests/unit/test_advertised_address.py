"""Where a replica says that workers reach it."""

import pytest
from pydantic import ValidationError

from holdfast_coordinator.config import Config


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("10.0.0.7:7410", "10.0.0.7:7410"),
        ("replica-1.holdfast:80", "replica-1.holdfast:80"),
        ("[fd00::7]:7410", "[fd00::7]:7410"),
        ("fd00::7:7410", "[fd00::7]:7410"),
    ],
)
def test_an_advertised_address_is_a_host_and_a_port(given: str, said: str) -> None:
    assert Config(advertise=given).advertise == said


@pytest.mark.parametrize("given", ["", "10.0.0.7", ":7410", "10.0.0.7:", "10.0.0.7:0", "10.0.0.7:http", "host:70000"])
def test_anything_else_is_refused_with_a_sentence(given: str) -> None:
    with pytest.raises(ValidationError, match="the host and the port at which workers reach this replica"):
        Config(advertise=given)
