"""GET and DELETE /api/jobs/:id, its attempts and log, and /api/jobs/stats"""

from __future__ import annotations

import pytest

from tests import factories
from tests.api.conftest import NOWHERE, Api


@pytest.mark.parametrize("view", factories.BY_VIEW)
def test_get_returns_the_job(api: Api, have, view):
    job_id = have(factories.BY_VIEW[view], tags=["x"], payload={"a": 1})
    response = api.get(f"/api/jobs/{job_id}")
    assert response.status_code == 200
    job = response.json
    assert (job["id"], job["tags"], job["payload"]) == (job_id, ["x"], {"a": 1})
    assert job["status"] == ("pending" if view in ("scheduled", "retrying") else view)
    assert (job["nextRunAt"] is not None) == (view in ("scheduled", "retrying"))
    assert (job["finishedAt"] is not None) == (view in ("completed", "failed", "cancelled"))


def test_cancel_requested_is_shown(api: Api, have):
    job_id = have(factories.processing_job, cancel_requested=True)
    assert api.get(f"/api/jobs/{job_id}").json["cancelRequested"] is True


@pytest.mark.parametrize("result", [None, 1, 1.5, "x", [1, {"a": None}], {"a": 1}, True])
def test_a_result_is_any_json(api: Api, have, result):
    job_id = have(factories.completed_job, result=result)
    assert api.get(f"/api/jobs/{job_id}").json["result"] == result


MISSING = ["GET", "DELETE"]
BAD_IDS = [
    "1",
    "x",
    "01890a5d-ac96-774b-bcce-b302099a805",
    "01890a5dac96774bbcceb302099a8057",
    "%00",
    "..",
    "1'--",
    "ž",
]


@pytest.mark.parametrize("method", MISSING)
def test_an_unknown_id_is_404(api: Api, method):
    response = api.send(method, NOWHERE)
    assert (response.status_code, response.json["code"]) == (404, "job_not_found")


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/log"),
        ("POST", "/retry"),
        ("POST", "/cancel"),
        ("PATCH", ""),
    ],
)
def test_an_id_that_is_no_uuid_is_404(api: Api, bad, method, more):
    response = api.send(method, f"/api/jobs/{bad}{more}", {} if method == "PATCH" else None)
    assert response.status_code == 404


@pytest.mark.parametrize(
    "view", ["pending", "scheduled", "retrying", "completed", "failed", "cancelled"]
)
def test_delete_removes_the_job_and_everything_that_belongs_to_it(
    api: Api, have, stored, app, view
):
    job_id = have(factories.BY_VIEW[view])
    with app.app_context():
        from app.jobs.models import Job

        factories.attempt(factories.db.session.get(Job, job_id))
    response = api.delete(f"/api/jobs/{job_id}")
    assert (response.status_code, response.data) == (204, b"")
    assert stored() == stored("job_attempts") == stored("dead_letters") == []
    assert api.delete(f"/api/jobs/{job_id}").status_code == 404


def test_a_processing_job_is_not_deleted(api: Api, have, stored):
    job_id = have(factories.processing_job)
    before = stored()
    response = api.delete(f"/api/jobs/{job_id}")
    assert (response.status_code, response.json["code"]) == (409, "invalid_transition")
    assert stored() == before


def test_attempts_show_their_errors(api: Api, have, app):
    job_id = have(factories.failed_job)
    with app.app_context():
        from app.jobs.models import Job

        job = factories.db.session.get(Job, job_id)
        for number in (1, 2):
            factories.attempt(
                job, attempt=number, error=f"boom {number}", started_at=factories._now(number - 9)
            )
    attempts = api.get(f"/api/jobs/{job_id}/attempts").json
    assert [one["error"] for one in attempts] == ["boom 1", "boom 2"]
    assert api.get(f"{NOWHERE}/attempts").status_code == 404


def test_log_is_read_in_order_and_followed(api: Api, have, app):
    job_id = have(factories.completed_job)
    with app.app_context():
        from app.jobs.models import Job

        job = factories.db.session.get(Job, job_id)
        for word in ("one", "two", "three"):
            factories.log_line(job, word)
    lines = api.get(f"/api/jobs/{job_id}/log?limit=2").json
    assert [line["message"] for line in lines] == ["one", "two"]
    rest = api.get(f"/api/jobs/{job_id}/log?after={lines[-1]['id']}").json
    assert [line["message"] for line in rest] == ["three"]
    assert api.get(f"{NOWHERE}/log").status_code == 404
    assert list(api.get(f"/api/jobs/{job_id}/log?after=-1").json["errors"]) == ["after"]


def test_stats_count_every_status(api: Api, have):
    assert api.get("/api/jobs/stats").json == dict.fromkeys(
        ("pending", "processing", "completed", "failed", "cancelled"), 0
    )
    for factory in factories.BY_VIEW.values():
        have(factory)
    assert api.get("/api/jobs/stats").json == {
        "pending": 3,
        "processing": 1,
        "completed": 1,
        "failed": 1,
        "cancelled": 1,
    }
