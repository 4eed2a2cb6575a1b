"""The meaning of PostgreSQL's errors, and the replacement of connections when the server's role changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

from app import cache, create_app, database, database_errors
from app.extensions import db


@pytest.fixture
def engine(app: Any) -> Iterator[Engine]:
    engine = database.make_engine(app.extensions["settings"])
    yield engine
    engine.dispose()


def failure(engine: Engine, statement: str) -> DBAPIError:
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(text(statement))
    return caught.value


def raising(code: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'made for the test' USING ERRCODE = '{code}'; END $$"


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("25006", "database_read_only"),
        ("57P01", "database_unavailable"),
        ("57P02", "database_unavailable"),
        ("57P03", "database_unavailable"),
        ("25P03", "database_unavailable"),
        ("53300", "database_unavailable"),
        ("40001", "try_again"),
        ("40P01", "try_again"),
        ("55P03", "try_again"),
        ("57014", "query_too_slow"),
        ("23505", "validation_failed"),
        ("22P05", "validation_failed"),
        ("42P01", None),
    ],
)
def test_the_meaning_of_each_sqlstate(
    app: Any, engine: Engine, code: str, meaning: str | None
) -> None:
    error = failure(engine, raising(code))
    with app.app_context():
        found = database_errors.meaning(error)
    assert (found and found.code) == meaning


@pytest.mark.parametrize("code", sorted(database.STALE))
def test_pooled_connections_are_replaced_when_the_server_changes(engine: Engine, code: str) -> None:
    def pids(count: int) -> set[int]:
        held = [engine.connect() for _ in range(count)]
        found = {one.execute(text("SELECT pg_backend_pid()")).scalar_one() for one in held}
        for one in held:
            one.close()
        return found

    before = pids(4)
    failure(engine, raising(code))
    assert not pids(4) & before


def test_other_errors_keep_the_connections(engine: Engine) -> None:
    with engine.connect() as connection:
        before = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    failure(engine, raising("22012"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() == before


@pytest.fixture
def read_only(app: Any) -> Iterator[FlaskClient]:
    """A client of an application all of whose transactions are read-only."""
    twin = create_app(app.extensions["settings"])
    with twin.app_context():
        engine = db.engine

    @event.listens_for(engine, "connect")
    def connect(raw: Any, _record: Any) -> None:
        raw.autocommit = True
        raw.cursor().execute("SET default_transaction_read_only = on")
        raw.autocommit = False

    cache.forget()
    yield twin.test_client()
    engine.dispose()
    cache.forget()


def test_the_api_says_read_only(read_only: FlaskClient) -> None:
    for path, body in (
        ("/api/jobs", {"type": "echo"}),
        ("/api/jobs/bulk", {"jobs": [{"type": "echo"}]}),
        ("/api/queues/default/pause", None),
    ):
        answer = read_only.post(path, json=body)
        assert (answer.status_code, answer.json["code"]) == (503, "database_read_only"), path
        assert int(answer.headers["Retry-After"]) > 0
    assert read_only.get("/api/jobs").status_code == 200
    assert read_only.get("/metrics").status_code == 200


def test_health_says_read_only(read_only: FlaskClient) -> None:
    answer = read_only.get("/health")
    assert (answer.status_code, answer.json["status"]) == (503, "down")
    assert "read-only" in answer.json["database"]["error"]
    assert int(answer.headers["Retry-After"]) > 0


def test_the_dashboard_says_read_only(read_only: FlaskClient) -> None:
    read_only.application.config["WTF_CSRF_ENABLED"] = False
    page = read_only.post("/queues/default/pause")
    assert page.status_code == 503
    assert "The database is read-only" in page.text
    assert int(page.headers["Retry-After"]) > 0
    assert read_only.get("/jobs").status_code == 200
