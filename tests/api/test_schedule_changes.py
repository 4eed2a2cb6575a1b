"""/api/schedules: create, change, delete, pause, resume, run."""

from __future__ import annotations

import pytest

from tests import factories as make
from tests.api.conftest import Api
from tests.api.test_schedules import FIELDS, errors_of

NEW = {"name": "nightly", "type": "echo", "payload": {"n": 1}, "cron": "30 2 * * *", "timeZone": "Europe/Berlin"}  # fmt: skip


@pytest.fixture
def code_schedule(api: Api) -> str:
    with api.app.app_context():
        make.schedule("of-code", source="code")
    return "of-code"


def events(stored) -> list[tuple[str, str]]:
    return [(event["action"], event["subject"]) for event in stored("audit_events")]


def test_creates_a_schedule_with_its_defaults(api: Api, stored):
    response = api.post("/api/schedules", NEW)

    assert response.status_code == 201
    assert response.headers["Location"] == "/api/schedules/nightly"
    schedule = response.json
    assert list(schedule) == FIELDS
    assert schedule["nextRunAt"] is not None
    assert schedule | NEW == schedule
    assert {name: schedule[name] for name in FIELDS if schedule[name] is not None} | NEW == {
        **NEW,
        "source": "api",
        "tags": [],
        "startsAt": schedule["startsAt"],
        "overlap": "skip",
        "missed": "one",
        "missedWithinSeconds": 86400,
        "jitterSeconds": 0,
        "description": "At 02:30 every day, Europe/Berlin",
        "state": "active",
        "nextRunAt": schedule["nextRunAt"],
        "createdBy": schedule["createdBy"],
        "createdAt": schedule["createdAt"],
        "updatedAt": schedule["updatedAt"],
    }
    assert api.get("/api/schedules/nightly").json == schedule
    assert events(stored) == [("schedule.create", "nightly")]


def test_every_field_is_stored(api: Api):
    body = {
        **NEW, "queue": "slow", "priority": -5, "maxAttempts": 3, "timeoutSeconds": 1.5, "tags": ["a"],
        "uniqueKey": "one", "startsAt": "2026-01-01T00:00:00.000Z", "endsAt": "2099-01-01T00:00:00.000Z",
        "overlap": "allow", "missed": "all", "missedWithinSeconds": 60, "jitterSeconds": 30, "tickField": "for",
    }  # fmt: skip

    schedule = api.post("/api/schedules", body).json

    assert schedule | body == schedule


def test_an_interval(api: Api):
    schedule = api.post(
        "/api/schedules", {"name": "often", "type": "echo", "everySeconds": 90}
    ).json

    assert schedule["description"] == "Every 90 seconds"
    assert (schedule["cron"], schedule["everySeconds"], schedule["timeZone"]) == (None, 90, "UTC")


def test_a_name_is_taken(api: Api):
    api.post("/api/schedules", NEW)

    response = api.post("/api/schedules", NEW)

    assert (response.status_code, response.json) == (409, {
        "code": "schedule_exists",
        "message": "There is already a schedule named nightly; change it with PATCH, or replace it with PUT.",
    })  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"cron": None}, "cron", "give exactly one of cron and everySeconds."),
        ({"everySeconds": 60}, "cron", "give exactly one of cron and everySeconds."),
        ({"cron": "0 0 30 2 *"}, "cron", "never comes up: no month it names has a day 30."),
        ({"cron": "@reboot"}, "cron", "@reboot is not known; @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually are."),
        ({"timeZone": "Europe/Berln"}, "timeZone", "is not a time zone of the IANA database; did you mean Europe/Berlin?"),
        ({"timeZone": "+02:00"}, "timeZone", "is not a time zone of the IANA database; offsets and abbreviations don't know when clocks change."),
        ({"cron": None, "everySeconds": 0}, "everySeconds", "must be a whole number from 1 to 31536000."),
        ({"cron": None, "everySeconds": 300, "jitterSeconds": 300}, "jitterSeconds", "must be less than the 300 seconds between two runs."),
        ({"missed": "all"}, "missed", "all makes several jobs at once, which overlap 'skip' refuses; use overlap 'allow' or missed 'one'."),
        ({"uniqueKey": "a"}, "uniqueKey", "is what overlap uses; set overlap to 'allow' or leave it out."),
        ({"endsAt": "2026-01-01T00:00:00Z"}, "endsAt", "must be in the future."),
        ({"tickField": "n"}, "tickField", "names a field that payload has; the tick's time would replace it."),
        ({"name": "a b"}, "name", "must be 1 to 100 letters, digits, '.', '_', ':' or '-', the first a letter or digit."),
        ({"overlap": "none"}, "overlap", "must be one of skip, allow, wait, replace."),
        ({"payload": {"a": "\0"}}, "payload.a", "must not contain NUL characters."),
        ({"state": "active"}, "state", None),
    ],
)  # fmt: skip
def test_refused(api: Api, stored, changes, field, text):
    errors = errors_of(api.post("/api/schedules", NEW | changes))

    assert list(errors) == [field]
    assert text is None or errors[field] == [text]
    assert stored("schedules") == []


def test_the_payload_must_fit_the_type(api: Api):
    body = NEW | {"type": "send-email", "payload": {"subject": "x"}}

    assert "payload.to" in errors_of(api.post("/api/schedules", body))


def test_an_unknown_type_is_refused_as_for_a_job(api: Api):
    response = api.post("/api/schedules", NEW | {"type": "ehco"})

    assert (response.status_code, response.json["code"]) == (422, "unknown_job_type")


# ------------------------------------------------------------------------------------------------ put


def test_put_creates_then_changes_nothing_then_replaces(api: Api, stored):
    body = {name: value for name, value in NEW.items() if name != "name"}

    created = api.send("PUT", "/api/schedules/nightly", body)
    again = api.send("PUT", "/api/schedules/nightly", body)
    replaced = api.send("PUT", "/api/schedules/nightly", {"type": "echo", "everySeconds": 60})

    assert (created.status_code, again.status_code, replaced.status_code) == (201, 200, 200)
    assert created.headers["Location"] == "/api/schedules/nightly"
    assert again.json == created.json
    assert (replaced.json["payload"], replaced.json["cron"], replaced.json["everySeconds"]) == ({}, None, 60)  # fmt: skip
    assert events(stored) == [("schedule.create", "nightly"), ("schedule.edit", "nightly")]


def test_put_checks_the_name_and_the_body(api: Api):
    body = {"type": "echo", "everySeconds": 60}

    assert "name" in errors_of(api.send("PUT", "/api/schedules/a%20b", body))
    assert "type" in errors_of(api.send("PUT", "/api/schedules/a", {"everySeconds": 60}))


def test_a_schedule_that_has_ended_can_be_put_again(api: Api):
    with api.app.app_context():
        ended = make.schedule(next_in=None, ends_at=make._now(-60))
        ends_at = ended.ends_at.isoformat()
    body = {"type": "echo", "cron": "30 2 * * *", "timeZone": "Europe/Berlin", "endsAt": ends_at}

    response = api.send("PUT", "/api/schedules/nightly", body)

    assert (response.status_code, response.json["state"]) == (200, "ended")


# ---------------------------------------------------------------------------------------------- patch


def test_patch_changes_only_what_it_names(api: Api):
    created = api.post("/api/schedules", NEW).json

    changed = api.patch("/api/schedules/nightly", {"priority": 7, "payload": {"n": 2}}).json

    assert changed == created | {
        "priority": 7, "payload": {"n": 2}, "updatedAt": changed["updatedAt"],
    }  # fmt: skip
    assert changed["updatedAt"] > created["updatedAt"]
    back = api.patch("/api/schedules/nightly", {"priority": None}).json
    assert back["priority"] is None


def test_an_interval_takes_the_place_of_a_line_and_the_reverse(api: Api):
    api.post("/api/schedules", NEW)

    interval = api.patch("/api/schedules/nightly", {"everySeconds": 60}).json
    line = api.patch("/api/schedules/nightly", {"cron": "@daily"}).json

    assert (interval["cron"], interval["everySeconds"]) == (None, 60)
    assert (line["cron"], line["everySeconds"]) == ("@daily", None)
    both = {"cron": "@daily", "everySeconds": 60}
    assert "cron" in errors_of(api.patch("/api/schedules/nightly", both))
    assert "cron" in errors_of(api.patch("/api/schedules/nightly", {"cron": None}))


def test_a_new_line_counts_from_now(api: Api):
    before = api.post("/api/schedules", NEW).json

    after = api.patch("/api/schedules/nightly", {"cron": "* * * * *"}).json

    assert after["nextRunAt"] < before["nextRunAt"] or before["nextRunAt"] == after["nextRunAt"]


def test_an_empty_patch_is_refused(api: Api):
    api.post("/api/schedules", NEW)

    assert errors_of(api.patch("/api/schedules/nightly", {}))
    assert "name" in errors_of(api.patch("/api/schedules/nightly", {"name": "other"}))


# --------------------------------------------------------------------------------------- of the code


@pytest.mark.parametrize(
    ("method", "body"),
    [("PATCH", {"priority": 1}), ("DELETE", None), ("PUT", {"type": "echo", "everySeconds": 1})],
)
def test_a_schedule_of_the_code_is_not_changed_here(api: Api, code_schedule, method, body):
    response = api.send(method, f"/api/schedules/{code_schedule}", body)

    assert (response.status_code, response.json) == (409, {
        "code": "defined_in_code",
        "message": "Schedule of-code is defined in the code; change it there. Here it can be paused, resumed and run.",
    })  # fmt: skip


def test_a_schedule_of_the_code_is_paused_resumed_and_run(api: Api, code_schedule):
    path = f"/api/schedules/{code_schedule}"

    assert api.post(f"{path}/pause").json["state"] == "paused"
    assert api.post(f"{path}/run").status_code == 201
    assert api.post(f"{path}/resume").json["state"] == "active"


# ------------------------------------------------------------------------------- pause, resume, delete


def test_pause_and_resume(api: Api, stored):
    created = api.post("/api/schedules", NEW).json

    paused = api.post("/api/schedules/nightly/pause").json
    again = api.post("/api/schedules/nightly/pause").json
    resumed = api.post("/api/schedules/nightly/resume").json

    assert (paused["state"], paused["nextRunAt"]) == ("paused", None)
    assert paused["pausedAt"] is not None
    assert paused["pausedBy"] is not None
    assert again == paused
    assert resumed == created
    assert events(stored)[1:] == [("schedule.pause", "nightly"), ("schedule.resume", "nightly")]


def test_delete(api: Api, stored):
    api.post("/api/schedules", NEW)
    api.post("/api/schedules/nightly/run")

    assert api.delete("/api/schedules/nightly").status_code == 204
    assert stored("schedules") == stored("schedule_ticks") == []
    assert len(stored("jobs")) == 1
    assert api.delete("/api/schedules/nightly").json["code"] == "schedule_not_found"


@pytest.mark.parametrize("verb", ["pause", "resume", "run"])
def test_verbs_of_an_unknown_schedule(api: Api, verb):
    response = api.post(f"/api/schedules/unknown/{verb}")

    assert (response.status_code, response.json["code"]) == (404, "schedule_not_found")
    assert api.patch("/api/schedules/unknown", {"priority": 1}).status_code == 404


# ------------------------------------------------------------------------------------------------ run


def test_run_creates_a_job_and_a_tick(api: Api):
    created = api.post("/api/schedules", NEW | {"tickField": "for", "tags": ["a"]}).json

    response = api.post("/api/schedules/nightly/run")

    assert response.status_code == 201
    job = response.json
    assert response.headers["Location"] == f"/api/jobs/{job['id']}"
    assert (job["type"], job["tags"], job["uniqueKey"]) == ("echo", ["a"], "schedule:nightly")
    assert set(job["payload"]) == {"n", "for"}
    (tick,) = api.get("/api/schedules/nightly/ticks").json
    assert (tick["outcome"], tick["jobId"], tick["jobStatus"]) == ("manual", job["id"], "pending")
    schedule = api.get("/api/schedules/nightly").json
    assert schedule["nextRunAt"] == created["nextRunAt"]
    assert schedule["lastTick"]["jobId"] == job["id"]


def test_run_while_a_job_is_live(api: Api):
    api.post("/api/schedules", NEW)
    job = api.post("/api/schedules/nightly/run", {}).json

    response = api.post("/api/schedules/nightly/run", {"force": False})

    assert (response.status_code, response.json) == (409, {
        "code": "still_running",
        "message": f"Job {job['id']} of schedule nightly is still pending; wait for it, cancel it, or send force.",
    })  # fmt: skip
    assert api.post("/api/schedules/nightly/run", {"force": True}).status_code == 201
    assert "force" in errors_of(api.post("/api/schedules/nightly/run", {"force": 1}))


def test_run_with_overlap_allow(api: Api):
    api.post("/api/schedules", NEW | {"overlap": "allow"})

    jobs = [api.post("/api/schedules/nightly/run").json for _ in range(2)]

    assert len({job["id"] for job in jobs}) == 2


# ----------------------------------------------------------------------------------- keys of schedules


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/bulk"])
def test_a_job_can_not_have_the_key_of_a_schedule(api: Api, path):
    job = {"type": "echo", "uniqueKey": "schedule:nightly"}
    bulk = path.endswith("bulk")

    errors = errors_of(api.post(path, {"jobs": [job]} if bulk else job))

    assert errors == {
        "jobs.0.uniqueKey" if bulk else "uniqueKey": [
            "must not start with schedule:, which is reserved for schedules."
        ]
    }
