"""Only its own pages and programs can make changes on an open server (development, AUTH_DISABLED=1)."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories

OURS = "http://localhost"
CHANGES = ["/api/queues/default/pause", "/api/job-types/echo/pause", "/queues/default/pause",
           "/job-types/echo/pause", "/jobs/selected", "/jobs/all"]  # fmt: skip
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": OURS},
    {"Sec-Fetch-Site": "something new"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:3001"},
    {"Origin": "https://localhost"},
    {"Origin": "http://localhost.evil.example"},
]


@pytest.fixture(params=["development", "AUTH_DISABLED"])
def open_app(request: Any, app: Any, make: Any) -> Any:
    return app if request.param == "development" else make(AUTH_DISABLED="1")


@pytest.mark.parametrize("path", CHANGES)
def test_a_page_of_another_site_changes_nothing(open_app: Any, path: str) -> None:
    for headers in FOREIGN:
        answer = open_app.test_client().post(
            path, headers={"Content-Type": "text/plain", **headers}
        )
        assert answer.status_code == 403, headers
        if path.startswith("/api/"):
            assert answer.json["code"] == "cross_site"
            assert "CORS_ORIGIN" in answer.json["message"]


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_a_page_of_another_site_can_not_change_a_job(
    open_app: Any, session: Any, verb: str
) -> None:
    job = factories.pending_job()
    headers = {"Origin": "https://evil.example"}
    answer = open_app.test_client().post(f"/api/jobs/{job.id}/{verb}", headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "same-origin", "Origin": OURS}, {"Origin": OURS}, {"Sec-Fetch-Site": "none"},
     {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:5173"}, {"Origin": "http://localhost:5173"}],
    ids=str,
)  # fmt: skip
def test_programs_our_pages_and_allowed_origins_can_make_changes(
    open_app: Any, headers: dict[str, str]
) -> None:
    answer = open_app.test_client().post("/api/queues/default/pause", headers=headers)
    assert answer.status_code == 200


def test_an_allowed_origin_can_call_the_api_but_not_the_dashboard(open_app: Any) -> None:
    headers = {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:5173"}
    answer = open_app.test_client().post("/queues/default/pause", headers=headers)
    assert answer.status_code == 403


def test_reads_for_another_site_are_allowed(open_app: Any) -> None:
    # Whether a page may see the answer is up to CORS.
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert open_app.test_client().get("/api/jobs", headers=headers).status_code == 200
    assert open_app.test_client().get("/", headers=headers).status_code == 200


def test_a_request_with_a_token_can_come_from_any_site(closed: Any, bearer: Any) -> None:
    # No browser adds one by itself.
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    answer = closed.test_client().post(
        "/api/queues/default/pause", headers={**headers, **bearer("operator")}
    )
    assert answer.status_code == 200
