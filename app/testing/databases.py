"""Throwaway services and databases for tests of your handlers; nothing here touches DATABASE_URL."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
from psycopg2 import sql

from app.dev.home import Home
from app.dev.instance import fresh_instance
from app.dev.services import running

ROOT = Path(__file__).resolve().parents[2]
#: Servers to test on. Never DATABASE_URL and REDIS_URL: tests empty whatever they are given.
DATABASE_VARIABLE = "JOBQUEUE_TEST_DATABASE_URL"
REDIS_VARIABLE = "JOBQUEUE_TEST_REDIS_URL"


@contextmanager
def services() -> Iterator[tuple[str, str]]:
    """(PostgreSQL server, Redis database): those of the variables above, else private ones for this run."""
    database, redis = os.environ.get(DATABASE_VARIABLE), os.environ.get(REDIS_VARIABLE)
    if database and redis:
        yield database, redis
        return
    with fresh_instance(Home(ROOT / "var")) as instance, running(instance) as started:
        yield started.database_url, started.redis_url


@contextmanager
def migrated_database(server_url: str, env: Mapping[str, str]) -> Iterator[str]:
    """The URL of a new database with the product's tables and those of JOB_MIGRATIONS; dropped at the end."""
    name = f"jobqueue_test_{secrets.token_hex(4)}"
    url = with_path(server_url, name)
    _on_server(server_url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        _migrate({**env, "DATABASE_URL": url})
        yield url
    finally:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        _on_server(server_url, drop)


def empty(database_url: str) -> None:
    """Remove every row that a test left behind; tables without any cost nothing."""
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            # A test that left a transaction open fails here instead of hanging.
            cursor.execute("SET lock_timeout = '5s'")
            # audit_events refuses to lose rows otherwise.
            cursor.execute("SET jobqueue.audit_retention = 'on'")
            cursor.execute(
                "SELECT tablename FROM pg_tables"
                " WHERE schemaname = 'public' AND tablename NOT LIKE '%alembic_version'"
            )
            tables = [name for (name,) in cursor.fetchall()]
            is_written = sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})")
            parts = [is_written.format(sql.Literal(t), sql.Identifier(t)) for t in tables]
            cursor.execute(sql.SQL(" UNION ALL ").join(parts))
            if written := [sql.Identifier(name) for (name,) in cursor.fetchall()]:
                truncate = sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE")
                cursor.execute(truncate.format(sql.SQL(", ").join(written)))
    finally:
        connection.close()


def with_path(url: str, path: str) -> str:
    """``url`` with another database name or number."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{path}"))


def _on_server(server_url: str, statement: sql.Composable) -> None:
    connection = psycopg2.connect(with_path(server_url, "postgres"))
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
    finally:
        connection.close()


def _migrate(env: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"],
        cwd=ROOT,
        # Your modules are found as they are here, whatever put them on the path.
        env={**env, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the migrations failed:\n{done.stdout}{done.stderr}")
