"""Temporary servers and databases for tests of your handlers; nothing here uses DATABASE_URL."""

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
#: Servers for tests. Never DATABASE_URL and REDIS_URL, because tests delete everything.
DATABASE_VARIABLE = "JOBQUEUE_TEST_DATABASE_URL"
REDIS_VARIABLE = "JOBQUEUE_TEST_REDIS_URL"
#: Larger tables are truncated, so that dead rows don't slow down the next test.
SMALL_BYTES = 256 * 1024
#: Table → which of its rows are not from a migration; and what brings those back.
OF_TESTS = {"limits": "name <> 'schedule'"}
RESERVED_LIMIT = "INSERT INTO limits (name, source, key_concurrency) VALUES ('schedule', 'code', 1)"


@contextmanager
def services() -> Iterator[tuple[str, str]]:
    """URLs of (PostgreSQL server, Redis database): from the variables above, otherwise of new servers for this run."""
    database, redis = os.environ.get(DATABASE_VARIABLE), os.environ.get(REDIS_VARIABLE)
    if database and redis:
        yield database, redis
        return
    with fresh_instance(Home(ROOT / "var")) as instance, running(instance) as started:
        yield started.database_url, started.redis_url


@contextmanager
def migrated_database(server_url: str, env: Mapping[str, str]) -> Iterator[str]:
    """The URL of a new database with the job queue's tables and those of JOB_MIGRATIONS; dropped at the end."""
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
    """Delete all rows that a test left; empty tables are skipped."""
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            # If a test left a transaction open, this fails instead of hanging.
            cursor.execute("SET lock_timeout = '5s'")
            # Otherwise audit_events does not allow deletes.
            cursor.execute("SET jobqueue.audit_retention = 'on'")
            cursor.execute(
                "SELECT relname, pg_relation_size(c.oid) > %s, rolsuper"
                " FROM pg_class c CROSS JOIN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS me"
                " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
                " AND relname NOT LIKE '%%alembic_version'",
                (SMALL_BYTES,),
            )
            is_to_truncate = {name: is_large or not is_super for name, is_large, is_super in cursor}
            is_written = sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {} WHERE {})")
            parts = [
                is_written.format(
                    sql.Literal(t), sql.Identifier(t), sql.SQL(OF_TESTS.get(t, "true"))
                )
                for t in is_to_truncate
            ]
            cursor.execute(sql.SQL(" UNION ALL ").join(parts))
            written = [name for (name,) in cursor]
            _truncate(cursor, [name for name in written if is_to_truncate[name]])
            _delete(cursor, [name for name in written if not is_to_truncate[name]])
            if "limits" in written:
                cursor.execute(RESERVED_LIMIT)
    finally:
        connection.close()


def _truncate(cursor: psycopg2.extensions.cursor, tables: list[str]) -> None:
    if tables:
        names = sql.SQL(", ").join(map(sql.Identifier, tables))
        cursor.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(names))


def _delete(cursor: psycopg2.extensions.cursor, tables: list[str]) -> None:
    # Takes a third of the time of TRUNCATE, which creates new files for each table and index.
    if not tables:
        return
    restart = sql.SQL(
        "SELECT setval(pg_get_serial_sequence(quote_ident({0}), attname), 1, false)"
        " FROM pg_attribute WHERE attrelid = {0}::regclass AND attidentity <> ''"
    )
    cursor.execute(
        sql.SQL("; ").join(
            [
                sql.SQL("SET session_replication_role = 'replica'"),  # no triggers, in any order
                *(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)) for name in tables),
                *(restart.format(sql.Literal(name)) for name in tables),
            ]
        )
    )


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
    process = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"],
        cwd=ROOT,
        # So that it can import your modules as this process does.
        env={**env, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise RuntimeError(f"the migrations failed:\n{process.stdout}{process.stderr}")
