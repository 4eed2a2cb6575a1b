"""A database that was never migrated, is behind, ahead, of the wrong encoding, or shared with another application."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from app import config, create_app, schema
from tests.support import services
from tests.support.pgbouncer import pgbouncer
from tests.support.processes import Program, WebServer

UPGRADE = "flask --app wsgi db upgrade"
HEAD = schema.newest_revision()


@pytest.fixture
def make_database(worker_id: str, redis_url: str) -> Iterator[Callable[..., dict[str, str]]]:
    """``make_database("ENCODING 'LATIN1'")``: variables with a new database, dropped at the end."""
    names: list[str] = []

    def make(options: str = "TEMPLATE template0", *, migrated: bool = False) -> dict[str, str]:
        names.append(f"jobqueue_schema_{worker_id}_{len(names)}")
        if migrated:
            url = services.clone_template(names[-1])
        else:
            run_on(server, f"CREATE DATABASE {names[-1]} {options}")
            url = services.with_path(server, names[-1])
        return services.test_environment(url, redis_url)

    server = services.with_path(os.environ[services.DATABASE_VARIABLE], "postgres")
    yield make
    for name in names:
        run_on(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def run_on(url: str, statement: str) -> list[Any]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def release(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [services.BIN / "flask", "--app", "wsgi", "db", *(args or ("upgrade",))],
        cwd=services.ROOT, env=env, capture_output=True, text=True, timeout=50,
    )  # fmt: skip


def set_version(env: dict[str, str], version: str) -> None:
    run_on(env["DATABASE_URL"], f"UPDATE jobqueue_alembic_version SET version_num = '{version}'")


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("version", "code", "words"),
    [
        (None, "database_not_migrated", [UPGRADE]),
        ("0001", "database_not_migrated", ["0001", UPGRADE]),
        ("1c901f1c73ef", "database_ahead", ["1c901f1c73ef", "does not know"]),
    ],
)
def test_health_api_and_dashboard_report_what_is_wrong_with_the_tables(
    make_database: Any, redis: Any, version: str | None, code: str, words: list[str]
) -> None:
    env = make_database(migrated=version is not None)
    if version is not None:
        set_version(env, version)
    client = create_app(config.load(env)).test_client()
    health = client.get("/health")
    assert health.status_code == 503
    created = client.post("/api/jobs", json={"type": "echo"})
    assert (created.status_code, created.json["code"]) == (503, code)
    page = client.get("/jobs")
    assert page.status_code == 503
    for word in words:
        assert word in health.json["database"]["error"]
        assert word in created.json["message"]
        assert word in page.text
    if version is None:
        assert release(env).returncode == 0
    else:
        set_version(env, HEAD)
    assert client.get("/health").json["status"] == "ok"
    assert client.post("/api/jobs", json={"type": "echo"}).status_code == 201


def test_tables_that_are_dropped_later_are_reported_as_well(make_database: Any, redis: Any) -> None:
    env = make_database(migrated=True)
    client = create_app(config.load(env)).test_client()
    assert client.post("/api/jobs", json={"type": "echo"}).status_code == 201
    assert release(env, "downgrade", "base").returncode == 0
    created = client.post("/api/jobs", json={"type": "echo"})
    assert (created.status_code, created.json["code"]) == (503, "database_not_migrated")
    assert client.get("/health").status_code == 503


def test_a_process_keeps_working_after_the_next_release_has_migrated(make_database: Any) -> None:
    env = make_database(migrated=True)
    client = create_app(config.load(env)).test_client()
    assert client.get("/health").status_code == 200
    set_version(env, "9999")
    assert client.get("/health").status_code == 200


def test_a_worker_waits_for_the_release_and_logs_it_once(
    make_database: Any, consumer: Any, wait_until: Any, tmp_path: Any, redis: Any
) -> None:
    env = make_database()
    program = Program("worker", env, tmp_path / "worker.log")
    try:
        wait_until(lambda: UPGRADE in program.output, timeout=20)
        assert release(env).returncode == 0
        wait_until(
            lambda: run_on(env["DATABASE_URL"], "SELECT 1 FROM workers") and program.is_alive,
            timeout=20,
        )
        # Another state that it sees in the middle of the migrations is another sentence.
        said = [
            one.partition(" ERROR ")[2] for one in program.output.splitlines() if UPGRADE in one
        ]
        assert len(said) == len(set(said))
        assert "does not exist" not in program.output
    finally:
        program.discard()


def test_a_web_process_logs_at_start_that_the_release_did_not_run(
    make_database: Any, wait_until: Any, tmp_path: Any
) -> None:
    server = WebServer(make_database(), tmp_path / "web.log")
    try:
        wait_until(lambda: UPGRADE in server.output, timeout=20)
        assert "Traceback" not in server.output
    finally:
        server.discard()


def test_release_reports_what_it_did(make_database: Any) -> None:
    env = make_database()
    first = release(env)
    assert (first.returncode, first.stdout.strip()) == (
        0,
        f"Migrated an empty database to {HEAD}.",
    )
    again = release(env)
    assert (again.returncode, again.stdout.strip()) == (0, f"Already at {HEAD}.")


COMMANDS = [
    ("tokens", "create", "grafana"),
    ("tokens", "list"),
    ("tokens", "revoke", "grafana"),
    ("counters", "check"),
    ("dlq", "rebuild"),
    ("sessions", "end", "--all"),
]


@pytest.mark.parametrize("is_away", [False, True], ids=["before the release", "away"])
def test_commands_report_a_wrong_database_in_one_sentence(
    make_database: Any, is_away: bool
) -> None:
    env = make_database()
    if is_away:
        env["DATABASE_URL"] = services.with_path(env["DATABASE_URL"], "nowhere")
    runner = create_app(config.load(env)).test_cli_runner()
    for command in COMMANDS:
        done = runner.invoke(args=command)
        assert done.exit_code == 1, command
        assert isinstance(done.exception, SystemExit), command  # a message, not a traceback
        (line,) = done.output.splitlines()
        assert ("DATABASE_URL" if is_away else UPGRADE) in line, command


@pytest.mark.parametrize(
    "url", ["postgresql://{netloc}/nowhere", "postgresql://eve:wrong@{host}/x"]
)
def test_release_against_a_wrong_database_is_one_sentence(make_database: Any, url: str) -> None:
    env = make_database()
    netloc = env["DATABASE_URL"].split("/")[2]
    env["DATABASE_URL"] = url.format(netloc=netloc, host=netloc.rpartition("@")[2])
    for command in ("upgrade", "current"):
        done = release(env, command)
        assert_one_sentence(done, "DATABASE_URL")
        assert "wrong" not in done.stderr.replace("eve:wrong", "wrong")


def test_release_of_a_database_ahead_of_the_code_is_one_sentence(make_database: Any) -> None:
    env = make_database(migrated=True)
    set_version(env, "1c901f1c73ef")
    assert_one_sentence(release(env), "1c901f1c73ef", "does not know")


def test_release_of_a_read_only_database_is_one_sentence(make_database: Any) -> None:
    env = make_database()
    name = env["DATABASE_URL"].rpartition("/")[2]
    run_on(env["DATABASE_URL"], f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert_one_sentence(release(env), "read-only")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_another_encoding_is_refused(make_database: Any, redis: Any, encoding: str) -> None:
    options = f"ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
    env = make_database(options)
    assert_one_sentence(release(env), encoding, "UTF8")
    app = create_app(config.load(env))
    health = app.test_client().get("/health")
    assert (health.status_code, encoding in health.json["database"]["error"]) == (503, True)
    with app.app_context():
        doctor = app.test_cli_runner().invoke(args=["doctor"])
    assert doctor.exit_code == 2
    assert encoding in doctor.output


def test_release_leaves_nothing_in_the_sessions_of_a_pooler(make_database: Any) -> None:
    env = make_database()
    with pgbouncer(env["DATABASE_URL"], size=2) as url:
        for _ in range(2):
            assert release({**env, "DATABASE_URL": url}).returncode == 0
        held = [psycopg2.connect(url) for _ in range(2)]  # one transaction each: both sessions
        found = set()
        for connection in held:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid(), current_setting('lock_timeout')")
                found.add(cursor.fetchone())
        for connection in held:
            connection.close()
    assert [timeout for _, timeout in found] == ["0", "0"]


class TestASharedDatabase:
    def test_the_applications_own_version_table_is_left_alone(self, make_database: Any) -> None:
        env = make_database()
        url = env["DATABASE_URL"]
        run_on(url, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        run_on(url, "INSERT INTO alembic_version VALUES ('0003')")
        assert release(env).returncode == 0
        assert run_on(url, "SELECT version_num FROM alembic_version") == [("0003",)]
        assert run_on(url, "SELECT version_num FROM jobqueue_alembic_version") == [(HEAD,)]

    def test_our_version_is_taken_over_from_the_old_name(self, make_database: Any) -> None:
        env = make_database(migrated=True)
        url = env["DATABASE_URL"]
        run_on(url, "ALTER TABLE jobqueue_alembic_version RENAME TO alembic_version")
        run_on(
            url,
            "ALTER TABLE alembic_version RENAME CONSTRAINT jobqueue_alembic_version_pkc"
            " TO alembic_version_pkc",
        )
        client = create_app(config.load(env)).test_client()
        assert UPGRADE in client.get("/health").json["database"]["error"]
        assert release(env).returncode == 0
        assert client.get("/health").status_code == 200
        # And the application may now have one of its own.
        run_on(
            url,
            "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL,"
            " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
        )
        assert release(env).stdout.strip() == f"Already at {HEAD}."

    def test_tables_of_the_same_name_are_one_sentence(self, make_database: Any) -> None:
        env = make_database()
        run_on(env["DATABASE_URL"], "CREATE TABLE jobs (id int)")
        run_on(env["DATABASE_URL"], "CREATE VIEW workers AS SELECT 1 AS id")
        assert_one_sentence(release(env), "jobs, workers", "?schema=")
        assert run_on(
            env["DATABASE_URL"], "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ) == [(1,)]
