"""Bulk actions over HTTP, carried out by a worker: undone, none of their jobs runs early or twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.journeys.conftest import Api

pytestmark = pytest.mark.journey

PATH = "/api/bulk-actions"


def start(api: Api, verb: str, filter: dict[str, Any], **more: Any) -> int:
    body = {"verb": verb, "filter": filter}
    ticket = api.post(f"{PATH}/preview", body, 200)["preview"]
    return api.post(PATH, {**body, "preview": ticket, **more}, 201)["id"]


def test_a_cancelled_schedule_is_restored_and_no_job_runs_early(
    api: Api, worker: Callable[..., Any], wait_until: Any, sql: Any, audit: Any
) -> None:
    worker()
    later = {"type": "echo", "nextRunAt": "2099-01-01T00:00:00Z"}
    ids = api.jobs([later for _ in range(600)])
    number = start(api, "cancel", {"status": "scheduled"}, delaySeconds=0)
    wait_until(lambda: api.get(f"{PATH}/{number}")["state"] == "finished", timeout=30)
    assert api.stats()["cancelled"] == 600
    undoing = api.post(f"{PATH}/{number}/undo", status=201)["id"]
    assert api.get(f"{PATH}/{undoing}")["state"] == "starting"
    wait_until(lambda: api.get(f"{PATH}/{undoing}")["state"] == "finished", timeout=30)
    assert api.get(f"{PATH}/{undoing}")["done"] == 600
    assert {api.get(f"/api/jobs/{id}")["nextRunAt"] for id in (ids[0], ids[-1])} == {
        "2099-01-01T00:00:00.000Z"
    }
    due = api.job(
        "echo"
    )  # run by the same worker: had the others become due, they would have run before it
    wait_until(lambda: api.status(due) == "completed", timeout=30)
    assert sql("SELECT count(*) FROM jobs WHERE attempts > 0") == [(1,)]
    audit()
