"""The orders of a list of jobs, each with the index that has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from app import clock
from app.jobs.listing.filters import OWN_INDEX, JobFilter, conditions
from app.jobs.listing.id_ranges import FIRST_ID, LAST_ID
from app.jobs.listing.walk import Walk
from app.jobs.models import CANCELLED, COMPLETED, FAILED, Job

By = Literal["created", "finished", "run"]
ORDERED_BY: dict[By, tuple[str, ...]] = {
    "finished": (COMPLETED, FAILED, CANCELLED),
    "run": ("pending", "scheduled", "retrying"),
}
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)
#: Clocks of the web and of the database may differ by this much.
_SKEW = timedelta(seconds=10)


@dataclass(frozen=True)
class Order:
    """Which instant to order by, and which end comes first. ``finished`` and ``run`` need a status of ORDERED_BY."""

    by: By = "created"
    is_ascending: bool = False

    @property
    def width(self) -> int:
        """How many parts the keys of its cursors have."""
        return 1 if self.by == "created" else 2


NEWEST = Order()


def order_of(view: str | None) -> Order:
    """The default order of a view: next to run first, last finished first, else newest first."""
    if view in ORDERED_BY["run"]:
        return Order("run", is_ascending=True)
    return Order("finished") if view in ORDERED_BY["finished"] else NEWEST


def timed_walk(filter: JobFilter, order: Order) -> Walk:
    """The walk over the index of an order by ``finished`` or ``run``, everything else as conditions."""
    others = conditions(filter)
    if order.by == "finished":  # ix_jobs_finished
        floor, ceiling = filter.finished_from, filter.finished_to
        del others["status"]
        plan = Walk(
            key=(Job.finished_at, Job.id),
            floor=(floor or _EARLIEST, FIRST_ID),
            ceiling=(ceiling or _LATEST, LAST_ID),
            prefix=((Job.status, filter.status),),
            driver=Job.finished_at.is_not(None),
        )
    else:  # ix_jobs_run_at, ix_jobs_retrying_run_at
        floor, ceiling = filter.run_from, filter.run_to
        del others["status"]
        if filter.status == "scheduled":
            # Skips the backlog; the condition on run_at decides about the rest.
            floor = max(floor or _EARLIEST, clock.now() - _SKEW)
        if filter.status == "retrying":
            del others["view"]
        own = OWN_INDEX["retrying" if filter.status == "retrying" else "pending"]
        plan = Walk(
            key=(Job.run_at, Job.id),
            floor=(floor or _EARLIEST, FIRST_ID),
            ceiling=(ceiling or _LATEST, LAST_ID),
            driver=own,
        )
    low, high = filter.id_range()
    ids: list[Any] = []
    if (low, high) != (FIRST_ID, LAST_ID):
        ids = [Job.id.between(low, high)]
    return replace(plan, conditions=(*others.values(), *ids), is_ascending=order.is_ascending)


__all__ = ["NEWEST", "ORDERED_BY", "Order", "order_of", "timed_walk"]
