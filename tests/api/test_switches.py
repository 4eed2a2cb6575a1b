"""/api/queues and /api/job-types with pause and resume, /api/workers"""

from __future__ import annotations

import pytest

from tests import factories
from tests.api.conftest import NOWHERE, Api


def named(response, name: str) -> dict:
    (found,) = [one for one in response.json if one["name"] == name]
    return found


def test_queues_show_waiting_jobs(api: Api, have):
    for _ in range(2):
        have(factories.pending_job, queue="q", due_in=-5)
    have(factories.scheduled_job, queue="q")
    have(factories.retrying_job, queue="q")
    have(factories.processing_job, queue="q")
    queue = named(api.get("/api/queues"), "q")
    assert queue.pop("oldestWaitSeconds") >= 5
    assert queue == {
        "name": "q",
        "isPaused": False,
        "limit": None,
        "pending": 4,
        "due": 2,
        "scheduled": 1,
        "retrying": 1,
        "isExact": True,
        "processing": 1,
        "completedPerMinute": 0.0,
    }
    assert api.get("/api/queues/q").json["pending"] == 4


def test_the_queues_of_known_types_are_there_before_their_first_job(api: Api):
    assert api.get("/api/queues/default").json["pending"] == 0


def test_pause_and_resume_a_queue(api: Api, have, stored):
    have(factories.pending_job, queue="q")
    for _ in range(2):
        assert api.post("/api/queues/q/pause").json["isPaused"] is True
    assert api.get("/api/queues/q").json["isPaused"] is True
    assert api.post("/api/jobs", {"type": "echo", "queue": "q"}).status_code == 201
    for _ in range(2):
        assert api.post("/api/queues/q/resume").json["isPaused"] is False
    actions = [
        (event["actor"], event["action"], event["subject"]) for event in stored("audit_events")
    ]
    assert actions[0] == ("api", "queue.pause", "q")
    assert actions[-1] == ("api", "queue.resume", "q")


def test_a_queue_may_be_paused_before_its_first_job(api: Api):
    assert api.post("/api/queues/to.come/pause").json["isPaused"] is True
    assert named(api.get("/api/queues"), "to.come")["isPaused"] is True
    assert api.post("/api/queues/to.come/resume").json["isPaused"] is False


@pytest.mark.parametrize("name", ["nope", "a%20b", "%00", "ž", "a%0a", "x" * 101])
def test_an_unknown_queue_is_404(api: Api, stored, name):
    assert api.get(f"/api/queues/{name}").status_code == 404
    assert api.post(f"/api/queues/{name}/resume").status_code == 404
    if name != "nope":
        assert api.post(f"/api/queues/{name}/pause").status_code == 404
    assert stored("queues") == []


def test_job_types_show_policy_payload_and_counts(api: Api, have):
    have(factories.failed_job, type="send-email")
    mail = named(api.get("/api/job-types"), "send-email")
    assert mail["isRegistered"] is True
    assert mail["counts"] == {
        "pending": 0,
        "processing": 0,
        "completed": 0,
        "failed": 1,
        "cancelled": 0,
    }
    assert (mail["queue"], mail["priority"], mail["maxAttempts"] >= 1) == ("default", 0, True)
    assert "to" in mail["payloadSchema"]["required"]
    assert mail["payloadSchema"]["additionalProperties"] is False
    assert named(api.get("/api/job-types"), "echo")["payloadSchema"] is None
    assert api.get("/api/job-types/send-email").json == mail


def test_a_type_without_code_on_this_server_is_listed(api: Api, have):
    have(factories.pending_job, type="from-elsewhere")
    foreign = api.get("/api/job-types/from-elsewhere").json
    assert (foreign["isRegistered"], foreign["maxAttempts"], foreign["counts"]["pending"]) == (
        False,
        None,
        1,
    )


def test_pause_and_resume_a_type(api: Api, stored):
    for _ in range(2):
        assert api.post("/api/job-types/echo/pause").json["isPaused"] is True
    assert api.get("/api/job-types/echo").json["isPaused"] is True
    assert api.post("/api/job-types/echo/resume").json["isPaused"] is False
    assert [event["subject"] for event in stored("audit_events")] == ["echo"] * 3


@pytest.mark.parametrize("name", ["nope", "%00", "a%20b"])
def test_an_unknown_type_is_404(api: Api, stored, name):
    for method, verb in (("GET", ""), ("POST", "/pause"), ("POST", "/resume")):
        response = api.send(method, f"/api/job-types/{name}{verb}")
        assert (response.status_code, response.json["code"]) == (404, "job_type_not_found")
    assert stored("pauses") == []


def test_pausing_takes_no_body(api: Api, stored):
    for path in ("/api/queues/default/pause", "/api/job-types/echo/pause"):
        response = api.post(path, {"forSeconds": 5})
        assert (response.status_code, list(response.json["errors"])) == (422, ["forSeconds"])
    assert stored("pauses") == []


def test_running_workers_come_first(api: Api, have):
    gone = have(factories.worker, stopped_ago=60)
    silent = have(factories.worker, silent_for=300)
    running = [
        {"jobId": NOWHERE[-36:], "type": "echo", "attempt": 1, "since": "2030-01-01T00:00:00.000Z"}
    ]
    busy = have(factories.worker, running=running, queues=["a"], completed=7)
    found = {worker["id"]: worker for worker in api.get("/api/workers").json}
    assert next(iter(found)) == busy
    assert {worker_id: found[worker_id]["state"] for worker_id in found} == {
        busy: "busy",
        silent: "silent",
        gone: "stopped",
    }
    assert (found[busy]["running"], found[busy]["queues"], found[busy]["completed"]) == (
        running,
        ["a"],
        7,
    )
    assert api.get(f"/api/workers/{busy}").json["id"] == busy


@pytest.mark.parametrize("unknown", [NOWHERE[-36:], "x", "%00"])
def test_an_unknown_worker_is_404(api: Api, unknown):
    assert api.get(f"/api/workers/{unknown}").status_code == 404
