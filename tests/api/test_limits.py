"""/api/limits: limits, their keys, and what is under them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from app.api.http.operation import OPERATIONS
from app.errors import ValidationFailed
from app.jobs import enqueue
from app.jobs.limits import known
from tests import factories

NUMBER = "must be a whole number from 1 to 100000; to stop everything, pause the limit."
KEY_NUMBER = "must be a whole number from 1 to 100000; to stop a key, pause it."

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def stripe(api: Any) -> Any:
    body = {
        "by": "customerId",
        "concurrency": 20,
        "rate": {"count": 100},
        "perKey": {"concurrency": 2},
    }
    return api.send("PUT", "/api/limits/stripe", body)


class TestLimits:
    def test_a_limit_is_created(self, stripe: Any) -> None:
        assert stripe.status_code == 201
        numbers = {
            "concurrency": 20,
            "rate": {"count": 100, "perSeconds": 1.0, "burst": 5},
            "perKey": {"concurrency": 2, "rate": None},
        }
        assert stripe.json == {
            "name": "stripe",
            "source": "api",
            "by": "customerId",
            **numbers,
            "effective": numbers,
            "override": None,
            "types": [],
            "queues": [],
            "running": 0,
            "admitted": 0,
            "waiting": {"count": 0, "isExact": True},
            "keysWaiting": {"count": 0, "isExact": True},
            "oldestWaitSeconds": None,
            "blockedUntil": None,
            "isPaused": False,
            "pausedBy": None,
            "moves": [],
        }

    def test_putting_it_again_replaces_it(self, api: Any, stripe: Any) -> None:
        again = api.send("PUT", "/api/limits/stripe", {"concurrency": 5})
        assert again.status_code == 200
        assert (again.json["concurrency"], again.json["rate"], again.json["by"]) == (5, None, None)

    def test_a_patch_keeps_the_rest(self, api: Any, stripe: Any) -> None:
        changed = api.patch(
            "/api/limits/stripe",
            {"concurrency": None, "perKey": {"rate": {"count": 3, "perSeconds": 60}}},
        )
        assert changed.status_code == 200
        assert changed.json["concurrency"] is None
        assert changed.json["rate"]["count"] == 100
        assert changed.json["perKey"] == {
            "concurrency": 2,
            "rate": {"count": 3, "perSeconds": 60.0, "burst": 1},
        }  # fmt: skip

    def test_numbers_of_the_code_are_overridden(self, api: Any) -> None:
        factories.limit("stripe", source="code", concurrency=20)
        changed = api.patch("/api/limits/stripe", {"concurrency": 5}).json
        assert (changed["concurrency"], changed["effective"]["concurrency"]) == (20, 5)
        assert changed["override"]["concurrency"] == 5
        assert set(changed["override"]) == {"concurrency", "by", "at"}

        changed = api.patch("/api/limits/stripe", {"perKey": {"rate": {"count": 9}}}).json
        assert changed["override"]["perKey"] == {"rate": {"count": 9, "perSeconds": 1, "burst": 1}}

        back = api.delete("/api/limits/stripe/override")
        assert (back.status_code, back.json["override"]) == (200, None)
        assert back.json["effective"]["concurrency"] == 20

    def test_the_rest_of_a_limit_is_the_codes(self, api: Any) -> None:
        factories.limit("stripe", source="code", concurrency=20)
        factories.worker(limits=["stripe"])
        for response in (
            api.patch("/api/limits/stripe", {"by": "customerId"}),
            api.send("PUT", "/api/limits/stripe", {"concurrency": 5}),
            api.delete("/api/limits/stripe"),
        ):
            assert (response.status_code, response.json["code"]) == (409, "defined_in_code")

    def test_it_is_paused_resumed_and_deleted(self, api: Any, stripe: Any) -> None:
        assert api.post("/api/limits/stripe/pause").json["isPaused"] is True
        assert api.post("/api/limits/stripe/resume").json["isPaused"] is False
        assert api.delete("/api/limits/stripe").status_code == 204
        gone = api.get("/api/limits/stripe")
        assert (gone.status_code, gone.json["code"]) == (404, "limit_not_found")

    def test_an_unknown_one_names_the_known_ones(self, api: Any, stripe: Any) -> None:
        factories.limit("smtp")
        response = api.post("/api/limits/strype/pause")
        assert response.status_code == 404
        assert response.json["message"] == "No limit is named strype; known: smtp, stripe."

    def test_a_resumed_limit_is_open(self, api: Any) -> None:
        factories.limit("stripe", blocked_until=factories._now(60))
        assert api.get("/api/limits/stripe").json["blockedUntil"] is not None
        assert api.post("/api/limits/stripe/resume").json["blockedUntil"] is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "field", "text"),
        [
            ({}, "concurrency", "give concurrency, rate, perKey or by; else there is nothing to limit."),
            ({"concurrency": 0}, "concurrency", NUMBER),
            ({"concurrency": "5"}, "concurrency", NUMBER),
            ({"perKey": {"concurrency": 0}}, "perKey.concurrency", KEY_NUMBER),
            ({"rate": {"count": 100, "burst": 4}}, "rate.burst",
             "must be at least 5 for 100 per second: tokens are given out twenty times a second."),
            ({"perKey": {"rate": {"count": 1000, "burst": 2}}}, "perKey.rate.burst",
             "must be at least 50 for 1000 per second: tokens are given out twenty times a second."),
            ({"rate": {"count": 0}}, "rate.count", "must be a whole number from 1 to 1000000."),
            ({"rate": {"perSeconds": 5}}, "rate.count", "is required."),
            ({"rate": {"count": 5, "perSeconds": 0}}, "rate.perSeconds",
             "must be more than 0 and at most 86400 seconds."),
            ({"rate": {"count": 1000, "perSeconds": 0.001}}, "rate.count",
             "must be at most 100000 per second."),
            ({"by": "a b", "concurrency": 1}, "by",
             "must be the name of a field of the payload, such as customerId or customer.id, of at most 200 characters."),
        ],
        ids=str,
    )  # fmt: skip
    def test_of_numbers(self, api: Any, body: Any, field: str, text: str) -> None:
        response = api.send("PUT", "/api/limits/stripe", body)
        assert response.status_code == 422
        assert response.json["errors"] == {field: [text]}

    @pytest.mark.parametrize("path", ["/api/limits/schedule", "/api/limits/a%20b"])
    def test_of_names(self, api: Any, path: str) -> None:
        response = api.send("PUT", path, {"concurrency": 1})
        assert response.status_code == 422
        assert set(response.json["errors"]) == {"name"}
        if "schedule" in path:
            assert response.json["errors"]["name"] == ["schedule is kept for schedules."]

    def test_of_an_empty_patch(self, api: Any, stripe: Any) -> None:
        response = api.patch("/api/limits/stripe", {})
        assert response.status_code == 422
        response = api.patch(
            "/api/limits/stripe", {"by": None, "concurrency": None, "rate": None, "perKey": None}
        )
        assert response.json["errors"] == {
            "concurrency": ["give concurrency, rate, perKey or by; else there is nothing to limit."]
        }  # fmt: skip

    def test_while_an_old_worker_lives(self, api: Any) -> None:
        old = factories.worker(limits=None, version="1.3")
        response = api.send("PUT", "/api/limits/stripe", {"concurrency": 1})
        assert (response.status_code, response.json["code"]) == (409, "old_workers")
        assert response.json["message"] == (
            f"Worker {old.id} runs version 1.3, which doesn't know limits; try again when it has stopped."
        )

    def test_of_deleting_one_in_use(self, api: Any) -> None:
        factories.limit("stripe", types=("charge", "refund"))
        response = api.delete("/api/limits/stripe")
        assert (response.status_code, response.json["code"]) == (409, "limit_in_use")
        assert response.json["message"] == (
            "Limit stripe holds for charge, refund; detach them first."
        )


class TestAttaching:
    def test_a_type_and_a_queue_are_put_under_it(self, api: Any, stripe: Any) -> None:
        of_type = api.send("PUT", "/api/job-types/echo/limit", {"limit": "stripe"})
        assert (of_type.status_code, of_type.json["limit"]) == (200, "stripe")
        of_queue = api.send("PUT", "/api/queues/mail/limit", {"limit": "stripe"})
        assert (of_queue.status_code, of_queue.json["limit"]) == (200, "stripe")
        limit = api.get("/api/limits/stripe").json
        assert (limit["types"], limit["queues"]) == (["echo"], ["mail"])
        assert {(move["kind"], move["name"]) for move in limit["moves"]} == {
            ("type", "echo"),
            ("queue", "mail"),
        }
        assert api.send("PUT", "/api/job-types/echo/limit", {"limit": None}).json["limit"] is None
        assert api.send("PUT", "/api/queues/mail/limit", {"limit": None}).json["limit"] is None

    def test_refusals(self, api: Any, stripe: Any) -> None:
        response = api.send("PUT", "/api/job-types/echo/limit", {"limit": "strype"})
        assert (response.status_code, response.json["code"]) == (404, "limit_not_found")
        response = api.send("PUT", "/api/job-types/nothing/limit", {"limit": "stripe"})
        assert (response.status_code, response.json["code"]) == (404, "job_type_not_found")
        response = api.send("PUT", "/api/job-types/echo/limit", {})
        assert response.json["errors"] == {"limit": ["is required."]}


class TestNumbersOfJobs:
    def test_what_runs_and_waits(self, api: Any) -> None:
        factories.limit("stripe", types=("charge",))
        factories.processing_job(type="charge", limit_name="stripe", limit_key="a")
        factories.pending_job(type="charge", limit_name="stripe", limit_key="b")
        for key in ("a", "a", "b"):
            factories.waiting_job(type="charge", key=key, due_in=-30)
        factories.scheduled_job(type="charge", limit_name="stripe", limit_key="c", hold=3)
        factories.waiting_job(limit="smtp")
        limit = api.get("/api/limits/stripe").json
        assert (limit["running"], limit["admitted"]) == (1, 1)
        assert limit["waiting"] == {"count": 3, "isExact": True}
        assert limit["keysWaiting"] == {"count": 2, "isExact": True}
        assert 30 <= limit["oldestWaitSeconds"] < 60
        assert api.get("/api/limits").json == [limit | {"oldestWaitSeconds": api.get("/api/limits").json[0]["oldestWaitSeconds"]}]  # fmt: skip

        keys = api.get("/api/limits/stripe/keys?order=waiting").json
        assert [(k["key"], k["running"], k["admitted"], k["waiting"]["count"]) for k in keys] == [
            ("a", 1, 0, 2),
            ("b", 0, 1, 1),
        ]

    def test_counts_stop_at_their_bound(self, api: Any, session: Any) -> None:
        factories.limit("stripe")
        session.execute(
            text("""
            INSERT INTO jobs (id, queue, type, payload, hold, limit_name, limit_key, run_at)
            SELECT gen_random_uuid(), 'default', 'charge', '{}', 1, 'stripe', 'k' || n % 3000,
                   now() - interval '1 s' * n
            FROM generate_series(1, 20050) AS n""")
        )
        session.commit()
        [limit] = api.get("/api/limits").json
        assert limit["waiting"] == {"count": 10000, "isExact": False}
        assert limit["keysWaiting"] == {"count": 1000, "isExact": False}
        assert limit["oldestWaitSeconds"] >= 20050
        keys = api.get("/api/limits/stripe/keys?limit=5").json
        assert [key["waiting"] for key in keys] == [{"count": 7, "isExact": True}] * 5

    def test_the_schedules_limit_is_not_listed(self, api: Any) -> None:
        assert api.get("/api/limits").json == []
        assert api.get("/api/limits/schedule").status_code == 404


class TestKeys:
    def test_one_is_raised_and_stopped(self, api: Any, stripe: Any) -> None:
        path = "/api/limits/stripe/keys/eu/42"
        raised = api.send("PUT", path, {"concurrency": 10})
        assert (raised.status_code, raised.json["key"], raised.json["concurrency"]) == (
            200,
            "eu/42",
            10,
        )
        assert api.post(f"{path}/pause").json["isPaused"] is True
        [listed] = api.get("/api/limits/stripe/keys").json
        assert (listed["key"], listed["concurrency"], listed["isPaused"]) == ("eu/42", 10, True)
        assert api.post(f"{path}/resume").json["isPaused"] is False
        assert api.send("PUT", path, {"concurrency": None}).json["concurrency"] is None
        assert api.get("/api/limits/stripe/keys").json == []

    def test_refusals(self, api: Any, stripe: Any) -> None:
        response = api.send("PUT", "/api/limits/stripe/keys/a", {"concurrency": 0})
        assert response.json["errors"] == {"concurrency": [KEY_NUMBER]}
        response = api.send("PUT", f"/api/limits/stripe/keys/{'a' * 201}", {"concurrency": 1})
        assert response.json["errors"] == {
            "key": ["must be a string of 1 to 200 characters without NUL."]
        }
        assert api.post("/api/limits/nothing/keys/a/pause").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/api/limits", "viewer"),
        ("GET", "/api/limits/<name>", "viewer"),
        ("GET", "/api/limits/<name>/keys", "viewer"),
        ("PUT", "/api/limits/<name>", "operator"),
        ("PATCH", "/api/limits/<name>", "operator"),
        ("DELETE", "/api/limits/<name>/override", "operator"),
        ("POST", "/api/limits/<name>/pause", "operator"),
        ("POST", "/api/limits/<name>/resume", "operator"),
        ("PUT", "/api/limits/<name>/keys/<path:key>", "operator"),
        ("POST", "/api/limits/<name>/keys/<path:key>/pause", "operator"),
        ("POST", "/api/limits/<name>/keys/<path:key>/resume", "operator"),
        ("PUT", "/api/queues/<name>/limit", "operator"),
        ("PUT", "/api/job-types/<name>/limit", "operator"),
        ("DELETE", "/api/limits/<name>", "admin"),
    ],
)
def test_each_needs_its_role(method: str, path: str, role: str) -> None:
    [found] = [o for o in OPERATIONS if (o.method, o.path) == (method, path)]
    assert found.role == role


class TestJobs:
    def test_a_job_shows_its_limit_and_what_it_waits_for(self, api: Any) -> None:
        factories.limit("stripe", by_field="customerId", concurrency=2, key_concurrency=1)
        factories.processing_job(limit_name="stripe", limit_key="42")
        factories.waiting_job(key="42", due_in=-60)
        job_id = factories.waiting_job(key="42").id
        job = api.get(f"/api/jobs/{job_id}").json
        assert job["limit"] == {"name": "stripe", "key": "42"}
        assert job["waitingFor"] == {
            "reason": "limit", "limit": "stripe", "key": "42", "inUse": 1, "of": 1, "ahead": 1, "until": None,
        }  # fmt: skip
        free = api.get(f"/api/jobs/{factories.pending_job().id}").json
        assert (free["limit"], free["waitingFor"]) == (None, None)

    def test_lists_are_filtered(self, api: Any) -> None:
        factories.limit("stripe")
        waits = factories.waiting_job(key="42").id
        factories.completed_job(limit_name="stripe", limit_key="42")
        factories.pending_job()
        [job] = api.get("/api/jobs?waiting=true").json
        assert job["id"] == str(waits)
        assert job["waitingFor"]["limit"] == "stripe"
        assert job["waitingFor"]["inUse"] is None
        assert len(api.get("/api/jobs?limitName=stripe&limitKey=42").json) == 2
        assert len(api.get("/api/jobs?limitName=stripe&limitKey=42&waiting=true").json) == 1

    @pytest.mark.parametrize(
        ("query", "errors"),
        [
            ("limitKey=42", {"limitKey": ["needs limitName."]}),
            ("waiting=1", {"waiting": ["must be one of true."]}),
            ("waiting=true&status=failed", {"waiting": ["needs a pending status, or none."]}),
        ],
    )
    def test_filters_are_refused(self, api: Any, query: str, errors: Any) -> None:
        assert api.get(f"/api/jobs?{query}").json["errors"] == errors


class TestKeysOfNewJobs:
    @pytest.fixture(autouse=True)
    def fresh(self) -> Any:
        known.forget()
        yield
        known.forget()

    def refused(self, api: Any, body: dict[str, Any]) -> Any:
        single = api.post("/api/jobs", body)
        assert single.status_code == 422
        bulk = api.post(
            "/api/jobs/bulk",
            {"jobs": [{"type": "sleep", "payload": {"seconds": 0}, "limitKey": None}, body]},
        )
        errors = {
            path.removeprefix("jobs.1."): texts for path, texts in bulk.json["errors"].items()
        }
        assert errors == single.json["errors"]
        return errors

    def test_a_key_without_a_limit_is_refused(self, api: Any) -> None:
        assert self.refused(api, {"type": "echo", "limitKey": "a"}) == {
            "limitKey": ["has no use: neither type echo nor queue default is under a limit."]
        }

    @pytest.mark.parametrize(
        ("payload", "text"),
        [
            ({}, "is required: limit stripe takes its key from it."),
            ({"customerId": {"id": 1}}, "must be text or a number: limit stripe takes its key from it."),
        ],
    )  # fmt: skip
    def test_the_field_of_the_key_is_checked(self, api: Any, payload: Any, text: str) -> None:
        factories.limit("stripe", by_field="customerId", types=("echo",))
        assert self.refused(api, {"type": "echo", "payload": payload}) == {
            "payload.customerId": [text]
        }

    def test_a_limit_by_key_without_a_field_needs_one(self, api: Any) -> None:
        factories.limit("stripe", key_concurrency=1, types=("echo",))
        response = api.post("/api/jobs", {"type": "echo"})
        assert response.json["errors"] == {
            "limitKey": [
                "is required: limit stripe works by key and type echo names no field for it."
            ]
        }
        assert api.post("/api/jobs", {"type": "echo", "limitKey": "a"}).status_code == 201

    def test_a_queue_may_be_limited(self, api: Any) -> None:
        factories.limit("stripe", key_concurrency=1)
        assert api.send("PUT", "/api/queues/mail/limit", {"limit": "stripe"}).status_code == 200
        assert api.post("/api/jobs", {"type": "echo", "queue": "mail"}).status_code == 422
        assert api.post("/api/jobs", {"type": "echo"}).status_code == 201

    def test_an_edit_must_leave_a_key(self, api: Any) -> None:
        factories.limit("stripe", by_field="customerId", types=("echo",))
        job_id = factories.waiting_job(type="echo", key="a", payload={"customerId": "a"}).id
        response = api.patch(f"/api/jobs/{job_id}", {"payload": {}})
        assert response.status_code == 200  # it keeps the key that it has
        response = api.patch(f"/api/jobs/{job_id}", {"payload": {"customerId": []}})
        assert response.json["errors"] == {
            "payload.customerId": ["must be text or a number: limit stripe takes its key from it."]
        }

    def test_python_refuses_the_same(self, session: Any, redis: Any) -> None:
        factories.limit("stripe", by_field="customerId", types=("echo",))
        with pytest.raises(ValidationFailed, match=r"payload\.customerId: is required"):
            enqueue("echo", {})
        with pytest.raises(ValidationFailed, match="limit_key: has no use"):
            enqueue("sleep", {"seconds": 0}, limit_key="a")
        with pytest.raises(ValidationFailed, match="limit_key: must be a string of 1 to 200"):
            enqueue("echo", {"customerId": 1}, limit_key="")
        enqueue("echo", {}, limit_key="a")
