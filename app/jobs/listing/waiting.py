"""What keeps a pending job from running, and how many jobs are ahead of it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from app.database import Db, DbSession
from app.jobs.limits.waiting import LimitWait, limit_wait
from app.jobs.models import Job, Pause, UnknownType
from app.jobs.statistics.count import COUNT_BOUND, Count

#: Error classes that mean: this worker can't run the job, another worker may.
REFUSALS = ("PayloadRefused", "UnknownJobType", "ChildUnavailable")

# ix_jobs_claim_order, from the front of the queue to the job or the bound.
_AHEAD = text("""
SELECT count(*) FROM (
    SELECT 1 FROM jobs WHERE queue = :queue AND status = 'pending' AND hold = 0 AND run_at <= now()
      AND (priority > :priority OR priority = :priority AND (run_at, id) < (:run_at, :id))
    LIMIT :limit) AS ahead
""")
# The primary key of job_attempts.
_LAST_ATTEMPT = text("""
SELECT outcome, error_class, rtrim(error, '.') AS error, times,
       extract(epoch FROM ended_at - COALESCE(since, ended_at))::float8 AS seconds
FROM job_attempts WHERE job_id = :id ORDER BY ended_at DESC LIMIT 1
""")
_SECONDS = text("SELECT extract(epoch FROM :at - now())::float8")


@dataclass(frozen=True)
class Refusal:
    """A worker returned the job because it can't run it."""

    error: str
    times: int
    seconds: float  # from the first to the last of those times


@dataclass(frozen=True)
class Waiting:
    """The state of a pending job and of its queue and type."""

    due_in_seconds: float  # 0 or less: due
    refusal: Refusal | None
    queue_pause: Pause | None
    type_pause: Pause | None
    unknown_seconds: float | None  # since when no worker knows the type
    limit: LimitWait | None  # what it waits for at its limit


def waiting(db: DbSession, job: Job) -> Waiting:
    """Why ``job``, which is pending, may not be running."""
    unknown = db.get(UnknownType, job.type)
    since = unknown.since if unknown else None
    return Waiting(
        due_in_seconds=_seconds_until(db, job.run_at),
        refusal=_refusal(db, job),
        queue_pause=db.get(Pause, ("queue", job.queue)),
        type_pause=db.get(Pause, ("type", job.type)),
        unknown_seconds=-_seconds_until(db, since) if since else None,
        limit=limit_wait(db, job),
    )


def count_ahead(db: Db, job: Job) -> Count:
    """Due jobs that workers of the queue claim before ``job``; stops counting at COUNT_BOUND."""
    facts = {"queue": job.queue, "priority": job.priority, "run_at": job.run_at, "id": job.id}
    n = db.execute(_AHEAD, {**facts, "limit": COUNT_BOUND}).scalar_one()
    return Count(n, is_exact=n < COUNT_BOUND)


def _refusal(db: Db, job: Job) -> Refusal | None:
    last = db.execute(_LAST_ATTEMPT, {"id": job.id}).first()
    if last is None or last.outcome != "released" or last.error_class not in REFUSALS:
        return None
    return Refusal(last.error, last.times, last.seconds)


def _seconds_until(db: Db, at: object) -> float:
    return float(db.execute(_SECONDS, {"at": at}).scalar_one())
