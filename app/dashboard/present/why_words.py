"""Why a pending job is not running, in words, the first reason first."""

from __future__ import annotations

from flask import current_app
from sqlalchemy import text

from app.dashboard import cached_reads
from app.dashboard.present.format import compact, duration
from app.extensions import db
from app.jobs.models import PENDING, Job, Pause, UnknownType
from app.jobs.publication import Ref, current_trigger

#: Counting stops here: the answer is then "more than".
MOST_AHEAD = 10_000

_AHEAD = text("""
SELECT count(*) FROM (
    SELECT 1 FROM jobs WHERE queue = :queue AND status = 'pending' AND run_at <= now()
      AND (priority > :priority OR priority = :priority AND (run_at, id) < (:run_at, :id))
    LIMIT :most) AS ahead
""")
_LAST_ATTEMPT = text("""
SELECT outcome, error_class, rtrim(error, '.') AS error, times,
       extract(epoch FROM ended_at - COALESCE(since, ended_at))::float8 AS seconds
FROM job_attempts WHERE job_id = :id ORDER BY ended_at DESC LIMIT 1
""")
#: Classes of errors that mean: this worker can't run the job, another one may.
REFUSALS = ("PayloadRefused", "UnknownJobType", "ChildUnavailable")
_SECONDS = text("SELECT extract(epoch FROM :at - now())::float8")


def reasons(job: Job) -> list[str]:
    """Sentences; none for a job that is not pending."""
    if job.status != PENDING:
        return []
    found = []
    seconds = db.session.execute(_SECONDS, {"at": job.run_at}).scalar_one()  # by its own clock
    refusal = _refusal(job)
    if refusal:
        found.append(f"{refusal} It is tried again in {duration(max(seconds, 0))}.")
    elif seconds > 0:
        what = (
            f"It failed {job.attempts} times and waits before the next attempt"
            if job.attempts
            else "It is scheduled"
        )
        if job.attempts == 1:
            what = "Its attempt failed and it waits before the next one"
        found.append(f"{what}: due in {duration(seconds)}.")
    queue, of_type = (
        db.session.get(Pause, ("queue", job.queue)),
        db.session.get(Pause, ("type", job.type)),
    )
    if queue:
        found.append(f"Queue {job.queue} is paused{_by(queue.paused_by)}; resume it under Queues.")
    if of_type:
        found.append(
            f"Type {job.type} is paused{_by(of_type.paused_by)}; resume it under Job types."
        )
    alive = [worker for worker in cached_reads.workers() if worker.is_alive]
    serving = [worker for worker in alive if not worker.queues or job.queue in worker.queues]
    if not alive:
        found.append("No worker is alive; start one.")
    elif not serving:
        found.append(f"No live worker serves queue {job.queue}; their QUEUES name others.")
    elif not any(worker.types is None or job.type in worker.types for worker in serving):
        found.append(_unknown(job.type, db.session.get(UnknownType, job.type)))
    if found:
        return found
    return [_in_line(job, sum(worker.threads for worker in serving))]


def _in_line(job: Job, threads: int) -> str:
    facts = {"queue": job.queue, "priority": job.priority, "run_at": job.run_at, "id": job.id}
    ahead = db.session.execute(_AHEAD, {**facts, "most": MOST_AHEAD}).scalar_one()
    ref = Ref(job.id, job.queue, job.priority, int(job.run_at.timestamp() * 1000), True, job.type)
    try:
        is_lost = bool(current_trigger().missing([ref]))
    except Exception:  # whatever the client of Redis raises
        return "Redis does not answer; the job is stored and starts when Redis is back."
    if is_lost:
        return "Redis does not hold its message, or a worker is just taking it; a lost one is published again within seconds."
    if ahead:
        count = f"more than {compact(MOST_AHEAD)}" if ahead >= MOST_AHEAD else compact(ahead)
        return f"{count} {'jobs are' if ahead != 1 else 'job is'} ahead of it in queue {job.queue}; {threads} threads serve it."
    return "It is next: a worker takes it as soon as a thread is free."


def _refusal(job: Job) -> str:
    """What the last worker that took it said, if it could not run it; else nothing."""
    last = db.session.execute(_LAST_ATTEMPT, {"id": job.id}).first()
    if last is None or last.outcome != "released" or last.error_class not in REFUSALS:
        return ""
    times = "" if last.times == 1 else f" ({last.times} times in {duration(last.seconds)})"
    return f"The worker that took it could not run it and gave it back{times}: {last.error}."


def _unknown(type_name: str, unknown: UnknownType | None) -> str:
    since = ""
    if unknown and unknown.since:
        seconds = db.session.execute(_SECONDS, {"at": unknown.since}).scalar_one()
        since = f" (for {duration(-seconds)})"
    hours = current_app.extensions["settings"].unknown_type_hours
    limit = f" After {duration(hours * 3600)} without one it fails." if hours else ""
    return f"No live worker knows type {type_name}{since}; start one that has its handler.{limit}"


def _by(person: str | None) -> str:
    return f" by {person}" if person else ""
