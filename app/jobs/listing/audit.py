"""Who did what."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from app.database import DbSession
from app.jobs.models import AuditEvent


def audit_of(db: DbSession, subject: str, *, limit: int = 50) -> list[AuditEvent]:
    """The latest of one job or queue, oldest first; a bulk action's jobs have none of their own."""
    events = (  # ix_audit_events_subject
        select(AuditEvent)
        .where(AuditEvent.subject == subject)
        .order_by(AuditEvent.id.desc())
        .limit(limit)
    )
    return list(reversed(db.scalars(events).all()))


def has_audit_event(db: DbSession, *, actor: str, action: str, subject: str, days: float) -> bool:
    """Whether ``actor`` has done this to ``subject`` within the last ``days``."""
    since = func.now() - timedelta(days=days)
    event = (  # ix_audit_events_subject
        select(AuditEvent.id)
        .where(AuditEvent.subject == subject, AuditEvent.actor == actor)
        .where(AuditEvent.action == action, AuditEvent.at > since)
        .order_by(AuditEvent.subject, AuditEvent.id.desc())
        .limit(1)
    )
    return db.scalar(event) is not None


def audit_events(db: DbSession, *, limit: int, before: int | None = None) -> list[AuditEvent]:
    """Newest first; ``before``: older than the event with that id."""
    events = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)  # audit_events_pkey
    if before is not None:
        events = events.where(AuditEvent.id < before)
    return list(db.scalars(events).all())
