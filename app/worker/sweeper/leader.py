"""Whether this process does the duties that a deployment needs once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from sqlalchemy.exc import SQLAlchemyError

from app.broker.client import RedisError
from app.broker.leadership import Leadership
from app.broker.ready_set import ReadySet
from app.config import Settings
from app.jobs import pulses

#: The lease of a leader, in rounds: it may miss one round and be late for the next.
LEASE_ROUNDS = 2.5
#: How often a leader with a failing duty gives others the chance to lead.
YIELD_SECONDS = 60.0


def round_seconds(settings: Settings) -> float:
    """How often the leader renews its lease and the others ask for it.

    A leader that was killed is replaced within LEASE_ROUNDS + 1 rounds: too soon for a gap between two pulses of rescue.
    """
    return min(settings.sweep_seconds, pulses.gap_seconds(settings) / 5)


class Leader:
    """Asks Redis at most once a round. While Redis is down every process leads, and the locks of the duties elect."""

    def __init__(
        self,
        ready: ReadySet,
        deployment: Callable[[], str],
        settings: Settings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ready = ready
        self._deployment = deployment
        self._worker = uuid4().hex
        self._round = round_seconds(settings)
        self._monotonic = monotonic
        self._leadership: Leadership | None = None
        self._is_ours = False
        self._ask_at = self._leased_until = self._yields_at = float("-inf")

    def is_ours(self, *, is_healthy: bool = True) -> bool:
        """Whether to run them now. A leader that is not healthy lets its lease end, so that another may lead."""
        now = self._monotonic()
        if now < self._ask_at:
            return self._is_ours
        if self._is_ours and not is_healthy and now >= self._yields_at:
            if now < self._leased_until + self._round:
                # For a round after the end of the lease only the others ask for it.
                return now < self._leased_until
            self._yields_at = now + YIELD_SECONDS
        self._is_ours = self._ask(now)
        # With jitter: the others must not ask in step.
        self._ask_at = now + self._round * (1 if self._is_ours else random.uniform(0.7, 1))
        return self._is_ours

    def resign(self) -> None:
        """Leave the duties to another process at once."""
        if self._is_ours and self._leadership is not None:
            with suppress(RedisError, OSError):
                self._leadership.give_up()
        self._is_ours = False

    def _ask(self, now: float) -> bool:
        seconds = self._round * LEASE_ROUNDS
        self._leased_until = float("-inf")
        try:
            if self._leadership is None:
                self._leadership = Leadership(self._ready, self._deployment(), self._worker)
            if self._leadership.hold(seconds):
                self._leased_until = now + seconds
                return True
        except (RedisError, SQLAlchemyError, OSError):
            return True
        return False
