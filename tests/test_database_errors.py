"""What each error of PostgreSQL means to a client: the same in the API, the dashboard and /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from flask.testing import FlaskClient

from app import cache

FACES = ("/api/workers", "/workers", "/metrics")


@pytest.fixture
def failing(app: Any, database_url: str) -> Iterator[Callable[[str], None]]:
    """``failing("40P01")``: from now on PostgreSQL answers every read of the workers with that SQLSTATE."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("ALTER TABLE workers RENAME TO workers_kept")

    def fail(sqlstate: str) -> None:
        cursor.execute(
            "CREATE FUNCTION fail() RETURNS boolean STABLE LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'made for the test' USING ERRCODE = '{sqlstate}'; END $$"
        )
        cursor.execute("CREATE VIEW workers AS SELECT * FROM workers_kept WHERE fail()")
        cache.forget()

    yield fail
    cursor.execute("DROP VIEW IF EXISTS workers; DROP FUNCTION IF EXISTS fail()")
    cursor.execute("ALTER TABLE workers_kept RENAME TO workers")
    connection.close()
    cache.forget()


@pytest.mark.parametrize("path", FACES)
@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "55P03"])
def test_a_lost_race_is_not_an_outage(
    failing: Callable[[str], None], client: FlaskClient, path: str, sqlstate: str
) -> None:
    failing(sqlstate)
    answer = client.get(path)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "Another request changed the same jobs" in answer.text
    assert "<title>The database" not in answer.text
    assert ("Conflict with another change" in answer.text) == (path == "/workers")
    assert "does not respond" not in answer.text


@pytest.mark.parametrize("path", FACES)
@pytest.mark.parametrize("sqlstate", ["23505", "23514", "22P05"])
def test_a_refused_value_is_invalid_input(
    failing: Callable[[str], None], client: FlaskClient, caplog: Any, path: str, sqlstate: str
) -> None:
    failing(sqlstate)
    answer = client.get(path)
    assert answer.status_code == 422
    assert "made for the test" not in answer.text
    assert "made for the test" in caplog.text
    assert "ERROR" in {record.levelname for record in caplog.records}


@pytest.mark.parametrize("path", FACES)
@pytest.mark.parametrize(
    ("sqlstate", "message"),
    [("57014", "did not finish in time"), ("25006", "is read-only"), ("53300", "does not respond")],
)
def test_each_outage_has_its_own_message(
    failing: Callable[[str], None], client: FlaskClient, path: str, sqlstate: str, message: str
) -> None:
    failing(sqlstate)
    answer = client.get(path)
    assert answer.status_code == 503
    assert message in answer.text


@pytest.mark.parametrize("path", FACES)
def test_a_bug_is_not_blamed_on_the_database(
    failing: Callable[[str], None], client: FlaskClient, caplog: Any, path: str
) -> None:
    failing("P0001")
    answer = client.get(path)
    assert answer.status_code == 500
    assert "made for the test" not in answer.text
    assert "database" not in answer.text.casefold().partition("<nav")[0]
    assert "made for the test" in caplog.text
