"""Why a pending job is not running, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from app import clock
from app.dashboard.present.format import compact, duration
from app.dashboard.present.limit_words import limit_reasons
from app.jobs.holds import EXPIRED, QUEUE_NOT_SERVED, QUEUE_PAUSED, TYPE_PAUSED, TYPE_UNKNOWN
from app.jobs.listing import WorkerSummary
from app.jobs.listing.waiting import Waiting
from app.jobs.models import Job
from app.jobs.statistics.count import Count

NEXT = "It is next and starts as soon as a thread is free."
REDIS_DOWN = "Redis is not reachable. The job is stored and will start when Redis is back."
NOT_IN_REDIS = (
    "The job is not in Redis, or a worker is starting it now. If it is missing, it is queued again"
    " within seconds."
)


def holds(
    job: Job, waiting: Waiting, workers: Sequence[WorkerSummary], unknown_type_hours: float
) -> list[str]:
    """Everything that keeps ``job`` from being started, the job's own reason first; [] if nothing does.

    ``unknown_type_hours``: after how long without a handler a job fails; 0 for never.
    """
    reasons = [_not_due(job, waiting), *limit_reasons(waiting.limit)]
    if job.expires_at and job.expires_at <= clock.now():
        reasons.append(EXPIRED.explain())
    if waiting.queue_pause:
        by = _by(waiting.queue_pause.paused_by)
        reasons.append(QUEUE_PAUSED.explain(queue=job.queue, by=by))
    if waiting.type_pause:
        by = _by(waiting.type_pause.paused_by)
        reasons.append(TYPE_PAUSED.explain(type=job.type, by=by))
    serving = workers_of(job, workers)
    if not any(worker.is_alive for worker in workers):
        reasons.append("No workers are running. Start one.")
    elif not serving:
        reasons.append(QUEUE_NOT_SERVED.explain(queue=job.queue))
    elif not any(worker.types is None or job.type in worker.types for worker in serving):
        reasons.append(_unknown_type(job, waiting, unknown_type_hours))
    return [reason for reason in reasons if reason]


def workers_of(job: Job, workers: Sequence[WorkerSummary]) -> list[WorkerSummary]:
    """The live workers that serve the job's queue."""
    return [
        worker
        for worker in workers
        if worker.is_alive and (not worker.queues or job.queue in worker.queues)
    ]


def position(job: Job, ahead: Count, threads: int) -> str:
    """Where ``job`` is in its queue, which ``threads`` threads serve."""
    if not ahead:
        return NEXT
    count = compact(ahead) if ahead.is_exact else f"More than {compact(int(ahead))}"
    are, s = ("is", "") if ahead == 1 else ("are", "s")
    served_by = f"{threads} thread{'' if threads == 1 else 's'}"
    return f"{count} job{s} {are} ahead of it in queue {job.queue}, served by {served_by}."


def _not_due(job: Job, waiting: Waiting) -> str:
    seconds, refusal = waiting.due_in_seconds, waiting.refusal
    if refusal:
        times = (
            "" if refusal.times == 1 else f" ({refusal.times} times in {duration(refusal.seconds)})"
        )
        return (
            f"A worker could not run this job and returned it{times}: {refusal.error}."
            f" Next attempt in {duration(max(seconds, 0))}."
        )
    if seconds <= 0:
        return ""
    if not job.attempts:
        return f"Scheduled to start in {duration(seconds)}."
    times = "once" if job.attempts == 1 else f"{job.attempts} times"
    return f"Failed {times}. Next attempt in {duration(seconds)}."


def _unknown_type(job: Job, waiting: Waiting, hours: float) -> str:
    since = waiting.unknown_seconds
    span = f" (for {duration(since)})" if since is not None else ""
    limit = f" Without one, the job fails after {duration(hours * 3600)}." if hours else ""
    return TYPE_UNKNOWN.explain(type=job.type, span=span, limit=limit)


def _by(person: str | None) -> str:
    return f" by {person}" if person else ""
