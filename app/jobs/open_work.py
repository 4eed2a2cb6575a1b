"""Which duties of the sweeper have work, by a single statement."""

from __future__ import annotations

from sqlalchemy import Engine, text

from app.database import rows_in_order
from app.jobs import bulk, dead_letter_mirror, error_group_states, lifecycle
from app.jobs.holds import MIN_AGE_SECONDS
from app.jobs.limits import backstop, moves
from app.jobs.schedules import tick
from app.jobs.statistics import backlog, counters

# What is read of jobs is the first row of an index, whatever the statistics say: see rows_in_order.
_WORK = text(f"""
SELECT {bulk.HAS_OPEN} AS bulk,
       {moves.HAS_MOVES} AS limits,
       {counters.HAS_DELTAS} AS fold,
       {error_group_states.HAS_DELTAS} AS "error groups",
       {dead_letter_mirror.HAS_CHANGES} AS mirror,
       {lifecycle.HAS_EXPIRED} AS expire,
       {backlog.has_due(f"interval '{MIN_AGE_SECONDS} s'")} AS reconcile,
       {backstop.HAS_WAITING} AS admissions,
       {tick.HAS_OVERDUE} AS schedules
""")


def duties_with_work(engine: Engine) -> set[str]:
    """Their names in the sweeper's timetable. Runs a short transaction."""
    with engine.begin() as db:
        [row] = rows_in_order(db, _WORK)
    return {duty for duty, has_work in row._mapping.items() if has_work}
