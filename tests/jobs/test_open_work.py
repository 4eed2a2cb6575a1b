"""The check for work names the duties that have work, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.extensions import db
from app.jobs import bulk, open_work
from app.jobs.listing.filters import JobFilter
from app.jobs.statistics import summary
from tests import factories


@pytest.fixture
def engine(session: Any) -> Engine:
    return db.engine


@pytest.fixture
def look(session: Any, engine: Engine) -> Callable[[], set[str]]:
    """The duties with work, all counters folded with ``folds``."""

    def look(*, folds: bool = True) -> set[str]:
        while folds and summary.fold(session):
            session.commit()
        session.commit()
        return open_work.duties_with_work(engine)

    return look


def test_an_empty_system_has_no_work(look: Any) -> None:
    assert look() == set()


def test_jobs_that_need_nothing_are_no_work(look: Any) -> None:
    factories.scheduled_job()
    factories.pending_job(expires_at=factories._now(60))
    factories.processing_job()
    factories.completed_job()
    assert look() == set()


def test_changed_counters_are_folded(look: Any) -> None:
    factories.scheduled_job()
    assert look(folds=False) == {"fold"}
    assert look() == set()


def test_a_dead_letter_goes_to_the_list(look: Any) -> None:
    factories.failed_job()
    assert look() == {"mirror"}


def test_a_job_past_its_expiry_is_cancelled(look: Any) -> None:
    factories.scheduled_job(expires_at=factories._now(-1))
    assert look() == {"expire"}


def test_a_job_that_waits_may_be_missing_in_redis(look: Any) -> None:
    factories.pending_job(due_in=-1)
    assert look() == set()
    factories.pending_job(due_in=-3)
    assert look() == {"reconcile"}


def test_a_bulk_action_is_no_work_within_its_grace_period(look: Any, session: Any) -> None:
    factories.scheduled_job()
    bulk.create(
        session,
        "cancel",
        JobFilter(),
        description="all",
        by="ada",
        grace_seconds=bulk.GRACE_SECONDS,
    )
    assert look() == set()
    session.execute(text("UPDATE bulk_actions SET next_at = now()"))
    assert look() == {"bulk"}


def test_a_bulk_action_is_carried_out_until_it_is_paused(look: Any, session: Any) -> None:
    factories.scheduled_job()
    number = bulk.create(session, "cancel", JobFilter(), description="all", by="ada")
    assert look() == {"bulk"}
    bulk.pause(session, number, by="ada")
    assert look() == set()
    bulk.resume(session, number, by="ada")
    assert look() == {"bulk"}
    bulk.stop(session, number, by="ada")
    assert look() == set()


def test_no_statistics_make_it_read_all_jobs(session: Any) -> None:
    """Taken while nothing was pending, or while everything was."""
    for make in (factories.completed_job, factories.pending_job):
        for _ in range(50):
            make()
        session.execute(text("ANALYZE jobs"))
        session.execute(text("SET LOCAL enable_sort = off"))
        plan = session.scalars(text(f"EXPLAIN {open_work._WORK.text}")).all()
        session.rollback()
        jobs = [line for line in plan if " on jobs" in line]
        assert len(jobs) >= 2
        assert not [line for line in jobs if "Seq Scan" in line], plan
        assert not [line for line in plan if "Sort" in line], plan
