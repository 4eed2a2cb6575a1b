"""The errors of schedules; like those of app.errors, a class's docstring is its message."""

from __future__ import annotations

from app.errors import JobQueueError


class ScheduleExists(JobQueueError):
    """There is already a schedule named {name}; change it with PATCH, or replace it with PUT."""

    http_status, code = 409, "schedule_exists"


class ScheduleDefinedInCode(JobQueueError):
    """Schedule {name} is defined in the code; change it there. Here it can be paused, resumed and run."""

    http_status, code = 409, "defined_in_code"


class StillRunning(JobQueueError):
    """Job {job_id} of schedule {name} is still {status}; wait for it, cancel it, or send force."""

    http_status, code = 409, "still_running"
