"""Overlap "wait" and "replace": one job of the schedule runs at a time, by the limit that is reserved for it.

``wait``: at most one job waits while one runs. ``replace``: the new job takes the place of the live ones, which are
cancelled: pending ones at once, a running one is asked to stop, and the new one starts when it has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.database import Db
from app.errors import ValidationFailed
from app.jobs import lifecycle, registry
from app.jobs.holds import AT_LIMIT, FREE
from app.jobs.lifecycle import SCHEDULE_LIMIT, NewJob
from app.jobs.limits.errors import OldWorkers
from app.jobs.limits.old_workers import refuse_old_workers
from app.jobs.schedules.definition import REPLACE, WAIT, Definition
from app.jobs.schedules.rules import LIMITED_RULE, UNIQUE_KEY_PREFIX

#: Live jobs of a schedule with "wait": one runs, one waits.
MAX_LIVE = 2
#: The last ticks of a schedule, whose jobs may be live.
_LOOKED_AT = 5

# A tick that was skipped names the job that waits, so the last few ticks name it however many were skipped. The job that
# runs may be named by none of them: ix_jobs_at_limit, ix_jobs_admitted, then schedule_ticks_pkey and jobs_pkey.
_OF_SCHEDULE = f"limit_name = '{SCHEDULE_LIMIT}' AND limit_key = s.name"
_LIVE = text(f"""
SELECT s.id AS schedule_id, j.id
FROM schedules s CROSS JOIN LATERAL (
    SELECT id FROM jobs WHERE {_OF_SCHEDULE} AND hold = {AT_LIMIT}
    UNION
    SELECT id FROM jobs WHERE {_OF_SCHEDULE} AND hold = {FREE} AND status IN ('pending', 'processing')
    UNION
    SELECT job_id FROM (SELECT job_id FROM schedule_ticks WHERE schedule_id = s.id
                        ORDER BY tick_at DESC LIMIT {_LOOKED_AT}) AS last
) AS live JOIN jobs j ON j.id = live.id
WHERE s.id = ANY(CAST(:ids AS bigint[])) AND j.status IN ('pending', 'processing')
ORDER BY s.id, j.id
""")
_LIMIT = text("""
SELECT limit_name FROM limit_attachments
WHERE (kind = 'type' AND name = :type) OR (kind = 'queue' AND name = :queue)
ORDER BY kind DESC LIMIT 1
""")

_ATTACHED = text("SELECT kind, name FROM limit_attachments")


def is_limited(schedule: Any) -> bool:
    """Whether its jobs are under the reserved limit; ``schedule`` is a Definition or a row."""
    return schedule.overlap in (WAIT, REPLACE)


def live_jobs(db: Db, ids: Iterable[int]) -> dict[int, list[UUID]]:
    """The live jobs of these schedules, the oldest first; no entry for one without."""
    live: dict[int, list[UUID]] = {}
    for row in db.execute(_LIVE, {"ids": list(ids)}):
        live.setdefault(row.schedule_id, []).append(row.id)
    return live


def replace_jobs(db: Db, schedule: Any, jobs: Sequence[UUID]) -> None:
    """Cancel what a newer job takes the place of."""
    if jobs:
        lifecycle.cancel(db, jobs, by=f"schedule:{schedule.name}")


def like_skip(db: Db, schedules: Iterable[Any]) -> set[int]:
    """The ids of those (rows) that are like "skip" for now: their jobs would escape a limit that was attached since, or meet
    a worker that knows no limits.
    """
    limited = [schedule for schedule in schedules if is_limited(schedule)]
    if not limited:
        return set()
    try:
        refuse_old_workers(db)
    except OldWorkers:
        return {schedule.id for schedule in limited}
    attached = {(row.kind, row.name) for row in db.execute(_ATTACHED)}
    return {s.id for s in limited if attached & {("type", s.type), ("queue", _queue(s))}}


def skipping(schedule: Any, new: NewJob) -> NewJob:
    """The job of a schedule that is like "skip"."""
    key = f"{UNIQUE_KEY_PREFIX}{schedule.name}"
    return replace(new, unique_key=key, limit_name=None, limit_key=None)


def _queue(schedule: Any) -> str:
    job_type = registry.find(schedule.type)
    return schedule.queue or (job_type.queue if job_type else "default")


def check_limit(db: Db, definition: Definition) -> None:
    """Raises ValidationFailed if its jobs are under a limit already, and OldWorkers while a worker knows no limits."""
    if not is_limited(definition):
        return
    queue = definition.queue or registry.get(definition.type).queue
    limit = db.execute(_LIMIT, {"type": definition.type, "queue": queue}).scalar()
    if limit is not None:
        rule = LIMITED_RULE.format(overlap=definition.overlap, type=definition.type, limit=limit)
        raise ValidationFailed({"overlap": [rule]})
    refuse_old_workers(db)
