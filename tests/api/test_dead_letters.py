"""/api/dead-letters"""

from __future__ import annotations

import pytest

from tests import factories
from tests.api.conftest import NOWHERE, Api

BASE = "/api/dead-letters"


def test_nothing_is_an_empty_array(api: Api, have):
    have(factories.failed_job, is_discarded=True)
    assert api.get(BASE).json == []


def test_lists_the_open_ones_newest_first(api: Api, have):
    older = have(factories.failed_job, finished_ago=60, error="boom", payload={"a": 1}, attempts=3)
    newer = have(factories.failed_job)
    letters = api.get(BASE).json
    assert [letter["jobId"] for letter in letters] == [newer, older]
    assert list(letters[1]) == [
        "jobId",
        "type",
        "payload",
        "reason",
        "attempts",
        "failedAt",
        "queue",
    ]
    assert {**letters[1], "failedAt": None} == {
        "jobId": older,
        "type": "echo",
        "payload": {"a": 1},
        "reason": "boom",
        "attempts": 3,
        "failedAt": None,
        "queue": "default",
    }


def test_pages_by_the_link_header(api: Api, have):
    made = [have(factories.failed_job, finished_ago=n) for n in range(5)]
    path, found = f"{BASE}?limit=2", []
    while path:
        response = api.get(path)
        found += [letter["jobId"] for letter in response.json]
        path = response.headers.get("Link", "").partition(">")[0].lstrip("<")
    assert found == made


def test_filters(api: Api, have):
    wanted = have(factories.failed_job, type="sleep", queue="slow", error="out of café")
    have(factories.failed_job)
    for query in ("type=sleep", "queue=slow", "search=caf%C3%A9", f"search={wanted}"):
        assert [letter["jobId"] for letter in api.get(f"{BASE}?{query}").json] == [wanted], query


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=501", "limit"), ("cursor=x", "cursor"), ("type=", "type"), ("offset=1", "offset"), ("search=%00", "search")],
)  # fmt: skip
def test_a_wrong_query_is_422(api: Api, query, field):
    response = api.get(f"{BASE}?{query}")
    assert (response.status_code, list(response.json["errors"])) == (422, [field])


def test_get_returns_one_worker(api: Api, have):
    job_id = have(factories.failed_job)
    assert api.get(f"{BASE}/{job_id}").json == api.get(BASE).json[0]


def test_retry_sends_the_job_back_and_closes_the_dead_letter(api: Api, have, redis):
    job_id = have(factories.failed_job)
    job = api.post(f"{BASE}/{job_id}/retry").json
    assert (job["id"], job["status"], job["attempts"]) == (job_id, "pending", 0)
    assert redis.zcard("{jobs}:ready:default") == 1
    assert api.get(BASE).json == []


def test_discard_closes_it_permanently(api: Api, have, stored):
    job_id = have(factories.failed_job)
    job = api.post(f"{BASE}/{job_id}/discard").json
    assert (job["id"], job["status"]) == (job_id, "failed")
    assert api.get(BASE).json == []
    (letter,) = stored("dead_letters")
    assert (letter["closed_how"], letter["closed_by"]) == ("discarded", "api")


@pytest.mark.parametrize("verb", ["", "/retry", "/discard"])
def test_without_an_open_dead_letter_it_is_404(api: Api, have, stored, verb):
    made = [
        NOWHERE[-36:],
        have(factories.failed_job, is_discarded=True),
        have(factories.pending_job),
    ]
    before = stored()
    for job_id in made:
        response = api.send("POST" if verb else "GET", f"{BASE}/{job_id}{verb}")
        assert (response.status_code, response.json["code"]) == (404, "dead_letter_not_found")
    assert stored() == before


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_a_second_request_is_404(api: Api, have, verb):
    job_id = have(factories.failed_job)
    assert api.post(f"{BASE}/{job_id}/{verb}").status_code == 200
    assert api.post(f"{BASE}/{job_id}/{verb}").status_code == 404


def test_a_retry_against_a_live_unique_key_is_409(api: Api, have):
    job_id = have(factories.failed_job, unique_key="k")
    have(factories.pending_job, unique_key="k")
    assert api.post(f"{BASE}/{job_id}/retry").status_code == 409
    assert len(api.get(BASE).json) == 1


@pytest.mark.parametrize("bad", ["1", "%00", "x y"])
def test_an_id_that_is_no_uuid_is_404(api: Api, bad):
    assert api.get(f"{BASE}/{bad}").status_code == 404
    assert api.post(f"{BASE}/{bad}/retry").status_code == 404
