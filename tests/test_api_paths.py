"""Requests for the API get JSON errors and CORS headers; all others are the dashboard's."""

from __future__ import annotations

import pytest

from app.api_paths import is_api_path
from app.errors import InvalidHost
from app.security.refusals import refusal

API = [
    "/api", "/api/", "/api/jobs", "/api/nope", "/health", "/health/", "/health/x", "/metrics", "/metrics/", "/metrics/x",
]  # fmt: skip
OTHERS = [
    "", "/", "/apiary", "/api-docs", "/healthy", "/metricsx", "/jobs", "/jobs/api/", "/job-types", "/static/api/x", "/API/jobs",
]  # fmt: skip


@pytest.mark.parametrize("path", API)
def test_a_path_of_the_api(path):
    assert is_api_path(path)


@pytest.mark.parametrize("path", OTHERS)
def test_a_path_of_the_dashboard(path):
    assert not is_api_path(path)


@pytest.mark.parametrize("path", API)
def test_an_unknown_path_or_method_of_the_api_gets_json(client, path):
    response = client.delete(path)
    assert response.status_code in (404, 405)
    assert response.json["code"] in ("not_found", "method_not_allowed")
    assert response.headers.getlist("Cache-Control") == ["no-store"]
    assert response.headers["X-Request-Id"]


@pytest.mark.parametrize("path", ["/apiary", "/healthy", "/metricsx"])
def test_an_unknown_path_of_the_dashboard_gets_its_page(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert "<title>Page not found" in response.text
    assert "X-Request-Id" not in response.headers


@pytest.mark.parametrize("path", ["/api", "/health", "/metrics"])
def test_a_refusal_around_flask_is_json_for_the_api(path):
    _, headers, _ = refusal(InvalidHost(), path)
    assert dict(headers)["Content-Type"] == "application/json"
    _, headers, _ = refusal(InvalidHost(), f"{path}ary")
    assert dict(headers)["Content-Type"] == "text/plain; charset=utf-8"


def test_metrics_are_never_stored(client):
    assert client.get("/metrics").headers.getlist("Cache-Control") == ["no-store"]
