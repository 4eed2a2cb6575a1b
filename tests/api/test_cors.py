"""Cross-origin requests by CORS_ORIGIN."""

from __future__ import annotations

import pytest

from tests.api.conftest import NOWHERE

OURS, FOREIGN = "http://localhost:5173", "https://evil.example"


def preflight(client, path: str, origin: str, method: str = "POST"):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,idempotency-key",
    }
    return client.options(path, headers=headers)


def test_preflight_of_an_allowed_origin(client):
    response = preflight(client, "/api/jobs", OURS)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == OURS
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"content-type", "authorization", "idempotency-key", "x-request-id"} <= set(allowed)
    assert int(response.headers["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_preflight_names_the_methods_of_the_path(client, method):
    response = preflight(client, NOWHERE, OURS, method)
    assert method in response.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize(
    "origin", [FOREIGN, "null", "http://localhost:5173.evil.example", "HTTP://LOCALHOST:5173/", ""]
)
def test_other_origins_get_no_permission(client, origin):
    for response in (
        preflight(client, "/api/jobs", origin),
        client.get("/api/jobs", headers={"Origin": origin}),
    ):
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]
        assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/jobs", 200),
        ("/health", 200),
        (NOWHERE, 404),
        ("/api/nope", 404),
        ("/api/jobs?x=1", 422),
    ],
)
def test_an_allowed_origin_can_read_all_responses_including_errors(client, path, status):
    response = client.get(path, headers={"Origin": OURS})
    assert response.status_code == status
    assert response.headers["Access-Control-Allow-Origin"] == OURS
    exposed = set(response.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"Link", "Location", "Retry-After", "X-Next-Cursor", "X-Request-Id"} <= exposed


def test_without_an_origin_the_response_still_varies(client):
    response = client.get("/api/jobs")
    assert "Access-Control-Allow-Origin" not in response.headers
    assert "Origin" in response.headers["Vary"]


def test_other_origins_cannot_read_dashboard_pages(client):
    response = client.get("/", headers={"Origin": OURS})
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    ("setting", "origin", "expected"),
    [
        ("https://a.example,https://b.example", "https://b.example", "https://b.example"),
        ("https://a.example", OURS, None),
        ("*", FOREIGN, "*"),
    ],
)
def test_origins_are_a_setting(test_env, setting, origin, expected):
    from app import config, create_app

    client = create_app(config.load({**test_env, "CORS_ORIGIN": setting})).test_client()
    response = client.get("/api/jobs", headers={"Origin": origin})
    assert response.headers.get("Access-Control-Allow-Origin") == expected
