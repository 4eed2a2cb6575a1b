"""One attempt: call the handler, judge how it ended. Recording that is the outbox's work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask

from app import clock, logs
from app.config import Settings
from app.errors import UnknownJobType
from app.jobs import backoff, lifecycle, registry
from app.jobs.backoff import Backoff
from app.jobs.context import MAX_MESSAGE_CHARACTERS, Context, LogLine, storable
from app.jobs.control_flow import (
    MIN_WAIT_SECONDS,
    Cancel,
    JobTimeout,
    Permanent,
    RetryAfter,
    Snooze,
)
from app.jobs.registry import JobType, PayloadRefused
from app.worker import results
from app.worker.child.parent import Isolation, NoOutcome
from app.worker.error_text import MAX_ERROR_CHARACTERS as MAX_ERROR_CHARACTERS
from app.worker.error_text import describe, line, traceback_of
from app.worker.handler_session import close_session, commit_session, roll_back_session
from app.worker.inbox import Claimed
from app.worker.interrupt import Interrupt
from app.worker.outbox import Outcome

log = logging.getLogger("app.jobs")

#: The handler's own look at its deadline comes first; the thrown exception is for those who don't look.
THROW_AFTER_SECONDS = 0.1

#: Called with (job, error) after every failed attempt: for Sentry and the like.
failure_hooks: list[Callable[[Claimed, BaseException], None]] = []


class Attempt:
    """A handler at work, as the heartbeat and the ticker see it."""

    __slots__ = (
        "context",
        "interrupt",
        "is_isolated",
        "job",
        "since",
        "thread",
        "throw_at",
        "thrown_at",
    )  # fmt: skip

    def __init__(self, job: Claimed, context: Context, *, is_isolated: bool = False) -> None:
        self.job = job
        self.is_isolated = is_isolated
        self.context = context
        self.interrupt = Interrupt()
        self.since = clock.now()
        self.thread = threading.current_thread()
        self.thrown_at: float | None = None
        remaining = None if is_isolated else context.remaining()  # a child interrupts itself
        self.throw_at = (
            None if remaining is None else time.monotonic() + remaining + THROW_AFTER_SECONDS
        )


class Runner:
    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self.isolation = Isolation(settings)
        self.attempts: dict[int, Attempt] = {}  # by thread id
        self._thread = threading.local()

    def run(self, job: Claimed) -> Outcome:
        """The attempt, from handler call to outcome. Never raises: a thread must survive its jobs."""
        self._enter_application()
        job_type = registry.find(job.type)
        if job_type is None:
            return refused(job, self._settings, unknown_type(job.type))
        if job.crashes or job_type.isolate:
            return self._in_child(job, job_type)
        context = make_context(job, job_type, self._settings)
        attempt = Attempt(job, context)
        ident = threading.get_ident()
        self.attempts[ident] = attempt
        try:
            with logs.during(jobId=str(job.id), jobType=job.type, attempt=job.attempt):
                outcome = judge(
                    job,
                    job_type,
                    self._settings,
                    lambda: attempt.interrupt.call(lambda: job_type.run(job.payload, context)),
                )
        finally:
            del self.attempts[ident]
            close_session()
        report(outcome, context)
        return outcome

    def _in_child(self, job: Claimed, job_type: JobType) -> Outcome:
        context = make_context(job, job_type, self._settings)
        self.attempts[threading.get_ident()] = Attempt(job, context, is_isolated=True)
        try:
            end = self.isolation.run(job, context, timeout_of(job, job_type, self._settings))
            outcome = self._ended(job, job_type, end)
        finally:
            del self.attempts[threading.get_ident()]
        report(outcome, context)
        return outcome

    def _ended(self, job: Claimed, job_type: JobType, end: Outcome | NoOutcome) -> Outcome:
        """What the end of a child that gave no outcome means for the job."""
        if isinstance(end, Outcome):
            return end
        if end.how == NoOutcome.STOPPED:
            return stopped(job)
        if end.how == NoOutcome.TIMED_OUT:
            return failure(job, job_type, self._settings, JobTimeout(), "timed_out")
        if end.how == NoOutcome.CANCELLED:
            return Outcome(job, lifecycle.CANCEL, outcome="cancelled", error=end.text)
        if end.how == NoOutcome.NOT_STARTED:
            return refused(job, self._settings, ChildUnavailable(end.text))
        return Outcome(job, lifecycle.CRASH, outcome="crashed", error=end.text,
                       max_crashes=lifecycle.max_crashes(job.type))  # fmt: skip

    def stop_children(self, seconds: float) -> None:
        """Kill what runs in children; wait up to ``seconds`` for their threads to notice."""
        self.isolation.stop()
        give_up_at = time.monotonic() + seconds
        while any(a.is_isolated for a in list(self.attempts.values())):
            if time.monotonic() > give_up_at:
                return
            time.sleep(0.01)

    def throw_timeouts(self) -> None:
        """Interrupt handlers past their deadline. Called each tick."""
        now = time.monotonic()
        for attempt in list(self.attempts.values()):
            is_late = attempt.throw_at is not None and now >= attempt.throw_at
            if is_late and attempt.interrupt.throw(JobTimeout):
                attempt.thrown_at = now

    def stuck(self) -> list[Attempt]:
        """Attempts that did not obey their time-out for ``STUCK_SECONDS``: C code that does not return."""
        limit = self._settings.stuck_seconds
        if limit is None:
            return []
        since = time.monotonic() - limit
        return [
            attempt
            for attempt in list(self.attempts.values())
            if attempt.thrown_at is not None and attempt.thrown_at < since
        ]

    def given_up(self, attempt: Attempt) -> Outcome:
        """What becomes of an attempt whose process ends before it does."""
        lines = attempt.context.drain(is_last=True)[1]
        if attempt.thrown_at is None:
            with self._app.app_context():
                return stopped(attempt.job, lines)
        # Released, it would hang the next worker, and the next.
        job_type = registry.find(attempt.job.type)
        outcome = failure(attempt.job, job_type, self._settings, JobTimeout(), "timed_out")
        outcome.lines = lines
        return outcome

    def _enter_application(self) -> None:
        # Once per thread, not per job: pushing a context would cost more than a no-op job.
        if not hasattr(self._thread, "context"):
            self._thread.context = self._app.app_context()
            self._thread.context.push()


def stopped(job: Claimed, lines: Sequence[LogLine] = ()) -> Outcome:
    """What becomes of an attempt whose worker shuts down before it ends."""
    end = lifecycle.stopped(job.type)
    return Outcome(job, end["verb"], outcome=end["outcome"], error=end["error"], lines=lines)


class ChildUnavailable(Exception):
    """No child process could be had for an attempt; nothing of it ran."""


def unknown_type(name: str) -> UnknownJobType:
    known = ", ".join(sorted(registry.names()))
    return UnknownJobType(type=name, known=known)


def refused(job: Claimed, settings: Settings, error: Exception) -> Outcome:
    """This worker can't run the job, another one may: given back, and failed if none can for too long."""
    text = describe(error)
    log.warning("Job %s (%s) given back, this worker can't run it: %s", job.id, job.type, text)
    return Outcome(
        job,
        lifecycle.REFUSE,
        outcome="released",
        error=text,
        error_class=type(error).__name__,
        give_up_after=settings.unknown_type_hours * 3600 or None,
    )


def timeout_of(job: Claimed, job_type: JobType, settings: Settings) -> float | None:
    """The time limit of an attempt in seconds; None without one."""
    return job.timeout_seconds or job_type.timeout or settings.default_timeout_seconds


def make_context(
    job: Claimed, job_type: JobType, settings: Settings, make: type[Context] = Context
) -> Context:
    timeout = timeout_of(job, job_type, settings)
    return make(
        job_id=job.id,
        type=job.type,
        payload=job.payload,
        settings=settings,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        queue=job.queue,
        tags=job.tags,
        timeout_seconds=timeout,
    )


def judge(job: Claimed, job_type: JobType, settings: Settings, call: Callable[[], Any]) -> Outcome:
    """``call()`` and what its end means for the job; commits ``db.session`` or rolls it back.

    The commit comes before the outcome is written: a job never completes without its handler's rows.
    """
    try:
        result = call()
        commit_session()
    # SystemExit and KeyboardInterrupt from a handler must not end a worker thread.
    except BaseException as error:
        # Before anything else runs: a hook that commits must not commit half of a failed handler's work.
        roll_back_session()
        return _raised(job, job_type, settings, error)
    return _returned(job, result, settings)


def _returned(job: Claimed, result: Any, settings: Settings) -> Outcome:
    """The work is done and committed: whatever is wrong with the result, the job is completed."""
    if result is None:
        return Outcome(job, "complete")
    text, warning = results.encode(result, settings.max_result_bytes)
    outcome = Outcome(job, "complete", result=text)
    if warning:
        log.warning("Job %s (%s) completed: %s", job.id, job.type, warning)
        outcome.lines = [(clock.now(), "warning", storable(warning, MAX_MESSAGE_CHARACTERS))]
    return outcome


def _raised(job: Claimed, job_type: JobType, settings: Settings, error: BaseException) -> Outcome:
    if isinstance(error, Snooze):
        return Outcome(job, lifecycle.SNOOZE, outcome="snoozed",
                       delay=max(MIN_WAIT_SECONDS, error.seconds),
                       error=line(error.reason))  # fmt: skip
    if isinstance(error, Cancel):
        return Outcome(job, lifecycle.CANCEL, outcome="cancelled", error=line(error.reason))
    if isinstance(error, PayloadRefused):
        return refused(job, settings, error)
    how = "timed_out" if isinstance(error, JobTimeout) else "failed"
    return failure(job, job_type, settings, error, how)


def report(outcome: Outcome, context: Context) -> None:
    """Put the handler's last progress and log lines, before any of our own, into its outcome."""
    progress, lines = context.drain(is_last=True)
    outcome.progress = outcome.progress or progress
    outcome.lines = [*lines, *outcome.lines]


def failure(
    job: Claimed,
    job_type: JobType | None,
    settings: Settings,
    error: BaseException,
    outcome: str,
) -> Outcome:
    """A failed attempt: retried after its backoff, or buried when it was the last or Permanent."""
    for hook in failure_hooks:
        try:
            hook(job, error)
        except BaseException:
            log.exception("A failure hook failed")
    is_last = job.attempt >= job.max_attempts or isinstance(error, Permanent)
    delay = None if is_last else _delay(job, job_type, settings, error)
    text = describe(error)
    log.info(
        "Job %s (%s) attempt %s of %s %s: %s", job.id, job.type, job.attempt, job.max_attempts,
        "failed for good" if is_last else f"failed, again in {delay:g} s", text,
    )  # fmt: skip
    return Outcome(
        job,
        lifecycle.BURY if is_last else lifecycle.RETRY_LATER,
        outcome=outcome,
        error=text,
        error_class=type(error).__name__,
        traceback=traceback_of(error),
        delay=delay,
    )


def _delay(
    job: Claimed, job_type: JobType | None, settings: Settings, error: BaseException
) -> float:
    if isinstance(error, RetryAfter):
        return max(MIN_WAIT_SECONDS, error.seconds)
    default = Backoff(settings.backoff_base, settings.backoff_cap_seconds, settings.backoff_jitter)
    policy = (job_type.backoff if job_type else None) or default
    try:
        return backoff.delay(job.attempt, policy)
    except BaseException:
        log.exception("The backoff of %s failed; using the default", job.type)
        return backoff.delay(job.attempt, default)
