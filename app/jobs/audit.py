"""The audit log: who did what, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.database import Db

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
