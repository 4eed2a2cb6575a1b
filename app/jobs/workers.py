"""Actions of a person on workers."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text

from app.database import Db
from app.errors import WorkerNotFound
from app.jobs import audit

_STOP = text("""
UPDATE workers SET stop_requested_at = COALESCE(stop_requested_at, now()) WHERE id = :id RETURNING host, pid
""")


def request_stop(db: Db, worker_id: UUID, *, by: str) -> None:
    """Ask a worker to stop, at its next heartbeat, as on SIGTERM. Raises WorkerNotFound."""
    row = db.execute(_STOP, {"id": worker_id}).first()
    if row is None:
        raise WorkerNotFound(worker_id=worker_id)
    audit.record(db, by, "worker.stop", str(worker_id), {"host": row.host, "pid": row.pid})
