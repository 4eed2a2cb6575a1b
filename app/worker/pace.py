"""How many ids the inbox pops and when, from what this process finished and claimed in the last moments.

All times are seconds on the monotonic clock. Three rules, each by itself:

- Prefetch: one id per idle thread, plus the jobs finished in the last 20 ms beyond the number of threads, at
  most 200. Handlers of 20 ms and more get no prefetch; for shorter ones it grows by itself.
- Gather: while 5 ms bring two jobs or more, pops are 5 ms apart, and each takes what arrived meanwhile. A pop
  and a claim cost about the same for one job as for ten. When jobs are rarer than that, nothing waits.
- Refill: in a backlog, the next batch is popped when half of the last one is left, so that PostgreSQL claims
  while handlers run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

MAX_PREFETCH = 200
FINISHES_SECONDS = 0.020
GATHER_SECONDS = 0.005
#: Jobs that a gathering of GATHER_SECONDS must bring.
GATHER_JOBS = 2
ARRIVALS_SECONDS = 0.050
_ARRIVALS_TO_GATHER = GATHER_JOBS * ARRIVALS_SECONDS / GATHER_SECONDS


class Pace:
    """Counts finishes and claims of one process and applies the rules to them."""

    def __init__(self, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._clock = clock
        self._finishes: deque[float] = deque(maxlen=MAX_PREFETCH * 4)
        self._claims: deque[tuple[float, int]] = deque()
        self._claimed = 0
        self._popped_at = float("-inf")
        self._batch = 0
        self._is_backlog = False

    def finished(self) -> None:
        """A handler ended."""
        self._finishes.append(self._clock())

    def popped(self, count: int, wanted: int) -> None:
        """A pop for ``wanted`` ids gave ``count``."""
        now = self._popped_at = self._clock()
        self._is_backlog = count >= wanted
        self._batch = count
        self._claims.append((now, count))
        self._claimed += count
        self._forget(now)

    def prefetch(self) -> int:
        """Ids to pop beyond those for idle threads."""
        oldest = self._clock() - FINISHES_SECONDS
        finishes = self._finishes
        while finishes and finishes[0] < oldest:
            finishes.popleft()
        return min(MAX_PREFETCH, max(0, len(finishes) - self._threads))

    def gather_seconds(self) -> float:
        """How long the next pop waits for more jobs; 0 when few arrive or many wait already."""
        now = self._clock()
        self._forget(now)
        if self._is_backlog or self._claimed < _ARRIVALS_TO_GATHER:
            return 0.0
        return max(0.0, self._popped_at + GATHER_SECONDS - now)

    def should_refill(self, left: int) -> bool:
        """Whether to pop while ``left`` jobs of the last batch still wait."""
        return self._is_backlog and left * 2 <= self._batch and self.prefetch() > 0

    def _forget(self, now: float) -> None:
        while self._claims and self._claims[0][0] < now - ARRIVALS_SECONDS:
            self._claimed -= self._claims.popleft()[1]
