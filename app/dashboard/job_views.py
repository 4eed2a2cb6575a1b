"""The views of the list of jobs: the statuses, the two views of pending, and what waits at a limit."""

from __future__ import annotations

from app.jobs.models import PENDING, VIEWS

#: Due jobs that wait at a limit: a part of pending.
WAITING = "waiting"
#: In the order of the tabs.
TABS: tuple[str | None, ...] = (None, PENDING, WAITING, *(v for v in VIEWS if v != PENDING))
LABELS = {None: "All jobs"} | {view: f"{view.capitalize()} jobs" for view in TABS if view}
#: What an empty view means, and what appears there.
EMPTY = {
    "pending": ("No pending jobs.", "Workers have picked up every job that is due."),
    WAITING: (
        "No jobs wait at a limit.",
        "Due jobs wait here while their limit or its key has no free slot or no token.",
    ),
    "scheduled": (
        "No scheduled jobs.",
        "Jobs with a delay or a future nextRunAt wait here.",
    ),
    "retrying": (
        "No jobs are retrying.",
        "After a failed attempt, a job waits here for the next one.",
    ),
    "processing": ("No jobs are running.", "All workers are idle, or no workers are running."),
    "completed": (
        "No completed jobs yet.",
        "Completed jobs stay here until their retention period ends.",
    ),
    "failed": ("No failed jobs.", "A job fails permanently once its attempts are used up."),
    "cancelled": (
        "No cancelled jobs.",
        "Jobs cancelled by a person or by their own handler appear here.",
    ),
}
