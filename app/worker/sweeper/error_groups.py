"""New failures are counted by error group, and reopen the groups that are muted or resolved."""

from __future__ import annotations

from sqlalchemy import Engine

from app.database import elected
from app.jobs import error_group_states


def note_failures(engine: Engine) -> int:
    """Fold one batch of deltas and reopen groups; returns how many deltas."""
    with elected(engine, "error_groups") as db:
        return error_group_states.note_failures(db) if db is not None else 0
