"""Fixtures of the system tests: both ways to run the house, and a model that loads quickly."""

from itertools import count
from pathlib import Path

import pytest
from browsers import chromium
from page_house import house
from sqlalchemy import Engine, text
from tiny_model import write_tiny_model

__all__ = ["chromium", "house"]  # fixtures


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    write_tiny_model(folder)
    return folder


_BACKENDS = ["embedded", "production"]
_numbers = count(1)


@pytest.fixture(params=_BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Settings of the database and the bell: SQLite without a broker, or PostgreSQL and Celery over Redis."""
    return _settings(request)


@pytest.fixture(scope="module", params=_BACKENDS)
def module_backend(request: pytest.FixtureRequest) -> str:
    """The same for a node that all tests of a module share."""
    return _settings(request)


def _settings(request: pytest.FixtureRequest) -> str:
    if request.param == "embedded":
        return ""
    server: Engine = request.getfixturevalue("postgres_server")
    name = f"house_{next(_numbers)}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    database_url = server.url.set(database=name).render_as_string(hide_password=False)
    redis_url = request.getfixturevalue("redis_url")
    return f'database_url = "{database_url}"\nbroker_url = "{redis_url}"\n'
