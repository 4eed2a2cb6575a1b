"""POST /api/jobs/bulk (what it refuses: test_bad_input.py)"""

from __future__ import annotations

from app.jobs.models import AuditEvent
from tests.api.conftest import Api


def test_stores_all_in_order(api: Api, stored):
    jobs = [{"type": "echo", "payload": {"n": n}, "priority": n % 3} for n in range(250)]
    response = api.post("/api/jobs/bulk", {"jobs": jobs})
    assert response.status_code == 201
    assert response.json["count"] == 250
    by_id = {row["id"]: row for row in stored()}
    assert [by_id[job_id]["payload"]["n"] for job_id in response.json["ids"]] == list(range(250))


def test_ten_thousand_at_once(api: Api, redis):
    response = api.post("/api/jobs/bulk", {"jobs": [{"type": "echo"}] * 10_000})
    assert (response.status_code, len(set(response.json["ids"]))) == (201, 10_000)
    assert api.get("/api/jobs/stats").json["pending"] == 10_000
    assert redis.zcard("{jobs}:ready:default") == 10_000


def test_each_job_accepts_every_field(api: Api):
    body = {
        "type": "echo",
        "queue": "q",
        "priority": 5,
        "nextRunAt": "2030-01-01T00:00:00+01:00",
        "maxAttempts": 1,
        "timeoutSeconds": 0.5,
        "expiresAt": "2030-01-02T00:00:00Z",
        "uniqueKey": "k",
        "tags": ["t"],
    }
    (job_id,) = api.post("/api/jobs/bulk", {"jobs": [body]}).json["ids"]
    job = api.get(f"/api/jobs/{job_id}").json
    assert job["nextRunAt"] == "2029-12-31T23:00:00.000Z"
    assert job["expiresAt"] == "2030-01-02T00:00:00.000Z"
    for name in set(body) - {"nextRunAt", "expiresAt"}:
        assert job[name] == body[name]


def test_a_repeated_bulk_with_unique_keys_returns_the_live_jobs(api: Api, stored):
    jobs = [{"type": "echo", "uniqueKey": f"k{n}"} for n in range(5)]
    first = api.post("/api/jobs/bulk", {"jobs": jobs[:3]}).json["ids"]
    again = api.post("/api/jobs/bulk", {"jobs": jobs})
    assert again.status_code == 201
    assert again.json["ids"][:3] == first
    assert again.json["count"] == 5
    assert len(stored()) == 5


def test_the_same_unique_key_twice_in_one_bulk_makes_one_job(api: Api, stored):
    ids = api.post("/api/jobs/bulk", {"jobs": [{"type": "echo", "uniqueKey": "k"}] * 2}).json["ids"]
    assert ids[0] == ids[1] == str(stored()[0]["id"])


def test_the_creator_of_a_bulk_is_in_the_audit(api, session):
    api.client.post("/api/jobs/bulk", json={"jobs": [{"type": "echo"}] * 3})
    [event] = session.query(AuditEvent).all()
    assert (event.action, event.subject, event.details["count"]) == ("job.create", "3 jobs", 3)
