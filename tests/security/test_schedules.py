"""Schedules and roles: who sees payloads, and who changes what."""

from __future__ import annotations

from typing import Any

import pytest

BODY = {
    "type": "echo",
    "payload": {"password": "hunter2", "of": "orders"},
    "everySeconds": 3600,
}


@pytest.fixture
def client(closed: Any, bearer: Any, session: Any) -> Any:
    client = closed.test_client()
    response = client.put("/api/schedules/nightly", json=BODY, headers=bearer("operator"))
    assert response.status_code == 201
    return client


def test_secrets_in_payloads_are_masked_for_viewers(client: Any, bearer: Any) -> None:
    for path in ("/api/schedules/nightly", "/api/schedules"):
        shown = client.get(path, headers=bearer("viewer")).text
        assert "hunter2" not in shown
        assert "orders" in shown
        assert "hunter2" in client.get(path, headers=bearer("operator")).text


def test_a_search_does_not_look_at_payloads(client: Any, bearer: Any) -> None:
    for role in ("viewer", "operator"):
        found = client.get("/api/schedules?search=hunter2", headers=bearer(role)).json
        assert found == []


def test_who_changed_a_schedule_is_recorded(client: Any, bearer: Any) -> None:
    schedule = client.get("/api/schedules/nightly", headers=bearer("viewer")).json
    assert schedule["createdBy"] == "operator"
    paused = client.post("/api/schedules/nightly/pause", headers=bearer("admin")).json
    assert paused["pausedBy"] == "admin"


def test_only_admins_delete(client: Any, bearer: Any) -> None:
    path = "/api/schedules/nightly"
    assert client.delete(path, headers=bearer("operator")).status_code == 403
    assert client.delete(path, headers=bearer("admin")).status_code == 204
    assert client.get(path).status_code == 401


def test_a_run_by_a_person_names_the_person(client: Any, bearer: Any) -> None:
    job = client.post("/api/schedules/nightly/run", headers=bearer("operator")).json
    assert job["createdBy"] == "operator"
