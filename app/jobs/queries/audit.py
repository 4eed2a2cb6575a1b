"""Who did what."""

from __future__ import annotations

from sqlalchemy import select

from app.jobs.models import AuditEvent
from app.jobs.sessions import Reader


def audit_of(db: Reader, subject: str, *, limit: int = 50) -> list[AuditEvent]:
    """The latest of one job or queue, oldest first; a bulk action's jobs have none of their own."""
    events = (  # ix_audit_events_subject
        select(AuditEvent)
        .where(AuditEvent.subject == subject)
        .order_by(AuditEvent.id.desc())
        .limit(limit)
    )
    return list(reversed(db.scalars(events).all()))


def audit_events(db: Reader, *, limit: int, before: int | None = None) -> list[AuditEvent]:
    """Newest first; ``before``: older than the event with that id."""
    events = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)  # audit_events_pkey
    if before is not None:
        events = events.where(AuditEvent.id < before)
    return list(db.scalars(events).all())
