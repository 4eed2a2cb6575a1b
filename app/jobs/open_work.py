"""Which duties of the sweeper have work, by a single statement."""

from __future__ import annotations

from sqlalchemy import Engine, text

from app.database import rows_in_order
from app.jobs import bulk, dead_letter_mirror, lifecycle
from app.jobs.holds import MIN_AGE_SECONDS
from app.jobs.limits import moves
from app.jobs.schedules import tick
from app.jobs.statistics import counters

# Whether a job has been due long enough to be missing in Redis. ix_jobs_run_at
_HAS_WAITING = f"""
(SELECT run_at FROM jobs WHERE status = 'pending' ORDER BY run_at, id LIMIT 1)
    <= now() - interval '{MIN_AGE_SECONDS} s'
"""
# What is read of jobs is the first row of an index, whatever the statistics say: see rows_in_order.
_WORK = text(f"""
SELECT {bulk.HAS_OPEN} AS bulk,
       {moves.HAS_MOVES} AS limits,
       {counters.HAS_DELTAS} AS fold,
       {dead_letter_mirror.HAS_CHANGES} AS mirror,
       {lifecycle.HAS_EXPIRED} AS expire,
       {_HAS_WAITING} AS reconcile,
       {tick.HAS_OVERDUE} AS schedules
""")


def duties_with_work(engine: Engine) -> set[str]:
    """Their names in the sweeper's timetable. Runs a short transaction."""
    with engine.begin() as db:
        [row] = rows_in_order(db, _WORK)
    return {duty for duty, has_work in row._mapping.items() if has_work}
