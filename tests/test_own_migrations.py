"""A package with tables of its own beside the product: made, upgraded, taken back, never mixed up with ours."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.support import services

MODELS = """
from app.extensions import db


class Product(db.Model):
    __tablename__ = "shop_products"
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.Text, nullable=False, index=True)
"""
JOBS = """
from app.jobs import job
from shop import models


@job("restock")
def restock(payload):
    "Orders what is missing."
"""

PRODUCTION = {
    "SECRET_KEY": "8Jd2kfLq0zXw7mPv5RtYb3NcHs6AgEu1",
    "API_TOKENS": f"ci:{'k3' * 20}:operator",
}


@pytest.fixture
def shop(tmp_path: Path, worker_id: str, redis_url: str) -> Iterator[dict[str, str]]:
    """Variables for our programs with a package ``shop`` beside, on a migrated database to take apart."""
    package = tmp_path / "beside" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models.py").write_text(MODELS)
    (package / "jobs.py").write_text(JOBS)
    name = f"jobqueue_own_{worker_id}"
    url = services.clone_template(name)
    yield services.test_environment(
        url,
        redis_url,
        PYTHONPATH=str(package.parent),
        JOB_MODULES="shop.jobs",
        JOB_MIGRATIONS=str(package / "migrations"),
    )
    connection = psycopg2.connect(services.with_path(url, "postgres"))
    connection.autocommit = True
    connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()


@pytest.fixture
def flask(shop: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [services.BIN / "flask", "--app", "wsgi", *args],
            cwd=services.ROOT, env={**shop, **env}, capture_output=True, text=True, timeout=50,
        )  # fmt: skip

    return run


def query(shop: dict[str, str], statement: str) -> list[Any]:
    connection = psycopg2.connect(shop["DATABASE_URL"])
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return [row[0] for row in cursor.fetchall()]
    finally:
        connection.close()


def tables(shop: dict[str, str]) -> set[str]:
    return set(query(shop, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))


def test_own_tables_from_model_to_table_and_back(
    shop: dict[str, str], flask: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = tables(shop)
    made = flask("migrations", "new", "first tables")
    assert made.returncode == 0, made.stdout + made.stderr
    (file,) = Path(shop["JOB_MIGRATIONS"]).glob("*.py")
    assert file.name.endswith("_first_tables.py")
    assert made.stdout.startswith(f"Wrote {file}. Read it, then run `")
    assert len((made.stdout + made.stderr).splitlines()) == 1
    source = file.read_text()
    assert "import sqlalchemy as sa" in source
    assert source.count("create_table") == 1
    assert "drop_table('jobs')" not in source
    revision = file.name.split("_")[1]
    behind = flask("migrations", "status")
    assert behind.returncode == 1
    assert behind.stdout == f"Applied: none\nMissing: {revision}\n"
    assert len(behind.stderr.splitlines()) == 1

    done = flask("db", "upgrade")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[1:] == [f"Your migrations: applied 1, now at {revision}."]
    done = flask("db", "upgrade")
    assert done.stdout.splitlines()[1:] == [f"Your migrations: already at {revision}."]
    assert tables(shop) - before == {"shop_products", "own_alembic_version"}
    assert flask("migrations", "status").returncode == 0

    again = flask("migrations", "new", "nothing")
    assert "no migration written" in again.stdout
    assert len(list(Path(shop["JOB_MIGRATIONS"]).glob("*.py"))) == 1

    back = flask("migrations", "downgrade", "base")
    assert back.returncode == 0, back.stdout + back.stderr
    assert tables(shop) - before == {"own_alembic_version"}


@pytest.mark.long
def test_the_products_history_does_not_contain_them(
    shop: dict[str, str], flask: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """A release of ours with a new migration finds one head, and compares its own tables only."""
    flask("migrations", "new", "first tables")
    flask("db", "upgrade")
    heads = flask("db", "heads")
    assert heads.stdout.count("(head)") == 1
    check = flask("db", "check")
    assert check.returncode == 0, check.stdout + check.stderr


@pytest.mark.long
def test_a_missing_folder_is_one_sentence(
    shop: dict[str, str], flask: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert flask("db", "upgrade").returncode == 0  # development: the first one is still to be made
    done = flask("db", "upgrade", APP_ENV="production", **PRODUCTION)
    assert done.returncode == 1
    assert "which is not a folder; create its first migration" in done.stderr
    assert "Traceback" not in done.stderr
    unset = flask("migrations", "new", "x", JOB_MIGRATIONS="")
    assert "JOB_MIGRATIONS is not set" in unset.stderr
    assert "Traceback" not in unset.stderr


@pytest.mark.long
def test_an_empty_migration_is_written_on_request(
    shop: dict[str, str], flask: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    flask("migrations", "new", "first tables")
    flask("db", "upgrade")
    done = flask("migrations", "new", "fill names", "--empty")
    assert done.returncode == 0, done.stderr
    assert len(list(Path(shop["JOB_MIGRATIONS"]).glob("*_fill_names.py"))) == 1
    assert flask("db", "upgrade").returncode == 0
