"""Who may preview, start, see, control and undo bulk actions through the API."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from app.jobs import bulk
from app.jobs.listing import JobFilter
from tests import factories

PATH = "/api/bulk-actions"
SECRET = "hunter2Zq"


@pytest.fixture
def ask(closed: Any, bearer: Any) -> Any:
    """``ask("viewer", "POST", path, body)``"""
    client = closed.test_client()
    return lambda role, method, path, body=None: client.open(
        path, method=method, json=body, headers=bearer(role)
    )


def test_a_viewer_previews_and_starts_nothing(ask: Any, session: Any) -> None:
    factories.pending_job()
    body = {"verb": "cancel", "filter": {}}
    found = ask("viewer", "POST", f"{PATH}/preview", body)
    assert (found.status_code, found.json["count"]) == (200, 1)
    assert ask("viewer", "POST", PATH, {**body, "preview": "x"}).status_code == 403
    assert ask("viewer", "GET", PATH).json == []


def test_a_viewer_does_not_preview_by_payload(ask: Any, session: Any) -> None:
    factories.pending_job(payload={"password": SECRET})
    body = {"verb": "cancel", "filter": {"payload": {"password": SECRET}}}
    assert ask("viewer", "POST", f"{PATH}/preview", body).status_code == 403
    body = {"verb": "cancel", "filter": {"search": SECRET}}
    assert ask("viewer", "POST", f"{PATH}/preview", body).json["count"] == 0
    assert ask("operator", "POST", f"{PATH}/preview", body).json["count"] == 1


@pytest.mark.parametrize(
    "filter",
    [{"payload": {"password": SECRET}}, {"search": SECRET}, {"search": f"”{SECRET}“", "tag": "vip"}],
)  # fmt: skip
def test_a_viewer_does_not_see_what_was_searched(ask: Any, session: Any, filter: Any) -> None:
    body = {"verb": "cancel", "filter": filter}
    body["preview"] = ask("operator", "POST", f"{PATH}/preview", body).json["preview"]
    made = ask("operator", "POST", PATH, body)
    assert made.status_code == 201, made.text
    for path in (PATH, f"{PATH}/{made.json['id']}"):
        assert SECRET in ask("operator", "GET", path).text
        seen = ask("viewer", "GET", path)
        assert seen.status_code == 200
        assert SECRET not in seen.text


def test_an_action_of_the_api_shows_a_viewer_of_the_dashboard_no_search(
    ask: Any, sign_in: Any, session: Any
) -> None:
    body = {"verb": "cancel", "filter": {"search": SECRET}}
    body["preview"] = ask("operator", "POST", f"{PATH}/preview", body).json["preview"]
    number = ask("operator", "POST", PATH, body).json["id"]
    for page in ("/bulk", f"/bulk/{number}"):
        assert SECRET not in sign_in("eve").get(page).text


def test_only_an_admin_deletes_in_bulk_and_controls_it(ask: Any, session: Any) -> None:
    factories.failed_job()
    body = {"verb": "delete", "filter": {}}
    body["preview"] = ask("operator", "POST", f"{PATH}/preview", body).json["preview"]
    assert ask("operator", "POST", PATH, body).status_code == 403
    number = ask("admin", "POST", PATH, body).json["id"]
    before = session.execute(text("SELECT * FROM bulk_actions")).all()
    for verb in ("pause", "resume", "cancel", "undo"):
        assert ask("operator", "POST", f"{PATH}/{number}/{verb}").status_code == 403
        assert ask("viewer", "POST", f"{PATH}/{number}/{verb}").status_code == 403
    session.rollback()
    assert session.execute(text("SELECT * FROM bulk_actions")).all() == before
    assert ask("admin", "POST", f"{PATH}/{number}/undo").json["state"] == "undone"


def test_an_undo_needs_the_role_of_what_it_undoes(ask: Any, sign_in: Any, session: Any) -> None:
    factories.scheduled_job()
    number = bulk.create(session, "cancel", JobFilter(), description="all", by="ada")
    session.commit()
    bulk.step(session)
    assert ask("viewer", "POST", f"{PATH}/{number}/undo").status_code == 403
    assert sign_in("eve").post(f"/bulk/{number}/undo").status_code == 403
    undoing = ask("operator", "POST", f"{PATH}/{number}/undo")
    assert undoing.status_code == 201
    assert ask("operator", "POST", f"{PATH}/{undoing.json['id']}/pause").status_code == 200
    assert sign_in("bob").post(f"/bulk/{undoing.json['id']}/stop").status_code == 303
