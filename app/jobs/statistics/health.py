"""The state of the whole system: stalled, behind, growing, failing. The API, the dashboard and /metrics share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.jobs.statistics.backlog import total
from app.jobs.statistics.count import Count
from app.jobs.statistics.overview import QueueSummary
from app.jobs.statistics.series import Trend

#: The longest acceptable wait, now or for a job that arrives now at the current pace.
BEHIND_AFTER_SECONDS = 60
#: While the longest wait is below this, a long time to drain does not count as being behind.
BRIEF_WAIT_SECONDS = 10
#: Below these numbers a difference is no trend, whatever its share.
MIN_GROWTH, MIN_FAILED = 100, 10
NO_TREND = Trend()


@dataclass(frozen=True)
class SystemHealth:
    """What is wrong now. Paused queues count only in ``paused``."""

    has_workers: bool
    is_redis_up: bool
    due: Count
    longest_wait_seconds: float
    drain_seconds: float | None  # at the current pace; None if unknown
    trend: Trend
    paused: tuple[QueueSummary, ...]  # those with due jobs

    @property
    def is_stalled(self) -> bool:
        """Whether jobs are due and no worker is alive."""
        return not self.has_workers and bool(self.due)

    @property
    def is_behind(self) -> bool:
        """Whether the longest wait is too long, or will be for a job that arrives now."""
        wait, drain = self.longest_wait_seconds, self.drain_seconds or 0
        is_slow = wait > BRIEF_WAIT_SECONDS and drain > BEHIND_AFTER_SECONDS
        return self.has_workers and (wait > BEHIND_AFTER_SECONDS or is_slow)

    @property
    def is_growing(self) -> bool:
        """Whether clearly more jobs arrived than finished, and they are due: scheduled ones are no backlog."""
        growth = self.trend.enqueued - self.trend.ended
        is_clear = growth >= max(MIN_GROWTH, self.trend.ended / 5)
        is_due = self.due >= growth / 2 or not self.due.is_exact
        return self.has_workers and is_clear and is_due

    @property
    def is_failing(self) -> bool:
        """Whether clearly more jobs fail permanently than in the hour before."""
        return self.trend.failed >= max(MIN_FAILED, 3 * self.trend.usual_failed)


def assess(
    *,
    alive_workers: int,
    is_redis_up: bool,
    queues: Sequence[QueueSummary],
    trend: Trend = NO_TREND,
    drain_seconds: float | None = None,
) -> SystemHealth:
    """Judge the system by its queues, its recent trend and the time to drain the backlog."""
    running = [queue for queue in queues if not queue.is_paused]
    waits = [queue.oldest_wait_seconds or 0.0 for queue in running]
    return SystemHealth(
        has_workers=alive_workers > 0,
        is_redis_up=is_redis_up,
        due=total(queue.due for queue in running),
        longest_wait_seconds=max(waits, default=0.0),
        drain_seconds=drain_seconds,
        trend=trend,
        paused=tuple(
            queue for queue in queues if queue.is_paused and (queue.due or not queue.due.is_exact)
        ),
    )
