"""A row of the timetable, and the rule that says when it is due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: A duty that did at least this much has more to do, and runs again at the next tick.
FULL_BATCH = 500
NEVER = float("-inf")


@dataclass(slots=True)
class Duty:
    """Runs every ``interval`` seconds; with ``rest``, only while it is asked to, else every ``rest`` seconds.

    A duty of the leader runs in one process of a deployment, others in each.
    """

    name: str
    interval: float
    run: Callable[[], int]  # does a bounded amount of work; returns how much
    rest: float | None = None
    is_of_leader: bool = True
    due_at: Callable[[float, bool], float] | None = None  # from ran_at and leads, not by interval
    full: float = FULL_BATCH  # having done this much, it runs again at the next tick
    ran_at: float = NEVER  # monotonic
    is_asked: bool = False
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
        """When it runs again (monotonic), in a process that runs it."""
        if self.due_at is not None:
            return self.due_at(self.ran_at, leads)
        if self.rest is not None and not self.is_asked:
            return self.ran_at + self.rest
        return self.ran_at + self.interval

    def begin(self, now: float) -> None:
        """Note that it runs; what asks for it from now on asks for another run."""
        self.ran_at = now
        self.is_asked = self.is_hurried = False
