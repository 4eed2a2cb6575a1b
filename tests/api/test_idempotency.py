"""Idempotency-Key and uniqueKey: the same request again, one after the other and all at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg2
import pytest

from tests.api.conftest import Api

BODY = {"type": "echo", "payload": {"n": 1, "m": 2}}


def with_key(key: str) -> dict:
    return {"headers": {"Idempotency-Key": key}}


def test_the_same_body_returns_200_with_the_first_job(api: Api, stored):
    first = api.post("/api/jobs", BODY, **with_key("k"))
    again = api.post("/api/jobs", BODY, **with_key("k"))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json["id"] == first.json["id"]
    assert again.headers["Location"] == first.headers["Location"]
    assert len(stored()) == 1


def test_order_of_fields_and_spaces_do_not_matter(api: Api, stored):
    api.post("/api/jobs", BODY, **with_key("k"))
    other = b'{ "payload": {"m": 2, "n": 1},  "type": "echo" }'
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    assert api.post("/api/jobs", data=other, headers=headers).status_code == 200
    assert len(stored()) == 1


def test_a_different_body_is_422(api: Api, stored):
    api.post("/api/jobs", BODY, **with_key("k"))
    response = api.post("/api/jobs", {**BODY, "priority": 1}, **with_key("k"))
    assert (response.status_code, response.json["code"]) == (422, "idempotency_mismatch")
    assert len(stored()) == 1


def test_a_repeated_request_returns_the_current_job(api: Api):
    first = api.post("/api/jobs", BODY, **with_key("k")).json
    api.post(f"/api/jobs/{first['id']}/cancel")
    assert api.post("/api/jobs", BODY, **with_key("k")).json["status"] == "cancelled"


def test_a_deleted_job_is_not_created_again(api: Api, stored):
    first = api.post("/api/jobs", BODY, **with_key("k")).json
    api.delete(f"/api/jobs/{first['id']}")
    response = api.post("/api/jobs", BODY, **with_key("k"))
    assert (response.status_code, response.json["code"]) == (404, "job_not_found")
    assert stored() == []


def test_a_key_is_kept_for_24_hours(api: Api, stored, database_url):
    api.post("/api/jobs", BODY, **with_key("k"))
    _age_keys(database_url, "23 hours 59 minutes")
    assert api.post("/api/jobs", BODY, **with_key("k")).status_code == 200
    _age_keys(database_url, "24 hours 1 minute")
    assert api.post("/api/jobs", {"type": "echo"}, **with_key("k")).status_code == 201
    assert len(stored()) == 2
    assert len(stored("job_keys")) == 1


def test_a_rejected_body_leaves_its_key_unused(api: Api, stored):
    assert (
        api.post("/api/jobs", {"type": "echo", "priority": 101}, **with_key("k")).status_code == 422
    )
    assert stored("job_keys") == []
    assert api.post("/api/jobs", BODY, **with_key("k")).status_code == 201


def test_both_parsers_return_the_live_job_of_a_unique_key(api: Api, stored):
    live = api.post("/api/jobs", {**BODY, "uniqueKey": "u"}).json
    for _ in range(2):
        response = api.post("/api/jobs", {**BODY, "uniqueKey": "u"}, **with_key("k"))
        assert (response.status_code, response.json["id"]) == (200, live["id"])
    assert len(stored()) == 1


@pytest.mark.parametrize("key", ["", " ", "with space", "é", "k" * 256])
def test_a_bad_key_is_refused(api: Api, stored, key):
    response = api.post("/api/jobs", BODY, **with_key(key))
    assert response.status_code == 422
    assert list(response.json["errors"]) == ["Idempotency-Key"]
    assert stored() == []


def test_a_bulk_request_rejects_an_idempotency_key(api: Api, stored):
    response = api.post("/api/jobs/bulk", {"jobs": [BODY]}, **with_key("k"))
    assert response.status_code == 422
    assert list(response.json["errors"]) == ["Idempotency-Key"]
    assert stored() == []


@pytest.mark.parametrize(
    ("more", "headers"),
    [
        ({}, {"Idempotency-Key": "k"}),
        ({"uniqueKey": "u"}, {}),
        ({"uniqueKey": "u"}, {"Idempotency-Key": "k"}),
    ],
    ids=["idempotency key", "unique key", "both"],
)
def test_200_concurrent_posts_create_one_row(app, redis, stored, more, headers):
    threads, each = 20, 10
    barrier = Barrier(threads)

    def post(_: int) -> list[tuple[int, str]]:
        client = app.test_client()
        barrier.wait()
        answers = [
            client.post("/api/jobs", json={**BODY, **more}, headers=headers) for _ in range(each)
        ]
        return [(answer.status_code, answer.json["id"]) for answer in answers]

    with ThreadPoolExecutor(threads) as pool:
        answers = [answer for some in pool.map(post, range(threads)) for answer in some]
    (row,) = stored()
    assert {job_id for _, job_id in answers} == {row["id"]}
    assert sorted(status for status, _ in answers) == [200] * 199 + [201]


def test_200_concurrent_posts_with_two_bodies_create_one_row(app, redis, stored):
    threads = 20
    barrier = Barrier(threads)

    def post(n: int) -> int:
        client = app.test_client()
        barrier.wait()
        body = {"type": "echo", "priority": n % 2}
        return client.post("/api/jobs", json=body, headers={"Idempotency-Key": "k"}).status_code

    with ThreadPoolExecutor(threads) as pool:
        statuses = sorted(pool.map(post, range(threads)))
    assert len(stored()) == 1
    assert statuses == [200] * 9 + [201] + [422] * 10


def _age_keys(database_url: str, age: str) -> None:
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE job_keys SET created_at = now() - %s::interval", (age,))
    connection.close()
