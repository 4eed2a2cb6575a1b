"""Workers of a release that doesn't know limits: they would start jobs that wait at one."""

from __future__ import annotations

from sqlalchemy import text

from app.database import Db
from app.extensions import current_settings
from app.jobs.limits.errors import OldWorkers

# The table has a row per process. Such a worker leaves the column NULL.
_OLD = text("""
SELECT id, version FROM workers
WHERE limits IS NULL AND stopped_at IS NULL
  AND heartbeat_at > now() - make_interval(secs => :lease_seconds)
ORDER BY started_at LIMIT 1
""")


def refuse_old_workers(db: Db) -> None:
    """Raises OldWorkers while a live worker can't obey limits."""
    old = db.execute(_OLD, {"lease_seconds": current_settings().lease_seconds}).first()
    if old is not None:
        raise OldWorkers(worker_id=old.id, version=old.version)
