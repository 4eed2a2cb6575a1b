"""The Redis list of dead letters is kept equal to their table."""

from __future__ import annotations

from sqlalchemy import Engine

from app.broker.ready_set import ReadySet
from app.jobs import dead_letter_mirror


def mirror_dead_letters(engine: Engine, ready: ReadySet, identity: str) -> int:
    """Apply the changes since the last round, if the list belongs to deployment ``identity``; returns how many."""
    return dead_letter_mirror.run_once(ready, identity, engine)
