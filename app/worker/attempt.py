"""One attempt without threads and processes: its context, and what its end means for the job."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from app import clock
from app.config import Settings
from app.errors import UnknownJobType
from app.jobs import ending, lifecycle, registry
from app.jobs.backoff import Backoff
from app.jobs.context import MAX_MESSAGE_CHARACTERS, Context, storable
from app.jobs.control_flow import MIN_WAIT_SECONDS, Cancel, Snooze, Throttle
from app.jobs.ending import AttemptError, Ending
from app.jobs.registry import JobType, PayloadRefused
from app.worker import results
from app.worker.handler_session import commit_session, roll_back_session
from app.worker.inbox import Claimed

log = logging.getLogger("app.jobs")


def timeout_of(job: Claimed, job_type: JobType, settings: Settings) -> float | None:
    """The time limit of an attempt in seconds; None without one."""
    return job.timeout_seconds or job_type.timeout or settings.default_timeout_seconds


def make_context(
    job: Claimed, job_type: JobType, settings: Settings, make: type[Context] = Context
) -> Context:
    """What the handler receives beside its payload."""
    return make(
        job_id=job.id,
        type=job.type,
        payload=job.payload,
        settings=settings,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        queue=job.queue,
        tags=job.tags,
        timeout_seconds=timeout_of(job, job_type, settings),
        limit=job.limit_name,
    )


def judge(job: Claimed, job_type: JobType, settings: Settings, call: Callable[[], Any]) -> Ending:
    """Run ``call()`` and return what its end means for the job; commits or rolls back ``db.session``.

    The commit comes before the Ending is written: a job never completes without its handler's rows.
    """
    try:
        result = call()
        commit_session()
    # SystemExit and KeyboardInterrupt from a handler must not end a worker thread.
    except BaseException as error:
        # Before anything else runs: a subscriber that commits must not commit half of a failed handler's work.
        roll_back_session()
        return _raised(job, job_type, settings, error)
    return _returned(job, result, settings)


def failed(
    job: Claimed, job_type: JobType | None, settings: Settings, error: BaseException
) -> Ending:
    """ending.failed() with the policy of the job's type and the default of the settings."""
    default = Backoff(settings.backoff_base, settings.backoff_cap_seconds, settings.backoff_jitter)
    policy = job_type.backoff if job_type else None
    return ending.failed(job, error, policy=policy, default=default)


def refused(job: Claimed, settings: Settings, error: Exception) -> Ending:
    """ending.refused() with the limit of the settings."""
    return ending.refused(job, error, give_up_after=settings.unknown_type_hours * 3600 or None)


def unknown_type(name: str) -> UnknownJobType:
    """The error of a job whose type is not registered in this process."""
    return UnknownJobType(type=name, known=", ".join(sorted(registry.names())))


def add_reports(end: Ending, context: Context) -> None:
    """Add the handler's last progress and log lines to its Ending, before any lines of our own."""
    progress, lines = context.drain(is_last=True)
    end.progress = end.progress or progress
    end.lines = [*lines, *end.lines]


def _returned(job: Claimed, result: Any, settings: Settings) -> Ending:
    # The work is done and committed: whatever is wrong with the result, the job is completed.
    if result is None:
        return Ending(job, ending.COMPLETE)
    text, warning = results.encode(result, settings.max_result_bytes)
    end = Ending(job, ending.COMPLETE, result=text)
    if warning:
        log.warning("Job %s (%s) completed: %s", job.id, job.type, warning)
        end.lines = [(clock.now(), "warning", storable(warning, MAX_MESSAGE_CHARACTERS))]
    return end


def _raised(job: Claimed, job_type: JobType, settings: Settings, error: BaseException) -> Ending:
    if isinstance(error, Snooze | Throttle):
        return Ending(job, lifecycle.SNOOZE, outcome="snoozed",
                      delay=max(MIN_WAIT_SECONDS, error.seconds),
                      error=AttemptError.reason(error.reason),
                      throttles=error.scope if isinstance(error, Throttle) else None)  # fmt: skip
    if isinstance(error, Cancel):
        reason = AttemptError.reason(error.reason)
        return Ending(job, lifecycle.CANCEL, outcome="cancelled", error=reason)
    if isinstance(error, PayloadRefused):
        return refused(job, settings, error)
    return failed(job, job_type, settings, error)
