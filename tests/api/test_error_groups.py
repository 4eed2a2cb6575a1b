"""/api/error-groups: the list, a group, and its states."""

from __future__ import annotations

from typing import Any

import pytest

from app import cache
from app.jobs import error_group_states
from tests import factories


def fail(fingerprint: str, *, type: str = "mail", version: str = "1.4.2", **columns: Any) -> None:
    worker = factories.worker(version=version)
    job = factories.failed_job(type=type, fingerprint=fingerprint)
    factories.attempt(
        job, fingerprint=fingerprint, worker_id=worker.id, error="Refused: no", error_class="Refused", **columns
    )  # fmt: skip


GROUPS = [f"{n:012x}" for n in range(3)]


def fingerprints(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [group["fingerprint"] for group in answer.json]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    cache.forget()


def test_a_group_has_its_facts(client: Any, session: Any) -> None:
    fail(GROUPS[0])
    group = client.get(f"/api/error-groups/{GROUPS[0]}").json
    assert group["state"] == "new"
    assert (group["type"], group["errorClass"], group["error"]) == (
        "mail",
        "Refused",
        "Refused: no",
    )
    assert group["firstSeenVersion"] == "1.4.2"
    assert (group["failedJobs"], group["retryingJobs"]) == (1, 0)
    assert len(group["failuresPerHour"]) == 24
    assert sum(group["failuresPerHour"]) == 1
    assert group["reopened"] is None
    assert client.get("/api/error-groups").json == [group]


def test_an_unknown_group_is_not_found(client: Any, session: Any) -> None:
    for fingerprint in ("ffffffffffff", "x", "%00"):
        answer = client.get(f"/api/error-groups/{fingerprint}")
        assert (answer.status_code, answer.json["code"]) == (404, "error_group_not_found")
    assert client.post("/api/error-groups/ffffffffffff/mute").status_code == 404


def test_a_list_is_paged_by_the_last_failure(client: Any, session: Any) -> None:
    for fingerprint in GROUPS:
        fail(fingerprint)
    first = client.get("/api/error-groups?limit=2&state=all")
    assert fingerprints(first) == [GROUPS[2], GROUPS[1]]
    cursor = first.headers["X-Next-Cursor"]
    rest = client.get(f"/api/error-groups?limit=2&state=all&cursor={cursor}")
    assert fingerprints(rest) == [GROUPS[0]]
    assert "X-Next-Cursor" not in rest.headers
    assert client.get("/api/error-groups?cursor=nonsense").status_code == 422


def test_a_list_is_narrowed_by_state_and_type(client: Any, session: Any) -> None:
    for fingerprint, type in zip(GROUPS, ("mail", "post", "mail"), strict=True):
        fail(fingerprint, type=type)
    client.post(f"/api/error-groups/{GROUPS[0]}/mute")
    client.post(f"/api/error-groups/{GROUPS[1]}/resolve")
    cache.forget()
    for query, expected in {
        "": [GROUPS[2]], "state=muted": [GROUPS[0]], "state=resolved": [GROUPS[1]], "state=new": [GROUPS[2]],
        "state=all&type=mail": [GROUPS[2], GROUPS[0]],
    }.items():  # fmt: skip
        assert fingerprints(client.get(f"/api/error-groups?{query}")) == expected, query
    assert client.get("/api/error-groups?state=nonsense").status_code == 422


def test_states_are_changed_and_refused(client: Any, session: Any) -> None:
    fail(GROUPS[0])
    address = f"/api/error-groups/{GROUPS[0]}"
    muted = client.post(f"{address}/mute").json
    assert (muted["state"], muted["changedBy"]) == ("muted", "api")
    assert muted["reopensAt"] >= 2
    again = client.post(f"{address}/mute")
    assert (again.status_code, again.json["code"]) == (409, "invalid_transition")
    reopened = client.post(f"{address}/reopen").json
    assert reopened["state"] == "reopened"
    assert reopened["reopened"]["formerState"] == "muted"
    assert reopened["reopened"]["formerBy"] == "api"
    assert client.post(f"{address}/acknowledge").json["state"] == "known"
    assert client.post(f"{address}/resolve").json["state"] == "resolved"


def test_a_failure_reopens_a_resolved_group(client: Any, session: Any) -> None:
    fail(GROUPS[0])
    client.post(f"/api/error-groups/{GROUPS[0]}/resolve")
    fail(GROUPS[0], version="1.4.3")
    error_group_states.note_failures(session)
    session.commit()
    group = client.get(f"/api/error-groups/{GROUPS[0]}").json
    assert (group["state"], group["changedBy"]) == ("reopened", None)
    assert group["reopened"]["version"] == "1.4.3"


def test_the_jobs_of_a_group_are_listed_and_previewed_for_a_bulk_action(
    client: Any, session: Any
) -> None:
    for fingerprint in GROUPS:
        fail(fingerprint)
    [job] = client.get(f"/api/jobs?fingerprint={GROUPS[1]}").json
    assert job["status"] == "failed"
    assert client.get("/api/jobs?fingerprint=x").status_code == 422
    filter = {"status": "failed", "fingerprint": GROUPS[1]}
    preview = client.post("/api/bulk-actions/preview", json={"verb": "retry", "filter": filter})
    assert preview.status_code == 200, preview.text
    assert preview.json["count"] == 1
