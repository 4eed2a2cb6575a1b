"""Bulk actions are carried out in chunks."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.jobs import bulk


def run_bulk_step(engine: Engine) -> int:
    """Process one chunk of a bulk action, whose row is locked meanwhile; returns how many jobs were examined."""
    with Session(engine) as session:
        return bulk.step(session)
