"""When leases may be judged expired: only after the database was readable and writable for a whole lease.

After an outage, a long lock or a suspended machine every lease has expired, although the workers are alive
and only could not write. So rescue records a pulse each time it runs; a gap between two of them starts a new
period of observation, and leases are judged once that is as long as a lease: by then each worker has had a
whole lease to write its endings and heartbeats.
"""

from __future__ import annotations

from sqlalchemy import text

from app.config import Settings
from app.database import Db

#: The longest time between two heartbeats of one lease, whatever its length.
CANCEL_SECONDS = 2.0

# Waits as long as writers of jobs do: a lock that blocks heartbeats is a gap as well.
_LOCK = text("LOCK TABLE jobs IN ROW EXCLUSIVE MODE")
# clock_timestamp(), because now() is from before a wait. A pulse in the future comes from another server's clock.
_BEAT = text("""
INSERT INTO job_pulses AS p (name, seen_at, since) VALUES (:name, clock_timestamp(), clock_timestamp())
ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp(), since = CASE
    WHEN p.seen_at BETWEEN clock_timestamp() - make_interval(secs => :gap)
                       AND clock_timestamp() + interval '1 second' THEN p.since
    ELSE clock_timestamp() END
RETURNING since <= clock_timestamp() - make_interval(secs => :lease) AS is_observed
""")


def extend_seconds(settings: Settings) -> float:
    """Seconds between two heartbeats of a lease."""
    return min(CANCEL_SECONDS, settings.heartbeat_seconds)


def gap_seconds(settings: Settings) -> float:
    """Two pulses further apart than this are a gap. After a shorter outage each lease can still be extended."""
    return (settings.lease_seconds - extend_seconds(settings)) * 2 / 3


def beat_seconds(settings: Settings) -> float:
    """Seconds between two pulses, so short that a busy machine causes no gap."""
    return min(settings.sweep_seconds, gap_seconds(settings) / 3)


def beat(db: Db, settings: Settings, *, name: str = "rescue") -> bool:
    """Record a pulse in the caller's transaction; True if the database has been observed for a whole lease."""
    db.execute(_LOCK)
    values = {"name": name, "gap": gap_seconds(settings), "lease": settings.lease_seconds}
    return bool(db.execute(_BEAT, values).scalar_one())
