"""Subscribers to events of jobs; each is called in the process where the event happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("app.jobs")

#: Called with (job, error) after every failed attempt, for Sentry and similar tools. ``job`` has id, type, payload,
#: queue, tags, attempt and max_attempts. The handler's session is rolled back by then.
on_job_failed: list[Callable[[Any, BaseException], None]] = []


def job_failed(job: Any, error: BaseException) -> None:
    """Call every subscriber. What one raises is logged, and affects neither the others nor the job."""
    for subscriber in on_job_failed:
        try:
            subscriber(job, error)
        except BaseException:
            log.exception("A subscriber of job.failed raised")
