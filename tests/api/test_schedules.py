"""/api/schedules: what is listed, and previews."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests import factories as make
from tests.api.conftest import Api
from tests.jobs.test_schedule_times import TABLE

FIELDS = [
    "name", "source", "type", "payload", "queue", "priority", "maxAttempts", "timeoutSeconds", "tags", "uniqueKey",
    "cron", "everySeconds", "timeZone", "startsAt", "endsAt", "overlap", "missed", "missedWithinSeconds",
    "jitterSeconds", "tickField", "description", "state", "nextRunAt", "lastTick", "pausedAt", "pausedBy",
    "createdBy", "createdAt", "updatedAt",
]  # fmt: skip


def errors_of(response) -> dict[str, list[str]]:
    assert response.status_code == 422
    return response.json["errors"]


# ---------------------------------------------------------------------------------------- list and get


def test_a_schedule_with_its_last_tick(api: Api):
    with api.app.app_context():
        job_id = make.completed_job().id
        schedule = make.schedule(payload={"n": 1}, next_in=60)
        make.tick(schedule, ago=120, outcome="skipped")
        make.tick(schedule, ago=60, lag=0.25, job_id=job_id)

    found = api.get("/api/schedules/nightly").json

    assert list(found) == FIELDS
    assert found["description"] == "At 02:30 every day, Europe/Berlin"
    assert found["state"] == "active"
    assert found["lastTick"] | {"tickAt": None} == {
        "tickAt": None, "outcome": "enqueued", "jobId": str(job_id), "count": 1, "lagMs": 250,
    }  # fmt: skip
    assert api.get("/api/schedules").json == [found]


def test_the_list_has_pages(api: Api):
    with api.app.app_context():
        for name in "cab":
            make.schedule(name)

    first = api.get("/api/schedules?limit=2")
    rest = api.get(f"/api/schedules?limit=2&cursor={first.headers['X-Next-Cursor']}")

    assert [schedule["name"] for schedule in first.json + rest.json] == ["a", "b", "c"]
    assert "X-Next-Cursor" not in rest.headers


def test_filters(api: Api):
    with api.app.app_context():
        make.schedule("a", type="sleep")
        make.paused_schedule("b")
        make.tick(make.schedule("c", source="code"), outcome="missed", n=3)

    for query, names in (
        ("state=paused", ["b"]),
        ("state=missed", ["c"]),
        ("type=sleep", ["a"]),
        ("source=code", ["c"]),
        ("search=SLEEP", ["a"]),
        ("state=active&search=c", ["c"]),
    ):
        listed = api.get(f"/api/schedules?{query}").json
        assert [schedule["name"] for schedule in listed] == names, query
    assert "state" in errors_of(api.get("/api/schedules?state=broken"))
    assert "cursor" in errors_of(api.get("/api/schedules?cursor=!"))


def test_ticks_newest_first(api: Api):
    with api.app.app_context():
        schedule = make.schedule()
        make.tick(schedule, ago=180, outcome="missed", n=3, lasts=60)
        make.tick(schedule, ago=60, job_id=make.scheduled_job().id)

    first = api.get("/api/schedules/nightly/ticks?limit=1")
    rest = api.get(f"/api/schedules/nightly/ticks?limit=1&cursor={first.headers['X-Next-Cursor']}")

    assert [(tick["outcome"], tick["count"]) for tick in first.json + rest.json] == [
        ("enqueued", 1),
        ("missed", 3),
    ]
    assert first.json[0]["jobStatus"] == "scheduled"
    assert rest.json[0]["lagMs"] is None
    assert rest.json[0]["lastAt"] is not None
    assert "cursor" in errors_of(api.get("/api/schedules/nightly/ticks?cursor=%2F"))


@pytest.mark.parametrize("path", ["", "/ticks", "/preview"])
@pytest.mark.parametrize("name", ["unknown", "%00", "a b"])
def test_an_unknown_name(api: Api, name, path):
    response = api.client.get(f"/api/schedules/{name}{path}")

    assert (response.status_code, response.json["code"]) == (404, "schedule_not_found")


# --------------------------------------------------------------------------------------------- preview


@pytest.mark.parametrize(("zone", "line", "day", "expected"), TABLE)
def test_the_preview_of_every_change_of_the_clock(api: Api, zone, line, day, expected):
    start = datetime.fromisoformat(f"{day}T00:00:00+00:00") - timedelta(days=1)
    body = {"cron": line, "timeZone": zone, "from": start.isoformat(), "count": 40}

    runs = api.post("/api/schedules/preview", body).json["runs"]

    of_day = [run["at"][5:16] for run in runs if run["local"].startswith(day)]
    assert of_day == expected.split()


def test_a_preview_has_notes(api: Api):
    body = {"cron": "30 2 * * *", "timeZone": "Europe/Berlin", "from": "2026-03-28T12:00:00Z", "count": 1}  # fmt: skip

    assert api.post("/api/schedules/preview", body).json == {
        "description": "At 02:30 every day, Europe/Berlin",
        "runs": [
            {
                "at": "2026-03-29T01:00:00.000Z",
                "local": "2026-03-29T03:00:00+02:00",
                "note": "02:30 does not exist that day: the clock goes from 02:00 to 03:00",
            }
        ],
    }
    autumn = body | {"from": "2026-10-24T12:00:00Z"}
    (run,) = api.post("/api/schedules/preview", autumn).json["runs"]
    assert run["note"] == "02:30 comes twice; the first one counts"


def test_a_preview_of_an_interval(api: Api):
    body = {"everySeconds": 90, "startsAt": "2026-03-28T12:00:00Z", "from": "2026-03-28T12:01:00Z", "count": 2}  # fmt: skip

    preview = api.post("/api/schedules/preview", body).json

    assert preview["description"] == "Every 90 seconds"
    assert [run["at"] for run in preview["runs"]] == [
        "2026-03-28T12:01:30.000Z",
        "2026-03-28T12:03:00.000Z",
    ]


def test_a_preview_starts_now(api: Api):
    runs = api.post("/api/schedules/preview", {"cron": "* * * * *"}).json["runs"]

    assert len(runs) == 10
    first = datetime.fromisoformat(runs[0]["at"])
    assert timedelta(0) < first - datetime.now(first.tzinfo) < timedelta(seconds=65)


@pytest.mark.parametrize(
    ("body", "field", "text"),
    [
        ({}, "cron", "give exactly one of cron and everySeconds."),
        ({"cron": "* * * * * *"}, "cron", "has 6 fields; give five: minute hour day month weekday. For runs within a minute use everySeconds."),
        ({"cron": "* * * * *", "timeZone": "CEST"}, "timeZone", "is not a time zone of the IANA database; offsets and abbreviations don't know when clocks change."),
        ({"everySeconds": 0}, "everySeconds", "must be a whole number from 1 to 31536000."),
        ({"cron": "@daily", "count": 101}, "count", "must be a whole number from 1 to 100."),
        ({"cron": "@daily", "type": "echo"}, "type", "is unknown; known fields: cron, everySeconds, timeZone, startsAt, endsAt, from, count."),
    ],
)  # fmt: skip
def test_refused_previews(api: Api, body, field, text):
    assert errors_of(api.post("/api/schedules/preview", body)) == {field: [text]}


def test_a_stored_schedule_is_previewed_even_if_it_is_paused(api: Api):
    with api.app.app_context():
        make.paused_schedule("a")

    preview = api.get("/api/schedules/a/preview?count=2&from=2026-03-28T12:00:00Z").json

    assert [run["at"] for run in preview["runs"]] != []
    assert preview["description"] == "At 02:30 every day, Europe/Berlin"
    assert "count" in errors_of(api.get("/api/schedules/a/preview?count=0"))


def test_a_line_and_a_zone_of_a_newer_release_are_shown_as_they_are(api: Api):
    with api.app.app_context():
        make.schedule("newer", cron="0 0 1W * *", zone="Mars/Phobos")

    shown = api.get("/api/schedules/newer").json
    assert shown["description"] == "0 0 1W * *, Mars/Phobos"
    assert api.get("/api/schedules").json == [shown]
    assert set(errors_of(api.get("/api/schedules/newer/preview"))) == {"cron", "timeZone"}
