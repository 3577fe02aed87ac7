"""A given URL is used as it is, and described without its password."""

import pytest

from holdfast_coordinator.postgres.provider import provide


@pytest.mark.parametrize(
    ("url", "description"),
    [
        ("postgresql://me:s3cret@db.example:6432/flows", "Postgres at db.example:6432/flows"),
        ("postgresql+psycopg://me:s3cret@db.example/flows", "Postgres at db.example/flows"),
        ("postgresql://me@/flows?host=/run/postgresql", "Postgres at /run/postgresql/flows"),
        ("no url at all s3cret", "Postgres at the given URL"),
    ],
)
async def test_a_given_url_wins_and_its_password_is_not_shown(url: str, description: str) -> None:
    async with provide(url, data_directory=None, ephemeral=True) as postgres:
        assert postgres.url == url
        assert postgres.description == description
        assert postgres.server is None
