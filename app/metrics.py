"""/metrics in Prometheus's text format: everything is read from the counters, so a scrape is cheap at any size."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import cache, database_errors
from app.errors import RETRY_AFTER_SECONDS, JobQueueError
from app.extensions import db
from app.jobs import listing
from app.jobs.limits import listing as limits
from app.jobs.models import ErrorGroupRow
from app.jobs.publication import is_redis_up
from app.jobs.schedules import figures
from app.jobs.statistics import summary
from app.jobs.statistics.count import COUNT_BOUND
from app.security.roles import requires

log = logging.getLogger(__name__)
blueprint = Blueprint("metrics", __name__)
#: A scrape a second would ask no more than this.
SECONDS = 1.0


@blueprint.get("/metrics")
@requires("viewer")
def metrics() -> Response:
    text = cache.cached("metrics", SECONDS, _text)
    return Response(text, content_type=CONTENT_TYPE_LATEST)


@blueprint.errorhandler(JobQueueError)
def refused(error: JobQueueError) -> Response:
    headers = {"WWW-Authenticate": 'Bearer realm="jobs"'} if error.http_status == 401 else {}
    if error.http_status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if "seconds" in error.facts:
        headers["Retry-After"] = str(error.facts["seconds"])
    return Response(f"{error}\n", error.http_status, headers, content_type="text/plain")


@blueprint.errorhandler(DBAPIError)
@blueprint.errorhandler(PoolTimeout)
def database_failed(error: Exception) -> Response:
    explanation = database_errors.explain(error, log)
    if explanation is None:
        raise error  # our defect: 500, with the traceback in the log
    return refused(explanation)


def _text() -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Now())
    return generate_latest(registry)


class _Now:
    def collect(self) -> Iterator[Metric]:
        session = db.session
        counts = summary.view_counts(session)
        jobs = GaugeMetricFamily("jobqueue_jobs", "Jobs by status.", labels=["status"])
        for status in ("pending", "processing", "completed", "failed", "cancelled"):
            jobs.add_metric([status], int(counts[status]))
        yield jobs
        yield GaugeMetricFamily(
            "jobqueue_dead_letters", "Open dead letters.", int(counts["dead_letters"])
        )
        groups = GaugeMetricFamily(
            "jobqueue_error_groups", "Error groups by state.", labels=["state"]
        )
        states = listing.count_states(session)
        for state in ErrorGroupRow.STATES:
            groups.add_metric([state], states.get(state, 0))
        yield groups
        due = GaugeMetricFamily("jobqueue_queue_due", "Jobs that can run now.", labels=["queue"])
        wait = GaugeMetricFamily(
            "jobqueue_queue_oldest_wait_seconds",
            "How long the oldest due job has waited.",
            labels=["queue"],
        )
        paused = GaugeMetricFamily(
            "jobqueue_queue_paused", "1 while the queue is paused.", labels=["queue"]
        )
        for queue in listing.queue_overview(session):
            due.add_metric([queue.name], int(queue.due))
            wait.add_metric([queue.name], queue.oldest_wait_seconds or 0.0)
            paused.add_metric([queue.name], int(queue.is_paused))
        yield from (due, wait, paused)
        ended = GaugeMetricFamily(
            "jobqueue_attempts_last_hour",
            "Attempts that ended in the last hour.",
            labels=["type", "outcome"],
        )
        for name, activity in summary.last_hour(session).types.items():
            for outcome in ("completed", "retried", "failed"):
                ended.add_metric([name, outcome], getattr(activity, outcome))
        yield ended
        workers = listing.list_workers(session)
        yield GaugeMetricFamily(
            "jobqueue_workers_alive", "Workers with a heartbeat.", sum(w.is_alive for w in workers)
        )
        yield GaugeMetricFamily(
            "jobqueue_worker_threads",
            "Threads of these workers.",
            sum(w.threads for w in workers if w.is_alive),
        )
        yield GaugeMetricFamily(
            "jobqueue_endings_refused",
            "Endings of attempts that were not stored, mostly because the worker had lost the lease;"
            " workers of the last hour, since their start.",
            sum(w.refused for w in workers),
        )
        yield from _schedules()
        yield from _limits()
        yield GaugeMetricFamily("jobqueue_redis_up", "1 while Redis responds.", int(is_redis_up()))


def _schedules() -> Iterator[Metric]:
    schedules = GaugeMetricFamily("jobqueue_schedules", "Schedules by state.", labels=["state"])
    for state, count in figures.by_state(db.session).items():
        schedules.add_metric([state], count)
    yield schedules
    yield GaugeMetricFamily(
        "jobqueue_schedule_lag_seconds",
        "How long the scheduled run that waits longest has been due.",
        figures.lag_seconds(db.session),
    )
    ticks = GaugeMetricFamily(
        "jobqueue_schedule_ticks", "Scheduled runs of the last 24 hours.", labels=["outcome"]
    )
    for outcome, count in figures.by_outcome(db.session).items():
        ticks.add_metric([outcome], count)
    yield ticks


def _limits() -> Iterator[Metric]:
    running = GaugeMetricFamily(
        "jobqueue_limit_running", "Jobs that run, by limit.", labels=["limit"]
    )
    waiting = GaugeMetricFamily(
        "jobqueue_limit_waiting",
        f"Jobs that are due and wait at a limit, counted to {COUNT_BOUND} at most.",
        labels=["limit"],
    )
    oldest = GaugeMetricFamily(
        "jobqueue_limit_oldest_wait_seconds",
        "How long the oldest of these has waited.",
        labels=["limit"],
    )
    closed = GaugeMetricFamily(
        "jobqueue_limit_stopped",
        "1 while the limit is paused, or closed by a handler.",
        labels=["limit"],
    )
    for limit in limits.list_limits(db.session):
        running.add_metric([limit.name], limit.running)
        waiting.add_metric([limit.name], int(limit.waiting))
        oldest.add_metric([limit.name], limit.oldest_wait_seconds or 0.0)
        closed.add_metric([limit.name], int(limit.is_paused or limit.blocked_until is not None))
    yield from (running, waiting, oldest, closed)
