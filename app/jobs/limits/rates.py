"""Tokens of a rate by GCRA, computed from what PostgreSQL keeps: ``tat``, see lifecycle/tokens.py."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Tokens come at exact times; a float of seconds since 1970 is exact to a microsecond or so.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Tokens:
    """The rate of a limit or key at one moment; all times in seconds on one clock."""

    interval: float  # between two tokens
    burst: int
    tat: float  # when the tokens taken so far would have come one by one

    @classmethod
    def of(
        cls, count: int | None, seconds: float | None, burst: int | None, tat: float | None
    ) -> Tokens | None:
        """None without a rate. ``burst`` None is 1."""
        if not count or not seconds:
            return None
        return cls(seconds / count, burst or 1, -math.inf if tat is None else tat)

    def available(self, now: float) -> int:
        """How many starts are allowed at once."""
        ahead = max(self.tat - now, 0.0)
        return max(0, math.floor((self.burst * self.interval - ahead + _ROUNDING) / self.interval))

    def next_at(self, reserved: int, now: float) -> float:
        """When one more start will be allowed beyond ``reserved`` ones that have not begun.

        Where those take the whole burst, nothing is known before some of them begin: an interval from now.
        """
        if reserved >= self.burst:
            return now + self.interval
        return self.tat - (self.burst - reserved - 1) * self.interval
