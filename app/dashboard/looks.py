"""Answers that all tabs of a process share for a moment, so that fifty open tabs cost one query a tick."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from flask import current_app

from app.extensions import db
from app.jobs import bulk, queries, stats
from app.jobs.models import BulkAction

#: How old what a tab shows may be, for what is cheap and for what is not.
QUICK_SECONDS, SLOW_SECONDS, NAMES_SECONDS = 1.0, 2.0, 10.0
#: The outcome of a bulk action of this size is counted less often.
MANY_ITEMS = 50_000
#: While no worker lives, the web folds the counters' deltas now and then.
FOLD_SECONDS = 10.0


def counts() -> dict[str, stats.Count]:
    stats.cached("fold", FOLD_SECONDS, lambda: stats.fold_if_overdue(db.engine))
    return stats.cached("dashboard.counts", QUICK_SECONDS, lambda: stats.view_counts(db.session))


def queues() -> list[queries.QueueSummary]:
    return stats.cached(
        "dashboard.queues", QUICK_SECONDS, lambda: queries.queue_overview(db.session)
    )


def types() -> list[queries.TypeSummary]:
    return stats.cached(
        "dashboard.types", SLOW_SECONDS, lambda: queries.job_type_overview(db.session)
    )


def type_names() -> list[str]:
    """Every type that is registered or has jobs: rows may outlive the code of their type."""
    return stats.cached(
        "dashboard.type_names", NAMES_SECONDS, lambda: [one.name for one in types()]
    )


def oldest_created() -> datetime | None:
    """When the oldest job was created; None without jobs."""
    return stats.cached(
        "dashboard.oldest", NAMES_SECONDS, lambda: queries.oldest_created(db.session)
    )


def workers() -> list[queries.WorkerSummary]:
    lease_seconds = current_app.extensions["settings"].lease_seconds
    return stats.cached(
        "dashboard.workers",
        QUICK_SECONDS,
        lambda: queries.workers(db.session, alive_seconds=lease_seconds),
    )


def running() -> dict[UUID, list[dict[str, Any]]]:
    """Worker → the attempts it reported that have not ended since."""
    return stats.cached(
        "dashboard.running",
        QUICK_SECONDS,
        lambda: {one.id: one.running for one in queries.still_running(db.session, workers())},
    )


def failures() -> list[queries.FailureGroup]:
    return stats.cached(
        "dashboard.failures", SLOW_SECONDS, lambda: queries.failure_groups(db.session)
    )


def failure_name(failure: str) -> str:
    """ "KeyError in charge-card"; its digits where nothing is known of the group any more."""
    name = stats.cached(
        f"dashboard.failure.{failure}",
        NAMES_SECONDS,
        lambda: queries.failure_name(db.session, failure),
    )
    return name or f"failure {failure}"


def latest_retries(failures: list[str]) -> dict[str, tuple[BulkAction, bulk.Outcome]]:
    return stats.cached(
        "dashboard.latest_retries",
        QUICK_SECONDS,
        lambda: bulk.latest_retries(db.session, failures),
    )


def outcome(action: BulkAction) -> bulk.Outcome:
    seconds = QUICK_SECONDS if action.total < MANY_ITEMS else NAMES_SECONDS
    return stats.cached(
        f"dashboard.outcome.{action.id}.{action.done}",
        seconds,
        lambda: bulk.outcome(db.session, action),
    )


def history(range_name: str) -> list[stats.Minute]:
    return stats.cached(
        f"dashboard.history.{range_name}",
        SLOW_SECONDS,
        lambda: stats.history(db.session, range_name),
    )


def trend() -> stats.Trend:
    return stats.cached("dashboard.trend", SLOW_SECONDS, lambda: stats.trend(db.session))


def overview() -> stats.Overview:
    return stats.cached("dashboard.overview", SLOW_SECONDS, lambda: stats.overview(db.session))
