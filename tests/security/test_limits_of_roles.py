"""Indirect ways around the limits of a role, and names that only the API refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import text

from app.extensions import db
from app.jobs import bulk
from app.jobs.listing import JobFilter
from tests import factories


@pytest.mark.parametrize("what", ["resume", "pause", "stop"])
def test_an_operator_can_not_control_a_bulk_deletion(
    closed: Any, sign_in: Any, session: Any, what: str
) -> None:
    factories.failed_job()
    numbers = {
        verb: bulk.create(session, verb, JobFilter(), description="all", by="ada")
        for verb in ("delete", "retry")
    }
    for number in numbers.values():
        bulk.pause(session, number, by="ada")
    session.commit()
    before = session.execute(text("SELECT * FROM bulk_actions ORDER BY id")).all()
    operator = sign_in("bob")
    refused = operator.post(f"/bulk/{numbers['delete']}/{what}")
    assert refused.status_code == 403
    assert "needs admin" in refused.text
    session.rollback()
    assert session.execute(text("SELECT * FROM bulk_actions ORDER BY id")).all() == before
    assert (
        f"/bulk/{numbers['delete']}/resume" not in operator.get(f"/bulk/{numbers['delete']}").text
    )
    assert operator.post(f"/bulk/{numbers['retry']}/{what}").status_code == 303
    assert sign_in("ada").post(f"/bulk/{numbers['delete']}/{what}").status_code == 303
    assert operator.post(f"/bulk/999/{what}").status_code == 404


@pytest.mark.parametrize(
    "name", ["%00", "..", "a/b", "a%20b", "x" * 101, "x" * 3000, "%0a", "é", "-a", "a%2Fb", "%ed%a0%80"]
)  # fmt: skip
@pytest.mark.parametrize("what", ["pause", "resume"])
@pytest.mark.parametrize("kind", ["queues", "job-types"])
def test_only_a_valid_name_can_be_paused(
    closed: Any, sign_in: Any, bearer: Any, kind: str, what: str, name: str
) -> None:
    page = sign_in("bob").post(f"/{kind}/{name}/{what}")
    answer = closed.test_client().post(f"/api/{kind}/{name}/{what}", headers=bearer("operator"))
    # "/queues/../pause" is another address to a client that resolves it.
    assert page.status_code in (404, 405)
    assert answer.status_code in (404, 405)
    with closed.app_context():
        assert db.session.execute(text("SELECT count(*) FROM pauses")).scalar() == 0
        audit = "SELECT count(*) FROM audit_events WHERE action <> 'sign-in'"
        assert db.session.execute(text(audit)).scalar() == 0


SECRET = "hunter2Zq"


@pytest.mark.parametrize(
    "q",
    [
        f"payload.password:{SECRET}",
        f'payload.password:"{SECRET}”"',
        f"password:{SECRET}",
        f"error:{SECRET}",
        SECRET,
        f"tag:vip {SECRET} payload.a:1",
    ],
)
def test_a_viewer_does_not_see_the_search_of_a_bulk_action(
    closed: Any, sign_in: Any, session: Any, q: str
) -> None:
    factories.failed_job(payload={"password": SECRET, "a": 1}, tags=["vip"], error=f"no {SECRET}")
    factories.failed_job(payload={"password": f"{SECRET}”"})
    session.commit()
    operator, viewer = sign_in("bob"), sign_in("eve")
    asked = {"q": q, "queue": "default", "verb": "edit"}
    page = operator.get("/jobs/all", query_string=asked).text
    fields = {"preview": re.search('name="preview" value="([^"]*)"', page)[1]}  # type: ignore[index]
    made = operator.post(
        "/jobs/all", query_string={"q": q, "queue": "default"}, data={**fields, "verb": "edit", "priority": "7"}
    )  # fmt: skip
    assert made.status_code == 303, made.text
    for address in ("/bulk", made.headers["Location"]):
        assert SECRET in operator.get(address).text
        seen = viewer.get(address)
        assert seen.status_code == 200
        assert SECRET not in seen.text
        assert "••••••”: priority 7" in seen.text
    assert "bulk-filter" not in viewer.get(made.headers["Location"]).text
    assert viewer.get("/audit").status_code == 403


def test_a_viewer_sees_the_other_filters_of_a_bulk_action(
    closed: Any, sign_in: Any, session: Any
) -> None:
    number = bulk.create(
        session, "retry", JobFilter(tag="vip"), by="bob",
        description="All jobs, “tag:vip id:0197ab”", link={"q": "tag:vip id:0197ab"},
    )  # fmt: skip
    session.commit()
    page = sign_in("eve").get(f"/bulk/{number}").text
    assert "All jobs, “tag:vip id:0197ab”" in page
    assert 'id="bulk-filter"' in page


def test_a_viewer_does_not_see_the_search_of_a_bulk_action_without_a_stored_filter(
    closed: Any, sign_in: Any, session: Any
) -> None:
    number = bulk.create(
        session, "retry", JobFilter(), description=f"All jobs, “{SECRET}”", by="bob"
    )
    session.commit()
    viewer = sign_in("eve")
    for address in ("/bulk", f"/bulk/{number}"):
        assert SECRET not in viewer.get(address).text
