"""GET /api/jobs"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from tests import factories
from tests.api.conftest import Api


def ids(response) -> list[str]:
    return [job["id"] for job in response.json]


def test_nothing_is_an_empty_array(api: Api):
    response = api.get("/api/jobs")
    assert (response.status_code, response.json) == (200, [])
    assert "Link" not in response.headers


def test_a_bare_array_newest_first(api: Api, have):
    made = [have(factories.pending_job) for _ in range(3)]
    assert ids(api.get("/api/jobs")) == made[::-1]


def test_limit_is_100_by_default_and_500_at_most(api: Api):
    api.post("/api/jobs/bulk", {"jobs": [{"type": "echo"}] * 501})
    assert len(api.get("/api/jobs").json) == 100
    assert len(api.get("/api/jobs?limit=500").json) == 500
    assert len(api.get("/api/jobs?limit=1").json) == 1


def test_the_link_header_leads_through_everything_once(api: Api):
    made = api.post("/api/jobs/bulk", {"jobs": [{"type": "echo"}] * 25}).json["ids"]
    path, found, pages = "/api/jobs?limit=10&type=echo", [], 0
    while path:
        response = api.get(path)
        found += ids(response)
        pages += 1
        path = response.headers.get("Link", "").partition(">")[0].lstrip("<")
    assert found == made[::-1]
    assert pages == 3


def test_the_next_cursor_header_leads_through_everything_once(api: Api):
    made = api.post("/api/jobs/bulk", {"jobs": [{"type": "echo"}] * 25}).json["ids"]
    query, found = {"limit": 10, "type": "echo"}, []
    while True:
        response = api.get("/api/jobs", query_string=query)
        found += ids(response)
        assert ("X-Next-Cursor" in response.headers) == ("Link" in response.headers)
        if "X-Next-Cursor" not in response.headers:
            break
        query["cursor"] = response.headers["X-Next-Cursor"]
    assert found == made[::-1]


def test_dead_letters_have_a_next_cursor_as_well(api: Api, have):
    made = [have(factories.failed_job, finished_ago=ago) for ago in (30, 20, 10)]
    first = api.get("/api/dead-letters?limit=2")
    second = api.get("/api/dead-letters", query_string={"cursor": first.headers["X-Next-Cursor"]})
    assert [one["jobId"] for one in first.json + second.json] == made[::-1]
    assert "X-Next-Cursor" not in second.headers


def test_the_link_header_keeps_the_filters(api: Api, have):
    for _ in range(3):
        have(factories.pending_job, tags=["a&b=c"])
    response = api.get("/api/jobs?limit=1&tag=a%26b%3Dc&status=pending")
    path = response.headers["Link"].partition(">")[0].lstrip("<")
    assert response.headers["Link"].endswith('; rel="next"')
    for part in ("limit=1", "tag=a%26b%3Dc", "status=pending", "cursor="):
        assert part in path
    assert len(api.get(path).json) == 1


def test_pages_stay_whole_while_jobs_arrive(api: Api):
    made = api.post("/api/jobs/bulk", {"jobs": [{"type": "echo"}] * 4}).json["ids"]
    first = api.get("/api/jobs?limit=2")
    api.post("/api/jobs", {"type": "echo"})
    second = api.get(first.headers["Link"].partition(">")[0].lstrip("<"))
    assert ids(first) + ids(second) == made[::-1]


def test_offset_skips(api: Api):
    made = api.post("/api/jobs/bulk", {"jobs": [{"type": "echo"}] * 5}).json["ids"]
    assert ids(api.get("/api/jobs?offset=3")) == made[1::-1]
    assert api.get("/api/jobs?offset=10000").json == []


@pytest.mark.parametrize("status", ["pending", "processing", "completed", "failed", "cancelled"])
def test_filter_by_status(api: Api, have, status):
    made = {view: have(factory) for view, factory in factories.BY_VIEW.items()}
    expected = {made[status]}
    if status == "pending":
        expected |= {made["scheduled"], made["retrying"]}
    response = api.get(f"/api/jobs?status={status}")
    assert set(ids(response)) == expected
    assert {job["status"] for job in response.json} == {status}


@pytest.mark.parametrize("view", ["scheduled", "retrying"])
def test_filter_by_view(api: Api, have, view):
    made = {name: have(factory) for name, factory in factories.BY_VIEW.items()}
    assert ids(api.get(f"/api/jobs?status={view}")) == [made[view]]


def test_the_filters_of_the_documentation(api: Api, have):
    wanted = have(factories.failed_job, type="send-email")
    have(factories.failed_job)
    have(factories.pending_job, type="send-email")
    assert ids(api.get("/api/jobs?status=failed&type=send-email&limit=50&offset=0")) == [wanted]


def test_other_filters(api: Api, have):
    wanted = have(
        factories.failed_job,
        queue="slow",
        tags=["x", "y"],
        payload={"to": "a@b.c", "n": [1, 2]},
        error="KeyError: 'půl'",
    )
    have(factories.pending_job)
    for query in (
        "queue=slow",
        "tag=y",
        "error=" + quote("keyerror: 'půl'"),
        "payload=" + quote(json.dumps({"to": "a@b.c"})),
        "payload=" + quote(json.dumps({"n": [2]})),
        f"idPrefix={wanted[:23]}",
        f"idPrefix={wanted.replace('-', '').upper()}",
        f"search={wanted}",
        "search=a%40b.c",
    ):
        assert ids(api.get(f"/api/jobs?{query}")) == [wanted], query
    for query in ("queue=other", "tag=z", "error=boom", "type=nope", "payload=%7B%22to%22%3A1%7D"):
        assert ids(api.get(f"/api/jobs?{query}")) == [], query


def test_filter_by_time(api: Api, have):
    old, new = have(factories.completed_job, created_ago=7200), have(factories.completed_job)
    hour_ago = quote((datetime.now(UTC) - timedelta(hours=1)).isoformat())
    assert ids(api.get(f"/api/jobs?createdFrom={hour_ago}")) == [new]
    assert ids(api.get(f"/api/jobs?createdTo={hour_ago}")) == [old]
    assert ids(api.get(f"/api/jobs?createdFrom={hour_ago}&createdTo={hour_ago}")) == []


WRONG = {
    "limit=0": "limit",
    "limit=501": "limit",
    "limit=-1": "limit",
    "limit=": "limit",
    "limit=ten": "limit",
    "limit=1.5": "limit",
    "limit=1e2": "limit",
    "limit=0x10": "limit",
    "limit=%2B5": "limit",
    "limit=1_0": "limit",
    "limit=%D9%A5": "limit",
    "limit=" + "9" * 5000: "limit",
    "offset=-1": "offset",
    "offset=10001": "offset",
    "offset=99999999999999999999": "offset",
    "offset=x": "offset",
    "offset=1&cursor=abc": "offset",
    "cursor=": "cursor",
    "cursor=abc": "cursor",
    "cursor=%00": "cursor",
    "cursor=ž": "cursor",
    "cursor=" + "a" * 201: "cursor",
    "status=": "status",
    "status=done": "status",
    "status=Pending": "status",
    "status=pending%00": "status",
    "type=": "type",
    "type=%00": "type",
    "type=" + "x" * 101: "type",
    "queue=": "queue",
    "tag=": "tag",
    "tag=a%00": "tag",
    "error=%00": "error",
    "search=": "search",
    "search=%00": "search",
    "idPrefix=xyz": "idPrefix",
    "idPrefix=-": "idPrefix",
    "createdFrom=yesterday": "createdFrom",
    "createdFrom=2030-01-01T00:00:00": "createdFrom",
    "createdTo=0001-01-01T00:00:00Z": "createdTo",
    "payload=": "payload",
    "payload=1": "payload",
    "payload=[]": "payload",
    "payload={": "payload",
    "payload=%7B%22a%22%3A%22%5Cu0000%22%7D": "payload",
    "payload=%7B%22a%22%3ANaN%7D": "payload",
    "payload=" + "%7B%22a%22%3A" * 200 + "1" + "%7D" * 200: "payload",
    "page=2": "page",
    "Status=failed": "Status",
    "limit=1&limit=2": "limit",
    "type=%FF": "query",
    "&".join(f"p{n}=1" for n in range(101)): "query",
}


@pytest.mark.parametrize(("query", "field"), WRONG.items(), ids=lambda text: text[:40])
def test_a_wrong_query_is_422_by_name(api: Api, query, field):
    response = api.get(f"/api/jobs?{query}")
    assert response.status_code == 422
    assert list(response.json["errors"]) == [field]


def test_an_offset_past_the_bound_points_to_the_cursor(api: Api):
    assert "cursor" in api.get("/api/jobs?offset=10001").json["errors"]["offset"][0]


def test_a_cursor_of_another_list_is_refused(api: Api, have):
    for _ in range(2):
        have(factories.failed_job)
    link = api.get("/api/dead-letters?limit=1").headers["Link"]
    cursor = link.partition("cursor=")[2].partition(">")[0]
    response = api.get(f"/api/jobs?cursor={cursor}")
    assert (response.status_code, response.json["code"]) == (422, "invalid_cursor")


@pytest.mark.parametrize(
    "path", ["/api/jobs/stats", "/api/queues", "/api/workers", "/api/job-types"]
)
def test_other_lists_reject_unknown_parameters(api: Api, path):
    response = api.get(f"{path}?limit=1")
    assert (response.status_code, list(response.json["errors"])) == (422, ["limit"])


def test_posts_reject_query_parameters(api: Api, stored):
    response = api.post("/api/jobs?dryRun=1", {"type": "echo"})
    assert (response.status_code, list(response.json["errors"])) == (422, ["dryRun"])
    assert stored() == []


def test_a_status_can_be_listed_in_its_own_order(api: Api, have):
    old = have(factories.failed_job, created_ago=9000, finished_ago=1)
    new = have(factories.failed_job, finished_ago=60)
    url = "/api/jobs?status=failed"
    assert [job["id"] for job in api.get(url).json] == [str(new), str(old)]
    by_end = f"{url}&orderBy=finishedAt"
    assert [job["id"] for job in api.get(by_end).json] == [str(old), str(new)]
    assert [job["id"] for job in api.get(f"{by_end}&order=asc").json] == [str(new), str(old)]
    first = api.get(f"{by_end}&limit=1")
    assert [job["id"] for job in first.json] == [str(old)]
    assert [job["id"] for job in api.get(first.headers["Link"].split(">")[0][1:]).json] == [
        str(new)
    ]


def test_pending_jobs_can_be_listed_by_next_run(api: Api, have):
    later = have(factories.scheduled_job, due_in=600)
    soon = have(factories.scheduled_job, due_in=60)
    url = "/api/jobs?status=scheduled&orderBy=nextRunAt"
    assert [job["id"] for job in api.get(url).json] == [str(soon), str(later)]
    until = (datetime.now(UTC) + timedelta(seconds=300)).isoformat().replace("+00:00", "Z")
    assert [job["id"] for job in api.get(f"{url}&nextRunTo={until}").json] == [str(soon)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("orderBy=finishedAt", "orderBy"),
        ("orderBy=nextRunAt&status=failed", "orderBy"),
        ("orderBy=size", "orderBy"),
        ("order=up", "order"),
        ("nextRunTo=2026-01-01T00:00:00Z", "nextRunTo"),
    ],
)
def test_an_order_that_a_status_does_not_support_is_422(api: Api, query, field):
    response = api.get(f"/api/jobs?{query}")
    assert response.status_code == 422
    assert list(response.json["errors"]) == [field]


def test_an_id_is_found_by_the_digits_on_the_screen(api: Api, have):
    job_id = str(have(factories.completed_job))
    have(factories.completed_job)
    for query in (f"idPrefix={job_id[-8:]}", f"search={job_id[-8:]}", f"idPrefix={job_id[:18]}"):
        assert job_id in [job["id"] for job in api.get(f"/api/jobs?{query}").json]
