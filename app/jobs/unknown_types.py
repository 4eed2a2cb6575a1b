"""Types with waiting jobs that no live worker knows: since when, and when their jobs fail."""

from __future__ import annotations

from sqlalchemy import text

from app.database import Db

#: If no sweeper ran for this long, what was recorded before no longer counts.
GAP_SECONDS = 600

_IS_ALIVE = "stopped_at IS NULL AND heartbeat_at > now() - make_interval(secs => :alive_seconds)"
_KNOWN = text(f"SELECT DISTINCT unnest(types) FROM workers WHERE {_IS_ALIVE}")
_MARK = text(f"""
WITH waiting AS (
    SELECT type FROM (
        SELECT type, n FROM job_counters WHERE status = 'pending'
        UNION ALL SELECT type, n FROM job_counter_deltas WHERE status = 'pending') AS counted
    GROUP BY type HAVING sum(n) > 0),
alive AS (
    SELECT types FROM workers WHERE {_IS_ALIVE}),
unknown AS (
    SELECT w.type FROM waiting w
    WHERE NOT EXISTS (SELECT 1 FROM alive a WHERE a.types IS NULL OR w.type = ANY(a.types))),
known_again AS (
    UPDATE type_switches SET unknown_since = NULL, unknown_seen_at = NULL
    WHERE unknown_since IS NOT NULL AND type NOT IN (SELECT type FROM unknown))
INSERT INTO type_switches (type, unknown_since, unknown_seen_at)
SELECT type, now(), now() FROM unknown ORDER BY type
ON CONFLICT (type) DO UPDATE SET unknown_seen_at = now(), unknown_since = CASE
    WHEN type_switches.unknown_seen_at > now() - make_interval(secs => :gap_seconds)
    THEN type_switches.unknown_since ELSE now() END
RETURNING type, unknown_since <= now() - make_interval(secs => :seconds) AS is_over
""")


def is_known(job: str) -> str:
    """The SQL condition that the type of the row ``job`` is not recorded as unknown."""
    return f"""NOT EXISTS (
      SELECT 1 FROM type_switches t WHERE t.type = {job}.type AND t.unknown_since IS NOT NULL)"""


def known_types(db: Db, *, alive_seconds: float) -> list[str]:
    """The types that workers with a heartbeat within ``alive_seconds`` know."""
    return list(db.scalars(_KNOWN, {"alive_seconds": alive_seconds}))


def mark(db: Db, *, alive_seconds: float, seconds: float) -> list[str]:
    """Record which types no live worker knows; returns those unknown for at least ``seconds``."""
    values = {"alive_seconds": alive_seconds, "seconds": seconds, "gap_seconds": GAP_SECONDS}
    return [row.type for row in db.execute(_MARK, values) if row.is_over]
