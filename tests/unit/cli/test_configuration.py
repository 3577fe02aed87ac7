"""What a coordinator is told, by options and variables, and what it says when that is wrong."""

import pytest
import typer

from holdfast_coordinator.config import Config
from holdfast_coordinator.server_commands import configured, with_one_database
from holdfast_coordinator.store.database_url import checked_database_url, described_database

URL = "postgresql://shop:s3cret@db:5432/shop"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "EMBEDDED", "PORT", "METRICS_PORT", "SESSION_TTL"):
        monkeypatch.delenv(f"HOLDFAST_{name}", raising=False)
    # It is for the whole process, and other tests look at what is logged.
    monkeypatch.setattr("holdfast_coordinator.server_commands.configure_logs", lambda **_: None)


def test_a_forgotten_database_url_is_refused_instead_of_served_from_an_empty_database() -> None:
    with pytest.raises(
        typer.BadParameter, match="give --database-url or set HOLDFAST_DATABASE_URL, or give --embedded"
    ):
        with_one_database(configured(), database_url=None, embedded=None)


def test_an_empty_database_url_is_a_forgotten_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", "")
    with pytest.raises(typer.BadParameter, match="no database is named"):
        with_one_database(configured(), database_url=None, embedded=None)


def test_the_option_wins_over_the_variable_in_the_choice_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", URL)
    assert with_one_database(configured(embedded=True), database_url=None, embedded=True).database_url is None
    monkeypatch.setenv("HOLDFAST_EMBEDDED", "true")
    chosen = with_one_database(configured(database_url=URL), database_url=URL, embedded=None)
    assert (chosen.database_url, chosen.embedded) == (URL, False)


def test_two_databases_are_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(typer.BadParameter, match="give one of them"):
        with_one_database(configured(database_url=URL, embedded=True), database_url=URL, embedded=True)
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", URL)
    monkeypatch.setenv("HOLDFAST_EMBEDDED", "1")
    with pytest.raises(typer.BadParameter, match="unset one of them"):
        with_one_database(configured(), database_url=None, embedded=None)


@pytest.mark.parametrize("name", sorted(f"HOLDFAST_{field.upper()}" for field in Config.model_fields))
def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    unset = Config()
    monkeypatch.setenv(name, "")
    assert Config() == unset


def test_a_service_of_kubernetes_called_holdfast_does_not_set_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_PORT", "tcp://10.96.3.4:7410")
    monkeypatch.setenv("HOLDFAST_METRICS_PORT", "tcp://10.96.3.5:7412")
    assert Config().port == 7410
    assert Config().metrics_port is None


def test_a_number_of_seconds_may_be_written_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SESSION_TTL", "10")
    assert Config().session_ttl == "10"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://shop:s3cr%zzet@db/shop",
        "postgresql://shop:s3cret@db:port/shop",
        "postgresql://shop:s3cret@db:99999/shop",
        "postgresql://shop:s3cret@[::1/shop",
        "mysql://shop:s3cret@db/shop",
        "postgresql://shop:s3cret@db/shop?s3cret=1",
    ],
)
def test_a_bad_database_url_is_refused_without_its_password(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        configured(database_url=url)
    assert "s3cr" not in str(refused.value) + "".join(capsys.readouterr())
    assert "database URL" in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "db:5432/shop"),
        ("postgresql+psycopg://shop:s3cret@db/shop", "db/shop"),
        ("postgres://shop@a:1,b:2/shop?target_session_attrs=read-write", "a:1,b:2/shop"),
        ("postgresql://shop@a,b:6432/shop", "a,b:6432/shop"),
        ("postgresql:///shop?host=/run/postgresql", "/run/postgresql/shop"),
        ("postgresql://", "localhost/"),
    ],
)
def test_a_database_is_shown_by_its_hosts_and_its_name(url: str, shown: str) -> None:
    assert described_database(checked_database_url(url)) == shown
