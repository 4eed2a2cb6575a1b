"""POST /api/jobs"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.api.conftest import Api

FIELDS = [
    "id", "type", "payload", "status", "attempts", "nextRunAt", "createdAt", "updatedAt", "queue", "priority",
    "maxAttempts", "crashes", "timeoutSeconds", "expiresAt", "uniqueKey", "tags", "progress", "result", "lastError",
    "cancelRequested", "startedAt", "finishedAt", "createdBy", "limit", "waitingFor",
]  # fmt: skip


def test_creates_the_job_of_the_documentation(api: Api, stored):
    body = {"type": "send-email", "payload": {"to": "user@example.com", "subject": "Welcome"}}
    response = api.post("/api/jobs", body)
    assert response.status_code == 201
    job = response.json
    assert list(job) == FIELDS
    assert {name: job[name] for name in ("type", "payload", "status", "attempts", "nextRunAt")} == {
        **body,
        "status": "pending",
        "attempts": 0,
        "nextRunAt": None,
    }
    assert UUID(job["id"]).version == 7
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", job["createdAt"])
    assert job["updatedAt"] == job["createdAt"]
    assert response.headers["Location"] == f"/api/jobs/{job['id']}"
    assert [row["id"] for row in stored()] == [job["id"]]


def test_the_response_equals_that_of_get(api: Api):
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {
        "type": "echo",
        "payload": {"n": 1, "x": 1.5, "deep": [{"a": None}], "text": "žluťoučký 🐎 \u2028"},
        "queue": "slow",
        "priority": -7,
        "nextRunAt": later,
        "maxAttempts": 9,
        "timeoutSeconds": 2.5,
        "expiresAt": "2099-12-31T23:59:59.999+02:00",
        "uniqueKey": "one",
        "tags": ["a", "ž"],
    }
    job = api.post("/api/jobs", body).json
    assert job == api.get(f"/api/jobs/{job['id']}").json
    for name in set(body) - {"nextRunAt", "expiresAt"}:
        assert job[name] == body[name]
    assert job["expiresAt"] == "2099-12-31T21:59:59.999Z"
    assert job["nextRunAt"] == later[:23] + "Z"


def test_payload_is_optional(api: Api):
    assert api.post("/api/jobs", {"type": "echo"}).json["payload"] == {}


def test_delay_sets_next_run_at_by_the_database_clock(api: Api):
    job = api.post("/api/jobs", {"type": "echo", "delay": 90.5}).json
    gap = datetime.fromisoformat(job["nextRunAt"]) - datetime.fromisoformat(job["createdAt"])
    assert gap == timedelta(seconds=90.5)
    assert job["status"] == "pending"


def test_a_time_in_the_past_means_now(api: Api):
    job = api.post("/api/jobs", {"type": "echo", "nextRunAt": "2020-01-01T00:00:00Z"}).json
    assert job["nextRunAt"] is None


def test_null_means_not_given_where_a_job_may_have_null(api: Api):
    body = dict.fromkeys(("nextRunAt", "delay", "timeoutSeconds", "expiresAt", "uniqueKey"))
    job = api.post("/api/jobs", {"type": "echo", **body}).json
    assert (job["nextRunAt"], job["uniqueKey"]) == (None, None)


def test_it_is_published(api: Api, redis):
    due = api.post("/api/jobs", {"type": "echo"}).json
    later = api.post("/api/jobs", {"type": "echo", "delay": 60}).json
    assert redis.zrange("{jobs}:ready:default", 0, -1) == [UUID(due["id"]).hex.encode()]
    assert redis.zrange("{jobs}:delayed", 0, -1) == [UUID(later["id"]).hex.encode()]


def test_numbers_survive_as_they_are(api: Api):
    payload = {"big": 2**63 + 1, "huge": 10**300, "small": 1e-300, "negative": -0.5}
    job = api.post("/api/jobs", {"type": "echo", "payload": payload}).json
    assert api.get(f"/api/jobs/{job['id']}").json["payload"] == payload


def test_a_payload_at_the_depth_limit_is_stored_and_read(api: Api):
    payload: dict = {}
    for _ in range(99):
        payload = {"a": payload}
    job = api.post("/api/jobs", {"type": "echo", "payload": payload}).json
    assert api.get(f"/api/jobs/{job['id']}").json["payload"] == payload


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", ";charset=UTF-8"])
def test_content_type_may_name_its_charset(api: Api, charset):
    headers = {"Content-Type": f"application/json{charset}"}
    assert api.post("/api/jobs", data=b'{"type":"echo"}', headers=headers).status_code == 201


def test_unknown_type_lists_the_known_ones(api: Api, stored):
    response = api.post("/api/jobs", {"type": "send-emial"})
    assert response.status_code == 422
    assert response.json["code"] == "unknown_job_type"
    assert "send-email" in response.json["errors"]["type"][0]
    assert stored() == []


def test_payload_is_checked_by_its_type(api: Api, stored):
    response = api.post("/api/jobs", {"type": "send-email", "payload": {"subject": "Hi"}})
    assert response.status_code == 422
    assert list(response.json["errors"]) == ["payload.to"]
    assert stored() == []


def test_a_live_unique_key_returns_200_with_the_live_job(api: Api, stored):
    first = api.post("/api/jobs", {"type": "echo", "uniqueKey": "k", "payload": {"n": 1}})
    again = api.post("/api/jobs", {"type": "echo", "uniqueKey": "k", "payload": {"n": 2}})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json == first.json
    assert again.headers["Location"] == first.headers["Location"]
    assert len(stored()) == 1


def test_a_unique_key_is_free_again_once_its_job_is_final(api: Api):
    first = api.post("/api/jobs", {"type": "echo", "uniqueKey": "k"}).json
    api.post(f"/api/jobs/{first['id']}/cancel")
    assert api.post("/api/jobs", {"type": "echo", "uniqueKey": "k"}).status_code == 201
