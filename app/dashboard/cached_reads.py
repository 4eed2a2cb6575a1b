"""Reads that all tabs of a process share for a moment, so that fifty open tabs cost one query per refresh."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from app import cache
from app.extensions import db
from app.jobs import bulk, listing
from app.jobs.limits import listing as limit_listing
from app.jobs.limits import listing_queues
from app.jobs.limits import starts as limit_starts
from app.jobs.models import BulkAction
from app.jobs.schedules import history as schedule_history
from app.jobs.statistics import summary

#: How old the data of a tab may be: cheap reads, expensive reads, lists of names.
QUICK_SECONDS, SLOW_SECONDS, NAMES_SECONDS = 1.0, 2.0, 10.0
#: How old the result of a retry may be.
VERDICT_SECONDS = 0.3
#: An error group whose jobs were all retried stays in the list of open groups for this long.
RETRIED_SECONDS = 900
#: While no worker is alive, the web folds the deltas of the counters this often.
FOLD_SECONDS = 10.0


def counts() -> dict[str, summary.Count]:
    cache.cached("fold", FOLD_SECONDS, lambda: summary.fold_if_overdue(db.engine))
    return cache.cached("dashboard.counts", QUICK_SECONDS, lambda: summary.view_counts(db.session))


def queues() -> list[listing.QueueSummary]:
    return cache.cached(
        "dashboard.queues", QUICK_SECONDS, lambda: listing.queue_overview(db.session)
    )


def types() -> list[listing.TypeSummary]:
    return cache.cached(
        "dashboard.types", SLOW_SECONDS, lambda: listing.job_type_overview(db.session)
    )


def type_names() -> list[str]:
    """Every type that is registered or has jobs: rows may outlive the code of their type."""
    return cache.cached(
        "dashboard.type_names", NAMES_SECONDS, lambda: [summary.name for summary in types()]
    )


def type_options(chosen: str | None) -> list[str]:
    """What a list can be narrowed to: every type, and the one it is narrowed to now."""
    return sorted({*type_names(), *([chosen] if chosen else [])})


def queue_options(chosen: str | None) -> list[str]:
    """Every queue, and the one that the list is narrowed to now."""
    return sorted({*(queue.name for queue in queues()), *([chosen] if chosen else [])})


def oldest_created() -> datetime | None:
    """When the oldest job was created; None without jobs."""
    return cache.cached(
        "dashboard.oldest", NAMES_SECONDS, lambda: listing.oldest_created(db.session)
    )


def workers() -> list[listing.WorkerSummary]:
    return cache.cached(
        "dashboard.workers", QUICK_SECONDS, lambda: listing.list_workers(db.session)
    )


def running() -> dict[UUID, list[dict[str, Any]]]:
    """Worker → the attempts it reported that have not ended since."""
    return cache.cached(
        "dashboard.running",
        QUICK_SECONDS,
        lambda: {
            worker.id: worker.running for worker in listing.still_running(db.session, workers())
        },
    )


def schedule_trouble() -> schedule_history.Trouble:
    """Late schedules, and runs that were missed or failed recently."""
    return cache.cached(
        "dashboard.schedule_trouble", SLOW_SECONDS, lambda: schedule_history.trouble(db.session)
    )


def limits() -> list[limit_listing.LimitSummary]:
    return cache.cached(
        "dashboard.limits", QUICK_SECONDS, lambda: limit_listing.list_limits(db.session)
    )


def held_by_queue() -> dict[str, list[listing_queues.Held]]:
    """Queue → its jobs that wait at limits."""
    return cache.cached("dashboard.held_by_queue", SLOW_SECONDS, _held_by_queue)


def _held_by_queue() -> dict[str, list[listing_queues.Held]]:
    if not any(limit.waiting for limit in limits()):
        return {}
    return listing_queues.waiting_by_queue(db.session)


def rates_now() -> dict[str, float]:
    """Limit → starts per second."""
    return cache.cached(
        "dashboard.rates_now", SLOW_SECONDS, lambda: limit_starts.rates_now(db.session)
    )


def error_groups(
    *, state: str = listing.OPEN, type: str | None = None, search: str = "", skip: int = 0
) -> tuple[list[listing.ErrorGroup], bool]:
    """The groups of a page, and whether there are more; groups retried in the last minutes stay in the list."""

    def read() -> tuple[list[listing.ErrorGroup], bool]:
        groups = listing.list_error_groups(
            db.session, state=state, type=type, search=search or None, counts=listing.shared_counts(db.session),
            besides=bulk.retried_groups(db.session, seconds=RETRIED_SECONDS),
            limit=listing.MAX_ERROR_GROUPS + 1, offset=skip,
        )  # fmt: skip
        return groups[: listing.MAX_ERROR_GROUPS], len(groups) > listing.MAX_ERROR_GROUPS

    name = f"dashboard.error_groups.{state}.{type}.{skip}.{search}"
    return cache.cached(name, SLOW_SECONDS, read)


def error_group_states() -> dict[str, int]:
    """State → error groups."""
    return cache.cached(
        "dashboard.error_group_states", SLOW_SECONDS, lambda: listing.count_states(db.session)
    )


def paused_types() -> set[str]:
    return cache.cached(
        "dashboard.paused_types", QUICK_SECONDS, lambda: listing.paused_types(db.session)
    )


def failed_since(since: datetime) -> int:
    """How many jobs failed permanently since then and still are, without muted groups."""
    return cache.cached(
        f"dashboard.failed_since.{since:%s}", QUICK_SECONDS, lambda: listing.count_failed_since(db.session, since)
    )  # fmt: skip


def error_group_name(fingerprint: str) -> str:
    """ "KeyError in charge-card"; its digits if the group is no longer known."""
    name = cache.cached(
        f"dashboard.error_group.{fingerprint}",
        NAMES_SECONDS,
        lambda: listing.error_group_name(db.session, fingerprint),
    )
    return name or f"error group {fingerprint}"


def open_bulk_actions() -> int:
    """How many bulk actions have not ended."""
    return cache.cached(
        "dashboard.bulk_actions", QUICK_SECONDS, lambda: bulk.count_open(db.session)
    )


def latest_retries(fingerprints: list[str]) -> dict[str, tuple[BulkAction, bulk.Outcome]]:
    return cache.cached(
        f"dashboard.latest_retries.{'.'.join(fingerprints)}",
        VERDICT_SECONDS,
        lambda: bulk.latest_retries(db.session, fingerprints),
    )


def history(range_name: str) -> list[summary.Minute]:
    return cache.cached(
        f"dashboard.history.{range_name}",
        SLOW_SECONDS,
        lambda: summary.history(db.session, range_name),
    )


def trend() -> summary.Trend:
    return cache.cached("dashboard.trend", SLOW_SECONDS, lambda: summary.trend(db.session))


def overview() -> summary.Overview:
    return cache.cached("dashboard.overview", SLOW_SECONDS, lambda: summary.overview(db.session))
