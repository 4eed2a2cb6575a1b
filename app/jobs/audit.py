"""The audit log: who did what, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text

from app.database import Db, DbSession
from app.jobs.models import AuditEvent

_INSERT = text("""
INSERT INTO audit_events (actor, action, subject, details)
VALUES (:actor, :action, :subject, CAST(:details AS jsonb))
""")
#: An event about many jobs lists at most this many ids.
_LISTED_IDS = 100


def record(
    db: Db, by: str, action: str, subject: str, details: Mapping[str, Any] | None = None
) -> None:
    """Write one event: ``by`` did ``action`` ("queue.pause") to ``subject``."""
    db.execute(
        _INSERT,
        {"actor": by, "action": action, "subject": subject, "details": json.dumps(details or {})},
    )


def record_jobs(
    db: Db, by: str, action: str, ids: Sequence[UUID], details: Mapping[str, Any] | None = None
) -> None:
    """Write one event about these jobs; none if there are no jobs."""
    if len(ids) == 1:
        record(db, by, action, str(ids[0]), details)
    elif ids:
        sample = {"count": len(ids), "ids": [str(i) for i in ids[:_LISTED_IDS]]}
        record(db, by, action, f"{len(ids)} jobs", {**sample, **(details or {})})


def events_of(db: DbSession, subject: str, *, limit: int = 50) -> list[AuditEvent]:
    """The latest events of one job or queue, oldest first; the jobs of a bulk action have none of their own."""
    events = (  # ix_audit_events_subject
        select(AuditEvent)
        .where(AuditEvent.subject == subject)
        .order_by(AuditEvent.id.desc())
        .limit(limit)
    )
    return list(reversed(db.scalars(events).all()))


def has_event(db: DbSession, *, actor: str, action: str, subject: str, days: float) -> bool:
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


def latest_events(db: DbSession, *, limit: int, before: int | None = None) -> list[AuditEvent]:
    """The latest events, newest first; with ``before``, those older than the event with that id."""
    events = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)  # audit_events_pkey
    if before is not None:
        events = events.where(AuditEvent.id < before)
    return list(db.scalars(events).all())
