"""A row of the timetable, and the rule that says when it is due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: A duty that did at least this much has more to do, and runs again at the next tick.
FULL_BATCH = 500
NEVER = float("-inf")


@dataclass(slots=True)
class Duty:
    """Runs every ``interval`` seconds: in the leader of the deployment, or with ``is_of_leader`` False in each process.

    With ``idle_interval`` it runs only that often unless the check for work sets ``has_work``.
    """

    name: str
    interval: float
    run: Callable[[], int]  # does a bounded amount of work; returns how much
    idle_interval: float | None = None
    is_of_leader: bool = True
    due_at: Callable[[float, bool], float] | None = (
        None  # by ran_at and leads, instead of the intervals
    )
    full: float = FULL_BATCH  # when it did this much, it runs again at the next tick
    ran_at: float = NEVER  # monotonic
    has_work: bool = False
    is_hurried: bool = False
    is_failing: bool = False

    def is_due(self, now: float, *, leads: bool) -> bool:
        """Whether this process runs it at ``now`` (monotonic); ``leads``: whether the process is the leader."""
        if self.is_hurried:
            return True
        if self.is_of_leader and not leads:
            return False
        return now >= self.next_at(leads=leads)

    def next_at(self, *, leads: bool) -> float:
        """When it is due (monotonic) in a process that runs it; ``leads`` as in is_due()."""
        if self.due_at is not None:
            return self.due_at(self.ran_at, leads)
        if self.idle_interval is not None and not self.has_work:
            return self.ran_at + self.idle_interval
        return self.ran_at + self.interval

    def begin(self, now: float) -> None:
        """Note that it runs now. Work that is found from now on is for the next run."""
        self.ran_at = now
        self.has_work = self.is_hurried = False
