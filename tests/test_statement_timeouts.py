"""Statements of the web server are limited for all request methods; those of a worker are not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg2
import pytest
from sqlalchemy import text

from app import config, create_app, statement_timeouts
from app.extensions import db
from tests.support.pgbouncer import pgbouncer


@pytest.fixture
def impatient(test_env, monkeypatch):
    """An application whose statements have 0.3 s."""
    monkeypatch.setattr(statement_timeouts, "SECONDS", 0.3)
    app = create_app(config.load(test_env))
    app.config["WTF_CSRF_ENABLED"] = False
    return app


@pytest.fixture
def locked(database_url) -> Iterator[None]:
    """Whoever touches jobs waits."""
    connection = psycopg2.connect(database_url)
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
    yield
    connection.close()


NOWHERE = "01890a5d-ac96-774b-bcce-b302099a8057"
JOB = f"/api/jobs/{NOWHERE}"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/jobs?search=zzzz", None),
        ("HEAD", "/api/jobs?search=zzzz", None),
        ("GET", JOB, None),
        ("POST", "/api/jobs", {"type": "echo"}),
        ("POST", f"{JOB}/cancel", None),
        ("PATCH", JOB, {"priority": 1}),
        ("DELETE", JOB, None),
    ],
)
def test_the_api_returns_503_in_time(impatient, locked, method, path, body):
    started = time.monotonic()
    answer = impatient.test_client().open(path, method=method, json=body)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    if method != "HEAD":
        assert answer.json["code"] == "query_too_slow"
        assert "did not finish in time" in answer.json["message"]
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs/all?q=zzzz"),
        ("HEAD", "/jobs/all?q=zzzz"),
        ("GET", "/jobs"),
        ("POST", f"/jobs/{NOWHERE}/retry"),
        ("POST", f"/jobs/{NOWHERE}/delete"),
    ],
)
def test_the_dashboard_returns_503_in_time(impatient, locked, method, path):
    started = time.monotonic()
    answer = impatient.test_client().open(path, method=method)
    assert answer.status_code == 503
    if method != "HEAD":
        assert "did not finish in time" in answer.text
    assert time.monotonic() - started < 3


def limit_of(app) -> str:
    with app.app_context():
        return db.session.execute(text("SHOW statement_timeout")).scalar_one()


def test_a_process_without_requests_has_no_limit(test_env):
    app = create_app(config.load(test_env))
    assert limit_of(app) == "0"
    app.test_client().get("/api/jobs/stats")
    assert limit_of(app) == "5s"


def test_other_threads_of_the_web_server_have_the_limit(test_env):
    app = create_app(config.load(test_env))
    app.test_client().get("/health")
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(limit_of(app)))
    thread.start()
    thread.join()
    assert found == ["5s"]


def test_a_bulk_write_has_a_higher_limit_only_in_its_transaction(test_env):
    app = create_app(config.load(test_env))
    with app.test_request_context("/api/jobs/stats"):
        app.preprocess_request()
        statement_timeouts.allow_bulk(db.session)
        assert db.session.execute(text("SHOW statement_timeout")).scalar_one() == "1min"
        db.session.commit()
        assert db.session.execute(text("SHOW statement_timeout")).scalar_one() == "5s"


def test_a_worker_gets_no_limit_from_a_bulk_action(test_env):
    app = create_app(config.load(test_env))
    with app.app_context():
        statement_timeouts.allow_bulk(db.session)
        assert db.session.execute(text("SHOW statement_timeout")).scalar_one() == "0"


@pytest.mark.parametrize("ignored", ["extra_float_digits", "options, statement_timeout"])
def test_behind_a_pooler_the_limit_applies_only_to_us(
    test_env, database_url, monkeypatch, locked, ignored
):
    monkeypatch.setattr(statement_timeouts, "SECONDS", 0.3)
    with pgbouncer(database_url, size=2, ignored=ignored) as url:
        app = create_app(config.load({**test_env, "DATABASE_URL": url}))
        client = app.test_client()
        for method, path in (("POST", "/api/jobs"), ("GET", JOB), ("POST", f"{JOB}/cancel")):
            answer = client.open(
                path, method=method, json={"type": "echo"} if path == "/api/jobs" else None
            )
            assert (answer.status_code, answer.json["code"]) == (503, "query_too_slow")
        # Whoever gets those connections of the pooler next has no limit of ours.
        strangers = [psycopg2.connect(url) for _ in range(2)]
        for stranger in strangers:
            with stranger.cursor() as cursor:
                cursor.execute("SHOW statement_timeout")
                assert cursor.fetchone() == ("0",)
        for stranger in strangers:
            stranger.close()
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
