"""The domain: what a job is and what can happen to it. No request, no Huey, no Jinja.

from app.jobs import job, enqueue

@job("greet")
def greet(payload, ctx):
    return f"Hello {payload['name']}"

enqueue("greet", {"name": "Ada"})      # joins the transaction of db.session
enqueue_and_commit("greet", {"name": "Ada"})      # committed on its own
enqueue_many(NewJob("greet", {"name": name}) for name in names)
"""

from __future__ import annotations

from app.jobs.context import Context
from app.jobs.control_flow import Cancel, Permanent, RetryAfter, Snooze, Throttle
from app.jobs.enqueueing import enqueue, enqueue_and_commit, enqueue_many
from app.jobs.lifecycle import NewJob
from app.jobs.limits.definition import Limit, Rate
from app.jobs.registry import job
from app.jobs.schedules.definition import Schedule, schedule
from app.jobs.scheduling import delete_schedule, put_schedule

__all__ = [
    "Cancel",
    "Context",
    "Limit",
    "NewJob",
    "Permanent",
    "Rate",
    "RetryAfter",
    "Schedule",
    "Snooze",
    "Throttle",
    "delete_schedule",
    "enqueue",
    "enqueue_and_commit",
    "enqueue_many",
    "job",
    "put_schedule",
    "schedule",
]
