"""Bulk actions are worked off in chunks."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.jobs import bulk


def run_bulk_step(engine: Engine) -> int:
    """One chunk of one bulk action; the lock on its row keeps other workers out. Returns jobs seen."""
    with Session(engine) as session:
        return bulk.step(session)
