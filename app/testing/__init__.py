"""A pytest plugin for tests of your own handlers, on real PostgreSQL and Redis.

# conftest.py
pytest_plugins = ["app.testing"]

def test_a_receipt_follows_the_order(jobs):
    jobs.run("place-order", {"order": 7})
    jobs.assert_enqueued("send-receipt", {"order": 7})
    assert jobs.drain() == {"completed": 1}

The handlers come from JOB_MODULES, or from ``jobqueue_modules`` in pytest's configuration. PostgreSQL and Redis start
and end with the run, unless JOBQUEUE_TEST_DATABASE_URL and JOBQUEUE_TEST_REDIS_URL are set. Each test starts with
an empty database.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app import config, create_app
from app.broker.client import connect
from app.extensions import db
from app.jobs import registry
from app.own_migrations import own_tables
from app.testing import databases
from app.testing.jobs import Jobs

__all__ = ["Jobs", "jobqueue_app", "jobqueue_handlers", "jobs", "pytest_addoption"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("jobqueue_modules", "modules with your handlers; default: JOB_MODULES", "args")


@pytest.fixture(scope="session", autouse=True)
def jobqueue_handlers(request: pytest.FixtureRequest) -> None:
    """Registers your handlers in every test, so that ``run_handler`` finds them by name without another fixture."""
    modules = request.config.getini("jobqueue_modules")
    modules = modules or os.environ.get("JOB_MODULES", "").split(",")
    registry.discover(name for module in modules if (name := module.strip()))


@pytest.fixture(scope="session")
def jobqueue_app(request: pytest.FixtureRequest) -> Iterator[Flask]:
    """The application on a new, migrated database, including your tables."""
    modules = ",".join(request.config.getini("jobqueue_modules"))
    with databases.services() as (server_url, redis_url):
        env = {
            **os.environ,
            "APP_ENV": "test",
            "FLASK_SKIP_DOTENV": "1",
            "DATABASE_URL": server_url,
            "REDIS_URL": redis_url,
            **({"JOB_MODULES": modules} if modules else {}),
        }
        with (
            databases.migrated_database(server_url, env) as database_url,
            pytest.MonkeyPatch.context() as patch,
        ):
            # In the environment as well: an isolated handler's child process creates its own application.
            for name, value in {**env, "DATABASE_URL": database_url}.items():
                patch.setenv(name, value)
            app = create_app(config.load())
            _create_missing_tables(app)
            yield app
            with app.app_context():
                db.engine.dispose()


@pytest.fixture
def jobs(jobqueue_app: Flask) -> Iterator[Jobs]:
    """An empty queue; see app.testing.jobs.Jobs. An application context is active."""
    settings: Any = jobqueue_app.extensions["settings"]
    with jobqueue_app.app_context():
        yield Jobs(jobqueue_app)
        db.session.remove()
    url = settings.database_url.replace("postgresql+psycopg2://", "postgresql://", 1)
    databases.empty(url)
    with connect(settings.redis_url, timeout_seconds=5) as client:
        client.flushdb()


def _create_missing_tables(app: Flask) -> None:
    # A model can be tested before it has a migration.
    with app.app_context():
        own = [db.metadata.tables[name] for name in own_tables()]
        db.metadata.create_all(db.engine, tables=own)
