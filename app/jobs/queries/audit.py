"""Who did what."""

from __future__ import annotations

from sqlalchemy import select

from app.jobs.models import AuditEvent
from app.jobs.sessions import Reader


def audit_events(db: Reader, *, limit: int, before: int | None = None) -> list[AuditEvent]:
    """Newest first; ``before``: older than the event with that id."""
    events = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)  # audit_events_pkey
    if before is not None:
        events = events.where(AuditEvent.id < before)
    return list(db.scalars(events).all())
