"""/api/bulk-actions: preview, confirm, watch, control, undo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from app import cache
from app.api.http import reference
from app.api.http.openapi import document
from app.jobs import bulk, lifecycle
from tests import factories
from tests.api.conftest import Api

PATH = "/api/bulk-actions"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    cache.forget()
    yield
    cache.forget()


@pytest.fixture
def start(api: Api) -> Callable[..., Any]:
    """Previews and confirms: ``start("cancel", {"status": "scheduled"})``; the action."""

    def start(verb: str, filter: dict[str, Any], **more: Any) -> Any:
        found = api.post(f"{PATH}/preview", {"verb": verb, "filter": filter}).json
        body = {"verb": verb, "filter": filter, "preview": found["preview"], **more}
        response = api.post(PATH, body)
        assert response.status_code == 201, response.json
        return response.json

    return start


@pytest.fixture
def work(session: Any) -> Callable[..., int]:
    """Time passes until every action may begin, and a worker carries out at most ``chunks``."""

    def work(chunks: int = 1_000) -> int:
        session.rollback()
        session.execute(text("UPDATE bulk_actions SET next_at = least(next_at, now())"))
        session.commit()
        examined = sum(bulk.step(session) for _ in range(min(chunks, 20)))
        cache.forget()
        return examined

    return work


def test_from_the_preview_to_the_outcome_and_back(
    api: Api, start: Any, work: Any, session: Any
) -> None:
    jobs = [factories.scheduled_job(type="echo", queue="reports") for _ in range(3)]
    factories.scheduled_job(type="sleep")
    filter = {"status": "scheduled", "type": "echo"}
    found = api.post(f"{PATH}/preview", {"verb": "cancel", "filter": filter}).json
    assert (found["count"], found["isExact"]) == (3, True)
    assert found["byType"] == [{"value": "echo", "count": 3}]
    assert found["byQueue"] == [{"value": "reports", "count": 3}]
    assert found["byStatus"] == [{"value": "scheduled", "count": 3}]
    assert found["firstAt"] <= found["lastAt"]
    late = factories.scheduled_job(type="echo")
    response = api.post(PATH, {"verb": "cancel", "filter": filter, "preview": found["preview"]})
    assert response.status_code == 201
    action = response.json
    assert response.headers["Location"] == f"{PATH}/{action['id']}"
    assert (action["state"], action["total"], action["notIncluded"]) == ("starting", 3, 1)
    assert action["startsAt"] is not None
    assert work() == 3
    action = api.get(f"{PATH}/{action['id']}").json
    assert (action["state"], action["done"], action["skipped"]) == ("finished", 3, 0)
    assert action["description"] == "Scheduled jobs, type echo"
    assert action["outcome"] == {
        "total": 3, "pending": 0, "processing": 0, "completed": 0, "failed": 0, "cancelled": 3, "deleted": 0,
        "undoable": 3,
    }  # fmt: skip
    listed = api.get(f"/api/jobs?bulkAction={action['id']}&status=cancelled").json
    assert {job["id"] for job in listed} == {str(job.id) for job in jobs}
    undoing = api.post(f"{PATH}/{action['id']}/undo")
    assert (undoing.status_code, undoing.json["undoOf"]) == (201, action["id"])
    assert undoing.headers["Location"] == f"{PATH}/{undoing.json['id']}"
    work()
    again = {job["id"]: job["nextRunAt"] for job in api.get("/api/jobs?status=scheduled").json}
    assert again.keys() >= {str(job.id) for job in jobs} | {str(late.id)}
    assert api.get(f"{PATH}/{action['id']}").json["undoneBy"] == undoing.json["id"]


def test_an_undo_before_the_start_changes_no_job(
    api: Api, start: Any, work: Any, session: Any
) -> None:
    factories.pending_job()
    action = start("cancel", {})
    response = api.post(f"{PATH}/{action['id']}/undo")
    assert (response.status_code, response.json["state"]) == (200, "undone")
    assert work() == 0
    assert api.get("/api/jobs/stats").json["pending"] == 1


def test_the_same_preview_sent_again_returns_the_same_action(api: Api, session: Any) -> None:
    factories.pending_job()
    body = {"verb": "cancel", "filter": {}}
    body["preview"] = api.post(f"{PATH}/preview", body).json["preview"]
    first, second = api.post(PATH, body), api.post(PATH, body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json["id"] == second.json["id"]
    assert len(api.get(PATH).json) == 1


def test_an_action_is_paused_resumed_and_cancelled(
    api: Api, start: Any, work: Any, session: Any
) -> None:
    for _ in range(3):
        factories.pending_job()
    action = start("cancel", {}, perSecond=1, delaySeconds=0)
    path = f"{PATH}/{action['id']}"
    assert action["perSecond"] == 1
    assert work(chunks=1) == 1
    assert api.post(f"{path}/pause").json["state"] == "paused"
    assert work() == 0
    assert api.post(f"{path}/resume").json["state"] == "running"
    assert work(chunks=1) == 1
    assert api.post(f"{path}/cancel").json["state"] == "stopped"
    assert api.post(f"{path}/cancel").json["state"] == "stopped"
    for verb in ("pause", "resume"):
        response = api.post(f"{path}/{verb}")
        assert (response.status_code, response.json["code"]) == (409, "bulk_ended")
    assert api.get("/api/jobs/stats").json["cancelled"] == 2


def test_an_edit_changes_every_field_and_is_undone(
    api: Api, start: Any, work: Any, session: Any
) -> None:
    factories.scheduled_job(priority=1, tags=["a"], max_attempts=3)
    before = api.get("/api/jobs").json
    changes = {
        "priority": 9, "queue": "slow", "maxAttempts": 7, "tags": ["b", "c"], "nextRunAt": "2030-01-01T00:00:00Z",
    }  # fmt: skip
    action = start("edit", {}, changes=changes)
    work()
    [job] = api.get("/api/jobs").json
    assert {name: job[name] for name in changes} == changes | {
        "nextRunAt": "2030-01-01T00:00:00.000Z"
    }
    api.post(f"{PATH}/{action['id']}/undo")
    work()
    [job] = api.get("/api/jobs").json
    assert job | {"updatedAt": None} == before[0] | {"updatedAt": None}


def test_the_list_is_paged(api: Api, start: Any, session: Any) -> None:
    numbers = [start("cancel", {})["id"] for _ in range(3)]
    page = api.get(f"{PATH}?limit=2")
    assert [one["id"] for one in page.json] == numbers[:0:-1]
    rest = api.get(f"{PATH}?limit=2&cursor={page.headers['X-Next-Cursor']}")
    assert [one["id"] for one in rest.json] == numbers[:1]
    assert "X-Next-Cursor" not in rest.headers
    assert api.get(f"{PATH}?cursor=x").json["code"] == "invalid_cursor"


@pytest.mark.parametrize("status", ["scheduled", "retrying", "pending"])
def test_every_filter_of_a_list_is_one_of_a_bulk_action(
    api: Api, session: Any, status: str
) -> None:
    job = factories.BY_VIEW[status](tags=["vip"], payload={"to": "ada"})
    session.execute(text("UPDATE jobs SET last_error = 'no boat' WHERE id = :id"), {"id": job.id})
    session.commit()
    filter = {
        "status": status, "type": "echo", "queue": "default", "tag": "vip", "createdFrom": "2020-01-01T00:00:00Z",
        "createdTo": "2099-01-01T00:00:00Z", "nextRunTo": "2099-01-01T00:00:00Z", "error": "boat", "payload": {"to": "ada"},
        "search": "ada",
    }  # fmt: skip
    found = api.post(f"{PATH}/preview", {"verb": "cancel", "filter": filter}).json
    assert found["count"] == 1
    body = {"verb": "cancel", "filter": filter, "preview": found["preview"]}
    assert api.post(PATH, body).json["total"] == 1


def test_jobs_of_a_key_at_a_limit_are_a_filter(api: Api, session: Any) -> None:
    factories.limit("stripe")
    factories.waiting_job(key="42")
    factories.waiting_job(key="43")
    filter = {"limitName": "stripe", "limitKey": "42"}
    found = api.post(f"{PATH}/preview", {"verb": "cancel", "filter": filter})
    assert found.json["count"] == 1
    refused = api.post(f"{PATH}/preview", {"verb": "cancel", "filter": {"limitKey": "42"}})
    assert refused.json["errors"] == {"filter.limitKey": ["needs limitName."]}


def test_jobs_that_an_action_changed_are_a_filter(
    api: Api, start: Any, work: Any, session: Any
) -> None:
    for _ in range(3):
        factories.failed_job()
    action = start("retry", {"status": "failed"})
    work()
    factories.pending_job()
    found = api.post(
        f"{PATH}/preview", {"verb": "cancel", "filter": {"bulkAction": action["id"]}}
    ).json
    assert found["count"] == 3


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "verb", "is required"),
        ({"verb": "explode"}, "verb", "must be one of"),
        ({"filter": {"statu": "x"}}, "filter.statu", "is unknown"),
        ({"filter": {"status": "x"}}, "filter.status", "must be one of"),
        ({"filter": {"nextRunTo": "2030-01-01T00:00:00Z"}}, "filter.nextRunTo", "needs status"),
        ({"perSecond": 0}, "perSecond", "from 1 to 10000"),
        ({"delaySeconds": -1}, "delaySeconds", "from 0 to 3600"),
        ({"preview": "x"}, "preview", "missing or incomplete"),
        ({"changes": {"priority": 1}}, "changes", "is for the verb edit only"),
        ({"verb": "edit"}, "changes", "is required for edit"),
        ({"verb": "edit", "changes": {}}, "changes", "must change at least one"),
        ({"filter": {"type": "sleep"}}, "preview", "of another verb or filter"),
        ({"verb": "retry"}, "preview", "of another verb or filter"),
    ],
)
def test_what_is_refused(api: Api, session: Any, body: Any, field: str, words: str) -> None:
    factories.pending_job()
    good = {"verb": "cancel", "filter": {}}
    good["preview"] = api.post(f"{PATH}/preview", good).json["preview"]
    response = api.post(PATH, {**good, **body} if body else {})
    assert response.status_code == 422
    errors = {name: " ".join(texts) for name, texts in response.json["errors"].items()}
    assert words in errors.get(field, str(errors))
    assert api.get(PATH).json == []


@pytest.mark.parametrize("number", [77, 2**63, 10**30])
def test_an_unknown_number(api: Api, number: int) -> None:
    for response in (api.get(f"{PATH}/{number}"), api.post(f"{PATH}/{number}/undo")):
        assert (response.status_code, response.json["code"]) == (404, "bulk_not_found")


def test_what_can_not_be_undone(api: Api, start: Any, work: Any, session: Any) -> None:
    job = factories.scheduled_job()
    action = start("cancel", {"status": "scheduled"})
    work()
    lifecycle.retry(session, [job.id], by="eve")
    session.commit()
    response = api.post(f"{PATH}/{action['id']}/undo")
    assert (response.status_code, response.json["code"]) == (409, "nothing_to_undo")
    action = start("cancel", {"status": "scheduled"})
    work()
    api.post(f"{PATH}/{action['id']}/undo")
    response = api.post(f"{PATH}/{action['id']}/undo")
    assert (response.status_code, response.json["code"]) == (409, "bulk_undone")


def test_the_examples_on_the_page_work(api: Api, session: Any) -> None:
    factories.scheduled_job()
    spec = document()
    body = reference.example(spec, spec["components"]["schemas"]["BulkPreviewRequest"])
    found = api.post(f"{PATH}/preview", body)
    assert (found.status_code, found.json["count"]) == (200, 1)
    body = reference.example(spec, spec["components"]["schemas"]["BulkActionRequest"])
    assert body.keys() == {"verb", "filter", "preview", "perSecond"}
    assert api.post(PATH, {**body, "preview": found.json["preview"]}).status_code == 201
