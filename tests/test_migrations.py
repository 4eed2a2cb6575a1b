"""The schema: up, down and up again; the models say what it is; the diagram is the code's."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from app import schema
from app.extensions import db
from app.jobs import lifecycle
from tests.support import services

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


def shape(env: dict[str, str]) -> list[tuple[str, ...]]:
    connection = psycopg2.connect(env["DATABASE_URL"])
    try:
        with connection.cursor() as cursor:
            cursor.execute(SHAPE)
            return cursor.fetchall()
    finally:
        connection.close()


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


def test_a_second_upgrade_changes_nothing(own_database: dict[str, str]) -> None:
    before = shape(own_database)
    flask_db(own_database, "upgrade")
    assert shape(own_database) == before


def test_the_models_say_what_the_migrations_made(session: Any) -> None:
    # No model: only triggers, fold and rescue use them.
    untold = {"job_counter_deltas", "job_series_deltas", "job_waiting_deltas", "job_pulses"}

    def include(_object: object, name: str | None, kind: str, *_: object) -> bool:
        if kind == "index" and str(name).endswith("_id_end"):
            return False  # on an expression, which can't be compared
        return not (kind == "table" and name in untold)

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
