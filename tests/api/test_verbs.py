"""POST /api/jobs/:id/retry and /cancel, PATCH /api/jobs/:id: every verb from every status."""

from __future__ import annotations

import pytest

from tests import factories
from tests.api.conftest import NOWHERE, Api

VIEWS = list(factories.BY_VIEW)


def set_to(status: str):
    return lambda api, job_id: api.patch(f"/api/jobs/{job_id}", {"status": status})


def post(verb: str):
    return lambda api, job_id: api.post(f"/api/jobs/{job_id}/{verb}")


def change(api: Api, job_id: str):
    return api.patch(f"/api/jobs/{job_id}", {"priority": 7})


#: Verb → view → the status code and the status after it.
SAME = {view: (409, "pending" if view in ("scheduled", "retrying") else view) for view in VIEWS}
RETRIED = SAME | {"failed": (200, "pending"), "cancelled": (200, "pending")}
CANCELLED = (
    SAME
    | dict.fromkeys(("pending", "scheduled", "retrying", "cancelled"), (200, "cancelled"))
    | {"processing": (200, "processing")}
)
TABLE = {
    "retry": (post("retry"), {view: (400 if code == 409 else code, status) for view, (code, status) in RETRIED.items()}),
    "run": (post("run"), SAME | dict.fromkeys(("pending", "scheduled", "retrying"), (200, "pending"))),
    "status pending": (set_to("pending"), RETRIED),
    "cancel": (post("cancel"), CANCELLED),
    "status cancelled": (set_to("cancelled"), CANCELLED),
    "status processing": (set_to("processing"), SAME),
    "status completed": (set_to("completed"), SAME),
    "status failed": (set_to("failed"), SAME),
    "edit": (change, {view: (200 if view not in ("processing", "completed") else code, status) for view, (code, status) in SAME.items()}),
}  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("verb", TABLE)
def test_every_verb_from_every_status(api: Api, have, stored, verb, view):
    do, expected = TABLE[verb]
    job_id = have(factories.BY_VIEW[view])
    before = stored()
    response = do(api, job_id)
    code, status = expected[view]
    assert response.status_code == code
    (row,) = stored()
    assert row["status"] == status
    if code == 200:
        assert response.json == api.get(f"/api/jobs/{job_id}").json
    else:
        assert response.json["code"] == "invalid_transition"
        assert [row] == before


@pytest.mark.parametrize("verb", TABLE)
def test_every_verb_on_nothing_is_404(api: Api, verb):
    response = TABLE[verb][0](api, NOWHERE[-36:])
    assert (response.status_code, response.json["code"]) == (404, "job_not_found")


def test_retry_resets_attempts_and_publishes(api: Api, have, stored, redis):
    job_id = have(factories.failed_job, attempts=5, crashes=2)
    job = api.post(f"/api/jobs/{job_id}/retry").json
    assert [job[name] for name in ("status", "attempts", "crashes", "lastError", "finishedAt", "nextRunAt")] == [
        "pending", 0, 0, None, None, None,
    ]  # fmt: skip
    assert redis.zcard("{jobs}:ready:default") == 1
    (letter,) = stored("dead_letters")
    assert (letter["closed_how"], letter["closed_by"]) == ("retried", "api")


def test_retry_of_a_cancelled_schedule_restores_it(api: Api, have, stored, redis):
    job_id = have(factories.scheduled_job, due_in=9000)
    at = api.get(f"/api/jobs/{job_id}").json["nextRunAt"]
    api.post(f"/api/jobs/{job_id}/cancel")
    job = api.post(f"/api/jobs/{job_id}/retry").json
    assert (job["status"], job["attempts"], job["nextRunAt"]) == ("pending", 0, at)
    assert redis.zcard("{jobs}:ready:default") == 0
    assert redis.zcard("{jobs}:delayed") == 1


@pytest.mark.parametrize("view", ["scheduled", "retrying"])
def test_run_now_publishes_as_due(api: Api, have, stored, redis, view):
    job_id = have(factories.BY_VIEW[view])
    job = api.post(f"/api/jobs/{job_id}/run").json
    assert (job["status"], job["nextRunAt"]) == ("pending", None)
    assert redis.zcard("{jobs}:ready:default") == 1
    (event,) = stored("audit_events")
    assert (event["action"], event["subject"]) == ("job.run", str(job_id))


def test_a_second_retry_is_400(api: Api, have):
    job_id = have(factories.failed_job)
    assert api.post(f"/api/jobs/{job_id}/retry").status_code == 200
    assert api.post(f"/api/jobs/{job_id}/retry").status_code == 400


@pytest.mark.parametrize("way", ["retry", "status pending"])
def test_a_retry_against_a_live_unique_key_is_409(api: Api, have, stored, way):
    job_id = have(factories.failed_job, unique_key="k")
    have(factories.pending_job, unique_key="k")
    before = stored()
    response = TABLE[way][0](api, job_id)
    assert (response.status_code, response.json["code"]) == (409, "unique_conflict")
    assert stored() == before


def test_cancelling_a_processing_job_requests_it_to_stop(api: Api, have):
    job_id = have(factories.processing_job)
    for _ in range(2):
        job = api.post(f"/api/jobs/{job_id}/cancel").json
        assert (job["status"], job["cancelRequested"]) == ("processing", True)


def test_a_patch_changes_only_the_fields_it_contains(api: Api, have):
    job_id = have(factories.scheduled_job, tags=["old"], payload={"a": 1}, unique_key="k")
    before = api.get(f"/api/jobs/{job_id}").json
    changes = {
        "payload": {"b": [2]},
        "priority": -100,
        "queue": "other",
        "nextRunAt": "2030-05-04T10:00:00.123+02:00",
        "maxAttempts": 100,
        "tags": [],
    }
    after = api.patch(f"/api/jobs/{job_id}", changes).json
    expected = {
        **before,
        **changes,
        "nextRunAt": "2030-05-04T08:00:00.123Z",
        "updatedAt": after["updatedAt"],
    }
    assert after == expected == api.get(f"/api/jobs/{job_id}").json
    assert after["updatedAt"] > before["updatedAt"]


def test_a_patch_is_published(api: Api, have, redis):
    job_id = have(factories.scheduled_job)
    api.patch(f"/api/jobs/{job_id}", {"nextRunAt": "2030-01-01T00:00:00Z"})
    assert redis.zcard("{jobs}:delayed") == 1
    assert api.patch(f"/api/jobs/{job_id}", {"nextRunAt": None}).json["nextRunAt"] is None
    assert (redis.zcard("{jobs}:delayed"), redis.zcard("{jobs}:ready:default")) == (0, 1)


def test_a_patched_payload_is_checked_by_its_type(api: Api, have, stored):
    job_id = have(
        factories.pending_job, type="send-email", payload={"to": "a@b.cz", "subject": "Hi"}
    )
    before = stored()
    response = api.patch(f"/api/jobs/{job_id}", {"payload": {"to": 1}})
    assert response.status_code == 422
    assert "payload.to" in response.json["errors"]
    assert stored() == before


def test_one_patch_fixes_the_payload_and_retries(api: Api, have):
    job_id = have(factories.failed_job, payload={"n": 1})
    job = api.patch(f"/api/jobs/{job_id}", {"payload": {"n": 2}, "status": "pending"}).json
    assert (job["payload"], job["status"], job["attempts"]) == ({"n": 2}, "pending", 0)


@pytest.mark.parametrize(
    ("view", "changes"),
    [
        ("pending", {"priority": 5, "status": "pending"}),
        ("pending", {"priority": 5, "status": "completed"}),
        ("processing", {"priority": 5, "status": "cancelled"}),
        ("failed", {"priority": 5, "status": "cancelled"}),
    ],
)
def test_a_patch_is_all_or_nothing(api: Api, have, stored, redis, view, changes):
    job_id = have(factories.BY_VIEW[view])
    before = stored()
    assert api.patch(f"/api/jobs/{job_id}", changes).status_code == 409
    assert stored() == before
    assert stored("audit_events") == []
    assert redis.zcard("{jobs}:ready:default") == 0


def test_changes_are_audited(api: Api, have, stored):
    job_id = have(factories.failed_job)
    api.post(f"/api/jobs/{job_id}/retry")
    api.patch(f"/api/jobs/{job_id}", {"priority": 1})
    api.post(f"/api/jobs/{job_id}/cancel")
    api.delete(f"/api/jobs/{job_id}")
    events = [
        (event["actor"], event["action"], event["subject"]) for event in stored("audit_events")
    ]
    assert events == [
        ("api", f"job.{verb}", job_id) for verb in ("retry", "edit", "cancel", "delete")
    ]
