"""The pacer's source of scheduled jobs: when this process looks for ticks that are due.

Every process knows when the next tick is due as of its last look. The leader of the deployment carries it out then; the
others look a moment later, and take over while the leader does not.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database import autocommit
from app.jobs.schedules import tick
from app.jobs.schedules.tick import HINT, Upcoming

#: How long after a tick the processes look that don't lead, at random, and how often at least.
FOLLOW_SECONDS = (0.25, 0.5)
LOOK_SECONDS = 0.7
#: How often the leader looks. It checks each second whether a tick is overdue (app.jobs.open_work).
LEAD_SECONDS = 5.0
#: How often a process looks while there are no schedules; more often at first, when it may have missed a hint.
IDLE_SECONDS = (0.5, 10.0)
#: A process that had a hint, or found a tick that the leader left, looks at the time of each tick for this long.
PROMPT_SECONDS = 2 * LEAD_SECONDS
#: Until ticks are tried again that another transaction has locked.
LOCKED_SECONDS = 0.25


class Ticks:
    """One per process."""

    def __init__(
        self,
        engine: Engine,
        *,
        leads: Callable[[], bool],
        hint: Callable[[str], object],
        grace_seconds: float,
    ) -> None:
        """``leads``: whether this process leads the deployment; ``hint``: wakes another process."""
        self._engine = engine
        self._leads = leads
        self._hint = hint
        self._grace_seconds = grace_seconds
        self._prompt_until = -math.inf  # monotonic
        self._has_schedules = False
        self._idle_seconds = IDLE_SECONDS[0]

    def work(self, subjects: frozenset[str]) -> float:
        """Carry out a batch of ticks that are due; returns after how many seconds to call again."""
        if subjects:
            self._be_prompt()
        upcoming = self._look()
        if upcoming.seconds is not None and upcoming.seconds <= 0:
            if upcoming.seconds < -FOLLOW_SECONDS[0]:
                self._be_prompt()
            if not self._tick():
                return LOCKED_SECONDS
            upcoming = self._look()
            if upcoming.seconds is not None and upcoming.seconds <= 0:
                self._hint(HINT)  # there is more: another process may help
        return self._wait(upcoming)

    def _tick(self) -> int:
        with Session(self._engine) as session:
            return tick.tick(session, grace_seconds=self._grace_seconds)

    def _look(self) -> Upcoming:
        with autocommit(self._engine) as db:
            return tick.upcoming(db)

    def _be_prompt(self) -> None:
        self._prompt_until = time.monotonic() + PROMPT_SECONDS

    def _wait(self, upcoming: Upcoming) -> float:
        if upcoming.has_any and not self._has_schedules:
            # A hint wakes one process. Each passes the first one on, so that all look often from now on.
            self._hint(HINT)
        self._has_schedules = upcoming.has_any
        if not upcoming.has_any:
            self._idle_seconds = min(2 * self._idle_seconds, IDLE_SECONDS[1])
            return self._idle_seconds
        seconds = math.inf if upcoming.seconds is None else max(0.0, upcoming.seconds)
        if self._leads():
            return min(seconds, LEAD_SECONDS)
        if time.monotonic() >= self._prompt_until:
            seconds += random.uniform(*FOLLOW_SECONDS)
        return min(seconds, LOOK_SECONDS)
