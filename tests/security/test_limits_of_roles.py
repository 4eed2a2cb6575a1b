"""What a role may not do by a detour, and names that only the API refused."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from app.extensions import db
from app.jobs import bulk
from app.jobs.queries import JobFilter
from tests import factories


@pytest.mark.parametrize("what", ["resume", "pause", "stop"])
def test_an_operator_does_not_steer_a_bulk_deletion(
    closed: Any, sign_in: Any, session: Any, what: str
) -> None:
    factories.completed_job()
    numbers = {
        verb: bulk.create(session, verb, JobFilter(), description="all", by="ada")
        for verb in ("delete", "retry")
    }
    for number in numbers.values():
        bulk.pause(session, number, by="ada")
    factories.failed_job()
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
def test_only_a_name_that_a_job_could_have_is_paused(
    closed: Any, sign_in: Any, bearer: Any, kind: str, what: str, name: str
) -> None:
    page = sign_in("bob").post(f"/{kind}/{name}/{what}")
    answer = closed.test_client().post(f"/api/{kind}/{name}/{what}", headers=bearer("operator"))
    # "/queues/../pause" is another address to a client that resolves it.
    assert page.status_code in (404, 405)
    assert answer.status_code in (404, 405)
    with closed.app_context():
        for table in ("queues", "type_switches"):
            assert db.session.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0
        audit = "SELECT count(*) FROM audit_events WHERE action <> 'sign-in'"
        assert db.session.execute(text(audit)).scalar() == 0
