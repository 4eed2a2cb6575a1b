"""Overlap "wait" and "replace": one job of the schedule runs at a time, by the limit that is reserved for it.

``wait``: at most one job waits while one runs. ``replace``: the new job takes the place of the live ones, which are
cancelled: pending ones at once, a running one is asked to stop, and the new one starts when it has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.database import Db
from app.errors import ValidationFailed
from app.jobs import lifecycle, registry
from app.jobs.limits.old_workers import refuse_old_workers
from app.jobs.schedules.definition import REPLACE, WAIT, Definition
from app.jobs.schedules.rules import LIMITED_RULE

#: Live jobs of a schedule with "wait": one runs, one waits.
MAX_LIVE = 2
#: Jobs of a schedule, the latest ones, that may be live.
_LOOKED_AT = 5

# schedule_ticks_pkey, from its end; jobs_pkey
_LIVE = text(f"""
SELECT t.schedule_id, j.id FROM unnest(CAST(:ids AS bigint[])) AS s (id)
CROSS JOIN LATERAL (
    SELECT schedule_id, job_id, tick_at FROM schedule_ticks
    WHERE schedule_id = s.id AND outcome IN ('enqueued', 'manual')
    ORDER BY tick_at DESC LIMIT {_LOOKED_AT}) AS t
JOIN jobs j ON j.id = t.job_id
WHERE j.status IN ('pending', 'processing')
ORDER BY t.schedule_id, t.tick_at
""")
_LIMIT = text("""
SELECT limit_name FROM limit_attachments
WHERE (kind = 'type' AND name = :type) OR (kind = 'queue' AND name = :queue)
ORDER BY kind DESC LIMIT 1
""")


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
