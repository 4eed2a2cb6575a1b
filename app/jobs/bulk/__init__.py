"""One verb for many jobs: previewed, then carried out in chunks that survive a restart, and undone.

The ids of the jobs are stored when a person confirms the action: those of the preview that have not changed since
(scope.py, tickets.py). Later arrivals are counted and left unchanged, and a job that changes between the confirmation
and its chunk is skipped. A chunk is one transaction (the jobs' change and the progress together), so a crash repeats
nothing. It keeps the former values of the jobs, from which a second action undoes the first one.
"""

from app.jobs.bulk.actions import (
    AT_ONCE,
    GRACE_SECONDS,
    MAX_JOBS,
    MAX_PER_SECOND,
    count_open,
    create,
    find,
    latest,
    of_preview,
    pause,
    resume,
    stop,
    undo,
)
from app.jobs.bulk.chunks import HAS_OPEN, act, finish_at_once, prune, step
from app.jobs.bulk.outcomes import Outcome, latest_retries, outcome, retried_groups, undo_of
from app.jobs.bulk.selected import act_on_selected

__all__ = [
    "AT_ONCE",
    "GRACE_SECONDS",
    "HAS_OPEN",
    "MAX_JOBS",
    "MAX_PER_SECOND",
    "Outcome",
    "act",
    "act_on_selected",
    "count_open",
    "create",
    "find",
    "finish_at_once",
    "latest",
    "latest_retries",
    "of_preview",
    "outcome",
    "pause",
    "prune",
    "resume",
    "retried_groups",
    "step",
    "stop",
    "undo",
    "undo_of",
]
