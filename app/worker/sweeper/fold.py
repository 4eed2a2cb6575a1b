"""Counter deltas are folded into the counters."""

from __future__ import annotations

from sqlalchemy import Engine

from app.database import elected
from app.jobs.statistics import summary


def fold_counters(engine: Engine) -> int:
    """Fold one batch of deltas; returns how many."""
    with elected(engine, "fold") as db:
        return summary.fold(db) if db is not None else 0
