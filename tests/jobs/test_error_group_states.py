"""The states of error groups: who changes them, and what reopens them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from app.jobs import error_group_states as states
from app.jobs import lifecycle
from tests import factories

GROUP = "0123456789ab"


def fail(session: Any, times: int = 1, *, version: str = "1.4.2", ago: float = 0) -> None:
    """Attempts that ended ``ago`` seconds before now, of a worker of that version."""
    worker = factories.worker(version=version)
    for _ in range(times):
        job = factories.failed_job(type="mail", fingerprint=GROUP)
        factories.attempt(
            job, fingerprint=GROUP, error_class="Refused", worker_id=worker.id,
            ended_at=text(f"now() - interval '{ago} s'"),
        )  # fmt: skip


def group(session: Any) -> Any:
    session.commit()
    rows = session.execute(
        text(f"SELECT *, {states.STATE} AS judged FROM error_groups g WHERE fingerprint = :id"),
        {"id": GROUP},
    )
    return rows.one()


def note(session: Any) -> int:
    noted = states.note_failures(session)
    session.commit()
    return noted


def change(session: Any, verb: str) -> None:
    states.change(session, GROUP, verb, by="ada")
    session.commit()


def events(session: Any) -> list[tuple[str, str, Any]]:
    rows = session.execute(
        text("SELECT actor, action, details FROM audit_events WHERE subject = :id ORDER BY id"),
        {"id": GROUP},
    )
    return [tuple(row) for row in rows]


def test_a_group_is_new_since_the_version_that_failed_first(session: Any) -> None:
    fail(session, 2, version="1.4.2")
    fail(session, version="1.4.3")
    row = group(session)
    assert (row.judged, row.first_version, row.type) == ("new", "1.4.2", "mail")
    assert (row.error_class, row.outcome) == ("Refused", "failed")


def test_a_worker_that_ends_attempts_names_its_version(session: Any) -> None:
    worker = factories.worker(version="1.4.2")
    job = factories.processing_job(type="mail", worker_id=worker.id)
    ending = factories.ending(job.id, job.lease_token, "bury", outcome="failed", error="boom",
                              error_class="Boom")  # fmt: skip
    lifecycle.end_attempts(session, [ending])
    row = session.execute(text("SELECT first_version, type FROM error_groups")).one()
    assert tuple(row) == ("1.4.2", "mail")


def test_a_new_group_is_known_after_a_day(session: Any) -> None:
    fail(session)
    session.execute(text("UPDATE error_groups SET changed_at = now() - interval '25 hours'"))
    assert group(session).judged == "known"


@pytest.mark.parametrize(
    ("verb", "state"), [("acknowledge", "known"), ("mute", "muted"), ("resolve", "resolved")]
)
def test_a_person_changes_the_state_and_the_audit_log_says_so(
    session: Any, verb: str, state: str
) -> None:
    fail(session)
    change(session, verb)
    row = group(session)
    assert (row.judged, row.changed_by) == (state, "ada")
    [(actor, action, details)] = events(session)
    assert (actor, action) == ("ada", f"error_group.{verb}")
    assert details["from"] == "new"
    assert details["type"] == "mail"
    with pytest.raises(states.ErrorGroupUnchanged, match=f"is {state}; {verb} needs new"):
        states.change(session, GROUP, verb, by="ada")


def test_an_unknown_group_is_refused(session: Any) -> None:
    with pytest.raises(states.ErrorGroupNotFound):
        states.change(session, GROUP, "mute", by="ada")


def test_a_resolved_group_reopens_at_the_next_failure_and_remembers_who_resolved_it(
    session: Any,
) -> None:
    fail(session)
    change(session, "resolve")
    note(session)  # a failure from before
    assert group(session).judged == "resolved"
    fail(session, version="1.4.3")
    note(session)
    row = group(session)
    assert (row.judged, row.former_state, row.former_by) == ("reopened", "resolved", "ada")
    assert (row.reopened_version, row.changed_by) == ("1.4.3", None)
    assert events(session)[-1][:2] == ("system", "error_group.reopen")


def test_a_muted_group_reopens_at_twice_its_rate(session: Any) -> None:
    fail(session, ago=7200)
    session.execute(text("UPDATE error_groups SET first_seen_at = now() - interval '1 day'"))
    fail(session, 3, ago=60)
    note(session)
    change(session, "mute")
    assert group(session).muted_per_hour == 3
    fail(session, 2)
    note(session)
    assert group(session).judged == "muted"
    fail(session)
    note(session)
    row = group(session)
    assert (row.judged, row.former_state, row.former_by) == ("reopened", "muted", "ada")
    assert row.muted_per_hour is None


def test_a_group_that_was_quiet_is_not_reopened_by_a_single_failure(session: Any) -> None:
    fail(session, ago=7200)
    session.execute(text("UPDATE error_groups SET first_seen_at = now() - interval '1 day'"))
    change(session, "mute")
    fail(session)
    note(session)
    assert group(session).judged == "muted"


def test_the_rate_of_a_young_group_counts_from_its_first_failure(session: Any) -> None:
    fail(session, 10, ago=0)
    session.execute(text("UPDATE error_groups SET first_seen_at = now() - interval '6 minutes'"))
    change(session, "mute")
    assert group(session).muted_per_hour == pytest.approx(100, rel=0.1)


def test_a_person_reopens_a_group(session: Any) -> None:
    fail(session)
    change(session, "mute")
    change(session, "reopen")
    row = group(session)
    assert (row.judged, row.changed_by, row.former_state) == ("reopened", "ada", "muted")
    change(session, "acknowledge")
    assert group(session).judged == "known"


def test_failures_are_counted_by_hour_once(session: Any) -> None:
    fail(session, 3)
    assert note(session) == 3
    fail(session)
    note(session)
    assert note(session) == 0
    assert session.scalar(text("SELECT sum(n) FROM error_group_hours")) == 4


def test_attempts_without_a_group_are_not_noted(session: Any) -> None:
    factories.attempt(factories.failed_job())
    assert session.scalar(text("SELECT count(*) FROM error_group_deltas")) == 0
    assert session.scalar(text("SELECT count(*) FROM error_groups")) == 0


def test_old_groups_without_jobs_are_deleted(session: Any) -> None:
    fail(session)
    note(session)
    session.execute(text("UPDATE error_groups SET last_seen_at = now() - interval '91 days'"))
    session.execute(text("UPDATE error_group_hours SET hour = now() - interval '3 days'"))
    states.prune(session)
    assert session.scalar(text("SELECT count(*) FROM error_groups")) == 1  # it has a job
    assert session.scalar(text("SELECT count(*) FROM error_group_hours")) == 0
    session.execute(text("DELETE FROM jobs"))
    states.prune(session)
    assert session.scalar(text("SELECT count(*) FROM error_groups")) == 0
