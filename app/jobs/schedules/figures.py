"""How the schedules do, in numbers and names: for /metrics and ``flask doctor``."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from app.database import Db
from app.jobs import unknown_types
from app.jobs.models import ScheduleTick
from app.jobs.schedules.history import LATE_SECONDS, TROUBLE_HOURS
from app.jobs.schedules.listing import STATES

#: Ticks are counted among this many rows of the history, the newest ones.
COUNTED_ROWS = 200_000
#: Names in a sentence.
NAMED = 5

_STATES = text("""
SELECT CASE WHEN retired_at IS NOT NULL THEN 'retired' WHEN paused_at IS NOT NULL THEN 'paused'
            WHEN next_run_at IS NULL THEN 'ended'
            WHEN next_run_at < now() - make_interval(secs => :late) THEN 'late' ELSE 'active' END AS state,
       count(*) AS n
FROM schedules GROUP BY 1
""")
# ix_schedules_due
_LAG = text("""
SELECT COALESCE(extract(epoch FROM now() - min(next_run_at)), 0)::float8 FROM schedules
WHERE next_run_at IS NOT NULL
""")
# ix_schedule_ticks_made_at
_TICKS = text("""
SELECT outcome, sum(n)::bigint AS n FROM (
    SELECT outcome, n FROM schedule_ticks WHERE made_at > now() - make_interval(hours => :hours)
    ORDER BY made_at DESC LIMIT :rows) AS recent
GROUP BY outcome
""")
_LATE = text("""
SELECT name, type, count(*) OVER () AS n FROM schedules
WHERE next_run_at < now() - make_interval(secs => :late) ORDER BY next_run_at, name LIMIT :limit
""")
# ix_schedule_ticks_trouble
_TROUBLED = text("""
SELECT s.name, sum(t.n)::bigint AS n FROM schedule_ticks t JOIN schedules s ON s.id = t.schedule_id
WHERE t.outcome IN ('missed', 'failed') AND t.made_at > now() - make_interval(hours => :hours)
GROUP BY s.name ORDER BY max(t.made_at) DESC
""")


@dataclass(frozen=True, slots=True)
class Named:
    """A number of schedules or ticks, and the names of the first NAMED schedules."""

    count: int
    names: tuple[str, ...]
    unknown_types: tuple[str, ...] = ()  # of late schedules: types that no live worker knows


def by_state(db: Db) -> dict[str, int]:
    """How many schedules are in each of STATES."""
    rows = db.execute(_STATES, {"late": LATE_SECONDS})
    return dict.fromkeys(STATES, 0) | {row.state: row.n for row in rows}


def lag_seconds(db: Db) -> float:
    """How long the tick that waits longest has been due; 0 if none is."""
    return max(0.0, float(db.execute(_LAG).scalar_one()))


def by_outcome(db: Db) -> dict[str, int]:
    """The ticks of the last TROUBLE_HOURS, among the newest COUNTED_ROWS rows of the history."""
    rows = db.execute(_TICKS, {"hours": TROUBLE_HOURS, "rows": COUNTED_ROWS})
    return dict.fromkeys(ScheduleTick.OUTCOMES, 0) | {row.outcome: row.n for row in rows}


def late(db: Db, *, alive_seconds: float) -> Named:
    """The schedules that are late, and their types that no worker with a heartbeat within ``alive_seconds`` knows."""
    rows = db.execute(_LATE, {"late": LATE_SECONDS, "limit": NAMED}).all()
    if not rows:
        return Named(0, ())
    known = set(unknown_types.known_types(db, alive_seconds=alive_seconds))
    unknown = tuple(sorted({row.type for row in rows} - known))
    return Named(rows[0].n, tuple(row.name for row in rows), unknown)


def troubled(db: Db) -> Named:
    """The ticks that were missed or failed in the last TROUBLE_HOURS."""
    rows = db.execute(_TROUBLED, {"hours": TROUBLE_HOURS}).all()
    return Named(sum(row.n for row in rows), tuple(row.name for row in rows[:NAMED]))
