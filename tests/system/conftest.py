"""Fixtures of the system tests: both ways to run the house, and the demonstration model."""

from pathlib import Path

import pytest

from workers.llavarad.tiny import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture(params=["embedded", "production"])
def backend(request: pytest.FixtureRequest) -> str:
    """Settings of the database and the bell: SQLite without a broker, or PostgreSQL and Celery over Redis."""
    if request.param == "embedded":
        return ""
    database_url = request.getfixturevalue("postgres_url")
    redis_url = request.getfixturevalue("redis_url")
    return f'database_url = "{database_url}"\nbroker_url = "{redis_url}"\n'
