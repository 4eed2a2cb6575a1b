"""Putting a job type or a queue under a limit, and out of it again.

A job is under its type's limit, else under its queue's. What code attaches, only code detaches.
"""

from __future__ import annotations

from sqlalchemy import text

from app.database import Db
from app.jobs import audit, pauses
from app.jobs.limits import store
from app.jobs.limits.definition import RESERVED
from app.jobs.limits.errors import AttachedByCode
from app.jobs.limits.moves import start_move
from app.jobs.limits.old_workers import refuse_old_workers

_NOW = text("""
SELECT limit_name, source FROM limit_attachments WHERE kind = :kind AND name = :name FOR UPDATE
""")
_LIMIT = text("SELECT 1 FROM limits WHERE name = :limit FOR SHARE")
_ATTACH = text("""
INSERT INTO limit_attachments (kind, name, limit_name, source, attached_by)
VALUES (:kind, :name, :limit, :source, :by)
ON CONFLICT (kind, name) DO UPDATE SET limit_name = excluded.limit_name, source = excluded.source,
    attached_at = now(), attached_by = excluded.attached_by
""")
_DETACH = text("DELETE FROM limit_attachments WHERE kind = :kind AND name = :name")


def set_limit(
    db: Db, kind: str, name: str, limit: str | None, *, by: str, source: str = "api"
) -> bool:
    """Put the type or queue (``kind``) under ``limit``, or under none; returns whether that changed anything.

    Its pending jobs follow in chunks. Raises InvalidName, LimitNotFound, AttachedByCode, OldWorkers.
    """
    pauses.check_name(db, kind, name)
    of = {"kind": kind, "name": name}
    now = db.execute(_NOW, of).first()
    if now is not None and now.source == "code" and source == "api":
        raise AttachedByCode(type=name, limit=now.limit_name)
    if limit is not None:
        if limit in RESERVED or db.execute(_LIMIT, {"limit": limit}).first() is None:
            raise store.not_found(db, limit)
        refuse_old_workers(db)
        db.execute(_ATTACH, {**of, "limit": limit, "source": source, "by": by})
    else:
        db.execute(_DETACH, of)
    if (now and now.limit_name) == limit:
        return False
    start_move(db, kind, name, by=by)
    audit.record(db, by, f"{kind}.limit", name, {"limit": limit})
    return True
