"""The embedded services for tests: one pair for a whole run, and private pairs to break."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
from psycopg2 import sql
from redis import Redis

from app.dev import postgres, redis_server
from app.dev.home import Home
from app.dev.instance import Instance, fresh_instance
from app.dev.process import stop
from app.dev.services import running

ROOT = Path(__file__).resolve().parents[2]
# How the controller of a parallel run tells its workers where the services are. Never
# DATABASE_URL: tests empty whatever they are given.
DATABASE_VARIABLE = "JOBQUEUE_TEST_DATABASE_URL"
REDIS_VARIABLE = "JOBQUEUE_TEST_REDIS_URL"
TEMPLATE = "jobqueue_template"
BIN = Path(sys.executable).parent


def use_another_redis() -> None:
    """Lets the server that JOBQUEUE_TEST_REDIS_SERVER names serve the tests instead of the embedded one."""
    if path := os.environ.get("JOBQUEUE_TEST_REDIS_SERVER"):
        server = Path(path).resolve()

        def binary(instance: Instance) -> Path:
            return instance.home.reachable(server.parent, server.name, within="redis") / server.name

        redis_server._binary = binary


def refuse_what_reaches_other_workers(redis_url: str) -> None:
    """Leave a server that parallel workers share without the commands that act on all its databases.

    A test that needs them takes a server of its own (``private``, or tests/support/redis_servers.py).
    """
    with Redis.from_url(redis_url) as client:
        refused = ("-flushall", "-swapdb", "-config")
        client.execute_command("ACL", "SETUSER", "default", *refused)


@contextmanager
def shared_services() -> Iterator[None]:
    """Services for this run and its workers, announced in the environment."""
    use_another_redis()
    with fresh_instance(Home(ROOT / "var")) as instance, running(instance) as services:
        refuse_what_reaches_other_workers(services.redis_url)
        os.environ[DATABASE_VARIABLE] = services.database_url
        os.environ[REDIS_VARIABLE] = services.redis_url
        yield


def test_environment(database_url: str, redis_url: str, **extra: str) -> dict[str, str]:
    """Variables for our programs in tests: short times, this environment's programs."""
    return {
        "PATH": f"{BIN}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "APP_ENV": "test",
        "FLASK_SKIP_DOTENV": "1",  # the developer's own .env is not for tests
        "HOST": "127.0.0.1",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SECRET_KEY": "tests",
        "LEASE_SECONDS": "3",
        "HEARTBEAT_SECONDS": "0.5",
        "SWEEP_SECONDS": "0.2",
        **extra,
    }


def migrate(env: Mapping[str, str]) -> None:
    """The release command of the Procfile."""
    done = subprocess.run(
        [BIN / "flask", "--app", "wsgi", "db", "upgrade"],
        cwd=ROOT,
        env=dict(env),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"migrations failed:\n{done.stdout}\n{done.stderr}"


def clone_template(name: str) -> str:
    """A new, migrated database ``name`` on the shared server; its URL."""
    server_url = os.environ[DATABASE_VARIABLE]
    connection = psycopg2.connect(with_path(server_url, "postgres"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        # The first worker makes the template, the others wait here for it.
        cursor.execute("SELECT pg_advisory_lock(1)")
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,))
        if cursor.fetchone() is None:
            _make_template(cursor, server_url)
        _create(cursor, name, TEMPLATE)
    connection.close()
    return with_path(server_url, name)


def _make_template(cursor: psycopg2.extensions.cursor, server_url: str) -> None:
    draft = f"{TEMPLATE}_draft"
    cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(draft)))
    _create(cursor, draft, "template1")
    migrate(test_environment(with_path(server_url, draft), os.environ[REDIS_VARIABLE]))
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    cursor.execute(rename.format(sql.Identifier(draft), sql.Identifier(TEMPLATE)))


def _create(cursor: psycopg2.extensions.cursor, name: str, template: str) -> None:
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    cursor.execute(create.format(sql.Identifier(name), sql.Identifier(template)))


def with_path(url: str, path: str) -> str:
    """``url`` with another database name or number."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{path}"))


class PrivateServices:
    """A PostgreSQL and a Redis for one test, which may break, stop and restart them."""

    def __init__(self, instance: Instance) -> None:
        """Starts both, on ports they keep over restarts; the database is not migrated yet."""
        self._instance = instance
        self.start_postgres()
        self.start_redis()
        self.database_url = instance.state.database_url
        self.redis_url = instance.state.redis_url

    def env(self, **extra: str) -> dict[str, str]:
        """Variables for programs that shall use these services."""
        return test_environment(self.database_url, self.redis_url, **extra)

    def start_postgres(self) -> None:
        """Starts PostgreSQL; returns when it answers."""
        self.postgres = postgres.start(self._instance)

    def stop_postgres(self) -> None:
        """Fast shutdown: clients are disconnected."""
        postgres.end(self.postgres)

    def crash_postgres(self) -> None:
        """Immediate shutdown, as after a power cut: it recovers from its log at the next start."""
        stop(self.postgres, polite=signal.SIGQUIT, grace_seconds=10)

    def start_redis(self) -> None:
        """Starts Redis; returns when it answers. Nothing is kept from an earlier start."""
        self.redis = redis_server.start(self._instance)

    def stop_redis(self) -> None:
        """Ends Redis: connections are refused."""
        redis_server.end(self.redis)

    def close(self) -> None:
        """Ends what still runs."""
        self.stop_redis()
        self.stop_postgres()


@contextmanager
def private_services() -> Iterator[PrivateServices]:
    """Services that nobody else uses."""
    with fresh_instance(Home(ROOT / "var")) as instance:
        services = PrivateServices(instance)
        try:
            migrate(services.env())
            yield services
        finally:
            services.close()
