"""Wrong paths and methods, a database that is away, and our own mistakes."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.api.conftest import JSON, NOWHERE, Api

METHODS = {
    "/api/jobs": "GET, HEAD, OPTIONS, POST",
    "/api/jobs/bulk": "OPTIONS, POST",
    "/api/jobs/stats": "GET, HEAD, OPTIONS",
    NOWHERE: "DELETE, GET, HEAD, OPTIONS, PATCH",
    f"{NOWHERE}/retry": "OPTIONS, POST",
    "/api/dead-letters": "GET, HEAD, OPTIONS",
    "/api/queues/default/pause": "OPTIONS, POST",
    "/api/job-types": "GET, HEAD, OPTIONS",
    "/api/workers": "GET, HEAD, OPTIONS",
    "/api/openapi.json": "GET, HEAD, OPTIONS",
    "/health": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize("path", METHODS)
def test_a_wrong_method_is_405_with_allow(api: Api, path):
    for method in ("PUT", "DELETE", "PATCH", "GET", "POST", "TRACE", "FOO"):
        if method in METHODS[path]:
            continue
        response = api.send(method, path)
        assert (response.status_code, response.json["code"]) == (405, "method_not_allowed")
        assert response.headers["Allow"] == METHODS[path]


@pytest.mark.parametrize("path", METHODS)
def test_options_lists_the_methods(api: Api, path):
    response = api.client.options(path)
    assert response.status_code == 200
    assert sorted(response.headers["Allow"].split(", ")) == METHODS[path].split(", ")


def test_head_returns_no_body(api: Api):
    response = api.client.head("/api/jobs")
    assert (response.status_code, response.data) == (200, b"")
    assert response.content_length == 3


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/nope",
        "/api/jobs/",
        "/api/jobs/a/b/c",
        "/api/Jobs",
        "/api/%00",
        "/api/%ff",
        "/health/",
        "/api/../x",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_404(api: Api, path, method):
    response = api.send(method, path)
    assert (response.status_code, response.json["code"]) == (404, "not_found")


def test_a_double_slash_redirects_to_the_right_path(api: Api):
    assert api.client.get("/api//jobs", follow_redirects=True).status_code == 200


def test_pages_keep_their_own_errors(app):
    response = app.test_client().get("/nope")
    assert (response.status_code, response.mimetype) == (404, "text/html")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/jobs", {"type": "echo"}),
        ("POST", "/api/jobs/bulk", {"jobs": [{"type": "echo"}]}),
        ("GET", "/api/jobs", None),
        ("GET", "/api/jobs/stats", None),
        ("GET", NOWHERE, None),
        ("POST", f"{NOWHERE}/retry", None),
        ("PATCH", NOWHERE, {"priority": 1}),
        ("DELETE", NOWHERE, None),
        ("GET", "/api/dead-letters", None),
        ("GET", "/api/queues", None),
        ("GET", "/api/workers", None),
        ("GET", "/api/job-types", None),
    ],
)
def test_without_postgresql_everything_is_503_with_retry_after(lost_api: Api, method, path, body):
    response = lost_api.send(method, path, body)
    assert (response.status_code, response.json["code"]) == (503, "database_unavailable")
    assert int(response.headers["Retry-After"]) > 0


def test_both_parsers_agree_with_an_idempotency_key(lost_api: Api):
    headers = {"Idempotency-Key": "k"}
    assert lost_api.post("/api/jobs", {"type": "echo"}, headers=headers).status_code == 503


def test_bad_input_needs_no_database(lost_api: Api):
    assert lost_api.post("/api/jobs", {"type": "nope"}).status_code == 422
    assert lost_api.post("/api/jobs", data=b"{", headers=JSON).status_code == 400


def test_requests_work_after_the_server_dropped_connections(api: Api, app):
    api.post("/api/jobs", {"type": "echo"})
    for _ in range(2):
        with app.app_context():
            from app.extensions import db

            db.session.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        statuses = {api.post("/api/jobs", {"type": "echo"}).status_code for _ in range(10)}
        assert statuses <= {201, 503}
        assert api.post("/api/jobs", {"type": "echo"}).status_code == 201


def test_an_internal_error_is_500_without_its_cause(api: Api, stored, database_url, caplog):
    """The table is gone: no detail may reach the client."""
    import psycopg2

    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("ALTER TABLE workers RENAME TO workers_secret")
    try:
        response = api.client.get("/api/workers")
    finally:
        cursor.execute("ALTER TABLE workers_secret RENAME TO workers")
        connection.close()
    assert response.status_code == 500
    assert response.json == {
        "message": "Something went wrong on our side; find the cause in the server's log by the X-Request-Id.",
        "code": "internal_error",
    }
    assert "UndefinedTable" in caplog.text


def test_values_that_only_the_database_rejects_are_422(api: Api, stored, database_url):
    import psycopg2

    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("ALTER TABLE jobs ADD CONSTRAINT ck_test CHECK (priority <> 42)")
    try:
        response = api.post("/api/jobs", {"type": "echo", "priority": 42})
    finally:
        cursor.execute("ALTER TABLE jobs DROP CONSTRAINT ck_test")
        connection.close()
    assert (response.status_code, response.json["code"]) == (422, "validation_failed")
    assert "ck_test" not in response.text
    assert stored() == []


def test_an_error_is_valid_json_even_when_it_echoes_half_a_character(api: Api):
    response = api.post("/api/jobs", data=b'{"type":"echo\\ud83d"}', headers=JSON)
    assert response.status_code == 422
    response = api.post("/api/jobs", {"type": "✗"})
    assert "✗" in response.json["message"]


def test_every_response_has_a_request_id(api: Api):
    first, second = api.get("/api/jobs"), api.get("/api/nope")
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]
    assert len(first.headers["X-Request-Id"]) == 32


def test_the_callers_request_id_comes_back_if_it_is_sane(api: Api):
    for sent, is_kept in (
        ("abc-1.2:3", True),
        ("a b", False),
        ("x" * 129, False),
        ("<script>", False),
    ):
        response = api.get("/api/jobs", headers={"X-Request-Id": sent})
        assert (response.headers["X-Request-Id"] == sent) == is_kept
