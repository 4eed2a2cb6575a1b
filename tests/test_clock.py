"""A machine whose clock is an hour off judges by the database's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from sqlalchemy import text

from app import clock, config, create_app
from app.extensions import db


@pytest.fixture(params=[3600, -3600], ids=["ahead", "behind"])
def web(request: Any, monkeypatch: Any, test_env: Any, redis: Any) -> Iterator[Any]:
    """A client of a web that has just started on such a machine."""
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + request.param)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + request.param * 10**9)
    clock.forget()
    yield create_app(config.load(test_env)).test_client()
    clock.forget()


@pytest.fixture
def database_now(database_url: str) -> datetime:
    connection = psycopg2.connect(database_url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]  # type: ignore[index]
    connection.close()
    return now.astimezone(UTC)


def stamp(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def test_due_times_expiry_and_ranges_are_judged_by_the_database(
    web: Any, database_now: datetime
) -> None:
    half_an_hour = timedelta(minutes=30)
    expires = {"type": "echo", "expiresAt": stamp(database_now + half_an_hour)}
    assert web.post("/api/jobs", json=expires).status_code == 201
    expired = {"type": "echo", "expiresAt": stamp(database_now - half_an_hour)}
    assert web.post("/api/jobs", json=expired).status_code == 422
    soon = web.post("/api/jobs", json={"type": "echo", "delay": 600}).json
    assert soon["nextRunAt"] is not None
    assert web.get(f"/api/jobs/{soon['id']}").json["nextRunAt"] == soon["nextRunAt"]

    minute = timedelta(minutes=1)
    around = {
        "createdFrom": stamp(database_now - minute),
        "createdTo": stamp(database_now + minute),
    }
    assert len(web.get("/api/jobs", query_string=around).json) == 2
    before = {"createdTo": stamp(database_now - minute)}
    assert web.get("/api/jobs", query_string=before).json == []

    page = web.get("/jobs?within=1h").text
    assert page.count('id="job-') >= 2


def test_a_machine_that_slept_reads_the_clock_again(app: Any, monkeypatch: Any) -> None:
    steady = clock.steady
    with app.app_context():
        db.session.execute(text("SELECT 1"))
        db.session.rollback()
        monkeypatch.setattr(clock, "steady", lambda: steady() + 3600)
        assert clock.epoch() - time.time() > 3000
        db.session.execute(text("SELECT 1"))
        db.session.rollback()
        assert abs(clock.epoch() - time.time()) < 5
    clock.forget()


def test_a_connection_that_the_clock_finds_lost_is_replaced(
    test_env: Any, redis: Any, database_url: str
) -> None:
    app = create_app(config.load(test_env))
    client = app.test_client()
    assert client.post("/api/jobs", json={"type": "echo"}).status_code == 201
    with app.app_context():
        pool = db.engine.pool
        with db.engine.connect() as connection:
            pid = connection.scalar(text("SELECT pg_backend_pid()"))
        assert pool.checkedin() == 1  # type: ignore[attr-defined]
    other = psycopg2.connect(database_url)
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    other.close()
    clock.forget()

    assert client.post("/api/jobs", json={"type": "echo"}).status_code == 201
    with app.app_context(), db.engine.connect() as connection:
        assert connection.connection.dbapi_connection.autocommit is False  # type: ignore[union-attr]
