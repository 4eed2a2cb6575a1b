"""A client that holds every answer against the OpenAPI document, and rows to ask about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import psycopg2
import psycopg2.extras
import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from app.api.http.openapi import camel, document
from app.dev.instance import free_port


class Api:
    """A test client; each method is a request whose answer is checked before it is returned."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.client: FlaskClient = app.test_client()

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.send("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        return self.send("POST", path, body, **more)

    def patch(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        return self.send("PATCH", path, body, **more)

    def delete(self, path: str, **more: Any) -> TestResponse:
        return self.send("DELETE", path, **more)

    def send(self, method: str, path: str, body: Any = None, **more: Any) -> TestResponse:
        if body is not None:
            more["json"] = body
        response = self.client.open(path, method=method, **more)
        check(self.app, method, path, body, response)
        return response


def check(app: Any, method: str, path: str, body: Any, response: TestResponse) -> None:
    """That the document tells of this answer, and of this body if it was taken."""
    assert "Origin" in response.headers["Vary"]
    if response.status_code >= 400:
        assert b"Traceback" not in response.data
    described = _operation(app, method, path)
    if described is None:
        assert response.status_code in (404, 405)
        _conforms({"$ref": "#/components/schemas/Error"}, response.json)
        return
    answer = described["responses"][str(response.status_code)]
    if "content" in answer:
        assert response.content_type == "application/json"
        _conforms(answer["content"]["application/json"]["schema"], response.json)
    else:
        assert response.data == b""
        assert "Content-Type" not in response.headers
    if response.status_code < 300:
        undocumented = {"Link", "Location", "X-Next-Cursor"} - set(answer.get("headers", ()))
        assert not undocumented & set(response.headers.keys())
    if response.status_code < 300 and body is not None and "requestBody" in described:
        _conforms(described["requestBody"]["content"]["application/json"]["schema"], body)


def _operation(app: Any, method: str, path: str) -> dict[str, Any] | None:
    try:
        endpoint, _ = app.url_map.bind("localhost").match(path.partition("?")[0], method)
    except HTTPException:
        return None
    name = camel(endpoint.removeprefix("api."))
    for operations in document()["paths"].values():
        for described in operations.values():
            if described["operationId"] == name:
                return described  # type: ignore[no-any-return]
    raise AssertionError(f"{endpoint} is not in the document")


def _conforms(schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": _closed_components()}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


@cache
def _closed_components() -> dict[str, Any]:
    """The components, whose answers are open in the document; a test shall see every new field."""
    found = deepcopy(document()["components"])
    for schema in found["schemas"].values():
        schema.setdefault("additionalProperties", False)
    return found


@pytest.fixture
def api(app: Any, redis: Any) -> Api:
    return Api(app)


@pytest.fixture
def have(app: Any, redis: Any) -> Callable[..., str]:
    """``have(failed_job, attempts=3)``: makes the row, gives its id (a name where it has none)."""

    def make(factory: Callable[..., Any], **columns: Any) -> str:
        with app.app_context():
            row = factory(**columns)
            key = next(name for name in ("id", "name", "type") if hasattr(row, name))
            return str(getattr(row, key))

    return make


@pytest.fixture
def stored(database_url: str) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """``stored()``: the jobs in the database; ``stored("job_keys")``: another table."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True

    def rows(table: str = "jobs") -> list[dict[str, Any]]:
        with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(f"SELECT * FROM {table} ORDER BY 1")
            return [dict(row) for row in cursor.fetchall()]

    yield rows
    connection.close()


NOWHERE = "/api/jobs/01890a5d-ac96-774b-bcce-b302099a8057"
JSON = {"Content-Type": "application/json"}


def deep(levels: int) -> str:
    """A payload of so many nested objects, as text."""
    return '{"a":' * levels + "1" + "}" * levels


def text_of(value: Any) -> str:
    return json.dumps(value)


@pytest.fixture(scope="session")
def lost_app(test_env: dict[str, str]) -> Any:
    """The application where nothing listens: no PostgreSQL, no Redis."""
    from app import config, create_app

    nowhere = f"127.0.0.1:{free_port()}"
    env = {
        **test_env,
        "DATABASE_URL": f"postgresql://u:p@{nowhere}/x",
        "REDIS_URL": f"redis://{nowhere}/0",
    }
    return create_app(config.load(env))


@pytest.fixture
def lost_api(lost_app: Any) -> Api:
    return Api(lost_app)
