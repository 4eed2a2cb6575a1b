"""Jobs that waited past their expiry are cancelled."""

from __future__ import annotations

from sqlalchemy import Engine

from app.database import elected
from app.jobs import lifecycle


def expire_jobs(engine: Engine) -> int:
    """Cancel pending jobs whose ``expires_at`` has passed; returns how many."""
    with elected(engine, "expire") as db:
        return lifecycle.expire(db) if db is not None else 0
