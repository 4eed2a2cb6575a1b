"""Schedules of the code are stored, retired and revived; the history stays bounded, the zones up to date."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.jobs.schedules import declared, upkeep

#: How often a process tries to store the schedules of its code, until it could.
DECLARE_SECONDS = 10.0
#: How often the leader looks after the schedules.
UPKEEP_SECONDS = 10.0


class Declaration:
    """The schedules of this process's code, to be stored once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_done = False

    def declare(self) -> int:
        """Store them, unless that is done."""
        if not self._is_done:
            with Session(self._engine) as session, session.begin():
                self._is_done = declared.declare(session)
        return 0


class Upkeep:
    """What the leader does for schedules besides ticking."""

    def __init__(self, engine: Engine, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._monotonic = monotonic
        # Other workers that start with this one must have declared theirs before any is retired.
        self._retire_from = monotonic() + declared.RETIRE_SECONDS
        self._pruned_to = 0

    def run(self) -> int:
        """One round, in a short transaction; returns how much of a batch it did that may have a successor."""
        with Session(self._engine) as session, session.begin():
            declared.revive(session)
            if self._monotonic() >= self._retire_from:
                declared.retire(session)
            moved = upkeep.use_new_zones(session)
            pruned = upkeep.prune_old(session)
            self._pruned_to = upkeep.prune_many(session, after=self._pruned_to)
        return max(moved * (moved == upkeep.BATCH), pruned * (pruned == upkeep.OLD_ROWS))
