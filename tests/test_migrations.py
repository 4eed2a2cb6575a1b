"""The schema: up, down and up again; the models say what it is; the diagram is the code's."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from app import schema
from app.dev import schema_file
from app.extensions import db
from app.jobs import lifecycle
from tests import factories
from tests.support import services
from tests.support.waiting import wait_until

SHAPE = """
SELECT 'column', table_name || '.' || column_name,
       concat_ws(' ', data_type, is_nullable, column_default)
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'function', proname, md5(prosrc) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
ORDER BY 1, 2, 3
"""


@pytest.fixture
def own_database(worker_id: str, redis_url: str) -> Iterator[dict[str, str]]:
    """Variables with a migrated database that this test may take apart."""
    name = f"jobqueue_migrations_{worker_id}"
    url = services.clone_template(name)
    yield services.test_environment(url, redis_url)
    connection = psycopg2.connect(services.with_path(url, "postgres"))
    connection.autocommit = True
    connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()


def run(env: dict[str, str], statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of one committed statement."""
    with (
        closing(psycopg2.connect(env["DATABASE_URL"])) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def shape(env: dict[str, str]) -> list[tuple[str, ...]]:
    return run(env, SHAPE)


def flask_db(env: dict[str, str], *args: str) -> None:
    done = subprocess.run(
        [services.BIN / "flask", "--app", "wsgi", "db", *args],
        cwd=services.ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_up_down_up(own_database: dict[str, str]) -> None:
    before = shape(own_database)
    assert "jobs" in {name.partition(".")[0] for _, name, _ in before}
    flask_db(own_database, "downgrade", "base")
    left = {name.partition(".")[0] for _, name, _ in shape(own_database)}
    assert left <= {"jobqueue_alembic_version", "jobqueue_alembic_version_pkc"}
    flask_db(own_database, "upgrade")
    assert shape(own_database) == before


def test_the_schema_file_is_what_the_migrations_make(own_database: dict[str, str]) -> None:
    assert schema_file.FILE.read_text() == schema_file.schema_of(own_database["DATABASE_URL"]), (
        "run `make schema`"
    )


def test_a_second_upgrade_changes_nothing(own_database: dict[str, str]) -> None:
    before = shape(own_database)
    flask_db(own_database, "upgrade")
    assert shape(own_database) == before


#: Only triggers, fold and rescue use these tables.
WITHOUT_MODEL = {
    "job_counter_deltas", "job_series_deltas", "job_waiting_deltas", "error_group_deltas", "job_pulses",
}  # fmt: skip


def test_the_models_say_what_the_migrations_made(session: Any) -> None:
    def include(found: Any, name: str | None, kind: str, is_in_database: bool, other: Any) -> bool:
        if kind == "index" and str(name).endswith("_id_end"):
            return False  # on an expression, which can't be compared
        place = f"{found.table.name}.{name}" if kind == "column" else name
        is_extra = is_in_database and other is None
        return not (is_extra and place in WITHOUT_MODEL | schema.FORMER_NAMES)

    options = {
        "compare_type": True,
        "include_object": include,
        "version_table": schema.VERSION_TABLE,
    }
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, db.metadata) == []


def test_every_index_is_named_for_its_use(session: Any) -> None:
    names = session.scalars(
        text("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
    ).all()
    assert [
        n for n in names if not re.fullmatch(r"(ix|uq)_\w+|\w+_pkey|jobqueue_alembic_\w+", n)
    ] == []


def diagram(source: str) -> str:
    found = re.search(r"^ +enqueue +claim .*?^ *cancelled\) .*?$", source, re.DOTALL | re.MULTILINE)
    assert found, "no diagram"
    return found[0]


def test_the_readme_draws_the_life_of_a_job_as_the_code_does() -> None:
    readme = (Path(services.ROOT) / "README.md").read_text()
    assert diagram(readme) == diagram(str(lifecycle.__doc__))


# Statements of the release before 0013, and the same of the release that came with it.
INSERT_JOB = """
INSERT INTO jobs (id, queue, type, payload, status, finished_at, {column})
VALUES (%s, 'mail', 'echo', '{{}}', 'failed', now(), %s)
"""
INSERT_ATTEMPT = """
INSERT INTO job_attempts (job_id, lease_token, attempt, outcome, started_at, {column})
VALUES (%s, gen_random_uuid(), 1, 'failed', now(), %s) ON CONFLICT DO NOTHING
"""
OLD_PAUSE = """
INSERT INTO {table} ({key}, paused_at, paused_by)
VALUES (%s, CASE WHEN CAST(%s AS text) IS NOT NULL THEN now() END, %s)
ON CONFLICT ({key}) DO UPDATE SET paused_at = CASE WHEN excluded.paused_at IS NOT NULL
    THEN COALESCE({table}.paused_at, excluded.paused_at) END, paused_by = excluded.paused_by
"""
OLD_CLAIMABLE = """
SELECT count(*) FROM jobs j WHERE j.id = %s
AND NOT EXISTS (SELECT 1 FROM queues q WHERE q.name = j.queue AND q.paused_at IS NOT NULL)
AND NOT EXISTS (SELECT 1 FROM type_switches t WHERE t.type = j.type AND t.paused_at IS NOT NULL)
"""
NEW_PAUSE = """
INSERT INTO pauses (kind, name, paused_by) VALUES (%s, %s, %s)
ON CONFLICT (kind, name) DO UPDATE SET paused_by = excluded.paused_by
"""
NEW_CLAIMABLE = """
SELECT count(*) FROM jobs j WHERE j.id = %s
AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.kind = 'queue' AND p.name = j.queue)
AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.kind = 'type' AND p.name = j.type)
"""
SWITCHES = {"queue": ("queues", "name", "mail"), "type": ("type_switches", "type", "echo")}
NAMES = ("failure", "fingerprint")
GROUP, OTHER = "0123456789ab", "ffffffffffff"


@pytest.fixture
def before_renames(own_database: dict[str, str]) -> tuple[dict[str, str], str]:
    """A database at 0012 with data; the id of a failed job in GROUP."""
    env, job = own_database, str(uuid4())
    flask_db(env, "downgrade", "0012")
    run(env, INSERT_JOB.format(column="failure"), job, GROUP)
    run(env, INSERT_ATTEMPT.format(column="failure"), job, GROUP)
    run(env, "INSERT INTO bulk_actions (verb, told, created_by) VALUES ('retry', 'old', 'ann')")
    for table, key, name in SWITCHES.values():
        run(env, OLD_PAUSE.format(table=table, key=key), name, "ann", "ann")
        run(env, OLD_PAUSE.format(table=table, key=key), "resumed", None, None)
    return env, job


def fingerprints(env: dict[str, str], table: str = "jobs") -> list[tuple[str | None, str | None]]:
    return run(env, f"SELECT failure, fingerprint FROM {table}")


def test_renamed_columns_and_pauses_keep_the_data(before_renames: Any) -> None:
    env, _ = before_renames
    for _ in range(2):
        flask_db(env, "upgrade")
        assert fingerprints(env) == fingerprints(env, "job_attempts") == [(GROUP, GROUP)]
        assert run(env, "SELECT description FROM bulk_actions") == [("old",)]
        assert run(env, "SELECT kind, name, paused_by FROM pauses ORDER BY 1") == [
            ("queue", "mail", "ann"),
            ("type", "echo", "ann"),
        ]
        flask_db(env, "downgrade", "0012")
        assert run(env, "SELECT failure FROM jobs") == [(GROUP,)]
        assert run(env, "SELECT told FROM bulk_actions") == [("old",)]


@pytest.mark.parametrize("column", NAMES)
def test_either_release_sees_the_fingerprint_that_the_other_wrote(
    before_renames: Any, column: str
) -> None:
    env, job = before_renames
    flask_db(env, "upgrade")
    for value in (OTHER, None, GROUP):
        run(env, f"UPDATE jobs SET {column} = %s WHERE id = %s", value, job)
        run(env, f"UPDATE job_attempts SET {column} = %s WHERE job_id = %s", value, job)
        assert fingerprints(env) == fingerprints(env, "job_attempts") == [(value, value)]
    new = str(uuid4())
    run(env, INSERT_JOB.format(column=column), new, OTHER)
    run(env, INSERT_ATTEMPT.format(column=column), new, OTHER)
    for table in ("jobs", "job_attempts"):
        assert set(fingerprints(env, table)) == {(GROUP, GROUP), (OTHER, OTHER)}
    flask_db(env, "downgrade", "0012")
    for table in ("jobs", "job_attempts"):
        assert set(run(env, f"SELECT failure FROM {table}")) == {(GROUP,), (OTHER,)}


@pytest.mark.parametrize("column", ["told", "description"])
def test_either_release_sees_the_description_that_the_other_wrote(
    before_renames: Any, column: str
) -> None:
    env, _ = before_renames
    flask_db(env, "upgrade")
    run(env, f"INSERT INTO bulk_actions (verb, {column}, created_by) VALUES ('run', 'new', 'bob')")
    both = "SELECT told, description FROM bulk_actions ORDER BY id"
    assert run(env, both) == [("old", "old"), ("new", "new")]
    run(env, f"UPDATE bulk_actions SET {column} = 'changed' WHERE verb = 'run'")
    assert run(env, both) == [("old", "old"), ("changed", "changed")]


@pytest.mark.parametrize("kind", SWITCHES)
def test_either_release_sees_the_pauses_of_the_other(before_renames: Any, kind: str) -> None:
    env, job = before_renames
    table, key, name = SWITCHES[kind]
    flask_db(env, "upgrade")
    other = next(k for k in SWITCHES if k != kind)
    run(env, "DELETE FROM pauses WHERE kind = %s", other)

    def old(by: str | None) -> None:
        run(env, OLD_PAUSE.format(table=table, key=key), name, by, by)

    def new(by: str | None) -> None:
        if by:
            run(env, NEW_PAUSE, kind, name, by)
        else:
            run(env, "DELETE FROM pauses WHERE kind = %s AND name = %s", kind, name)

    for write, by in ((old, None), (new, "bob"), (old, "cid"), (new, "dan"), (new, None), (old, "eve"),
                      (old, None), (new, "fay"), (old, None)):  # fmt: skip
        write(by)
        former = run(env, f"SELECT paused_at, paused_by FROM {table} WHERE {key} = %s", name)
        now = run(env, "SELECT paused_at, paused_by FROM pauses WHERE name = %s", name)
        assert (former == now) if by else (former, now) == ([(None, None)], [])
        assert [row[1] for row in now] == ([by] if by else [])
        for claimable in (OLD_CLAIMABLE, NEW_CLAIMABLE):
            assert run(env, claimable, job) == [(0 if by else 1,)]
    new("gus")
    flask_db(env, "downgrade", "0012")
    assert run(env, f"SELECT paused_by FROM {table} WHERE {key} = %s", name) == [("gus",)]


def test_the_sweepers_mark_of_unknown_types_pauses_nothing(before_renames: Any) -> None:
    env, _ = before_renames
    flask_db(env, "upgrade")
    mark = "INSERT INTO type_switches (type, unknown_since) VALUES (%s, now()) ON CONFLICT (type) DO UPDATE SET unknown_since = now()"
    for name in ("echo", "unknown"):
        run(env, mark, name)
    assert run(env, "SELECT name FROM pauses WHERE kind = 'type'") == [("echo",)]


def test_workers_of_the_previous_release_write_throughout_the_upgrade(before_renames: Any) -> None:
    env, _ = before_renames
    jobs = [str(uuid4()) for _ in range(2500)]
    run(
        env,
        INSERT_JOB.format(column="failure").replace("VALUES (%s,", "SELECT unnest(%s::uuid[]),").replace("%s)", "%s"),
        jobs, GROUP,
    )  # fmt: skip
    is_over = threading.Event()
    written = []

    def work() -> None:
        with closing(psycopg2.connect(env["DATABASE_URL"])) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            while not is_over.is_set():
                value = (None, OTHER, GROUP)[len(written) % 3]
                job = jobs[len(written) * 7 % len(jobs)]
                cursor.execute("UPDATE jobs SET failure = %s WHERE id = %s", (value, job))
                written.append(job)

    holder = psycopg2.connect(env["DATABASE_URL"])
    worker = threading.Thread(target=work)
    upgrade = threading.Thread(target=flask_db, args=(env, "upgrade"))
    worker.start()
    upgrade.start()
    try:
        has_column = "SELECT 1 FROM information_schema.columns WHERE table_name = 'jobs' AND column_name = 'fingerprint'"
        wait_until(lambda: run(env, has_column), timeout=30)
        holder.cursor().execute(
            "SELECT 1 FROM jobs WHERE id = ANY(%s::uuid[]) FOR UPDATE", (jobs[:50],)
        )
        differ = "SELECT count(*) FROM jobs WHERE failure IS DISTINCT FROM fingerprint"
        wait_until(lambda: run(env, differ)[0][0] <= 50, timeout=30, what="the others are copied")
    finally:
        holder.close()
        upgrade.join()
        is_over.set()
        worker.join()
    assert len(written) > 100
    assert run(env, "SELECT version_num FROM jobqueue_alembic_version") == [
        (schema.newest_revision(),)
    ]
    assert run(env, "SELECT count(*) FROM jobs WHERE failure IS DISTINCT FROM fingerprint") == [
        (0,)
    ]


def test_statements_that_leave_the_columns_in_step_do_not_call_the_trigger(session: Any) -> None:
    """``complete`` writes NULL over NULL for nearly every job: that must cost no function call."""
    job = factories.pending_job()
    for assignment, calls in (("fingerprint = NULL", False), ("fingerprint = 'a'", True)):
        statement = f"EXPLAIN (ANALYZE, COSTS off) UPDATE jobs SET {assignment}, updated_at = now() WHERE id = :id"
        plan = "\n".join(session.scalars(text(statement), {"id": job.id}))
        assert ("tr_jobs_fingerprint_update" in plan) == calls, plan
