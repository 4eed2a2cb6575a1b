"""One attempt: call the handler, judge how it ended. Recording that is the outbox's work."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Flask

from app import logs
from app.config import Settings
from app.errors import UnknownJobType
from app.extensions import db
from app.jobs import backoff, lifecycle, registry
from app.jobs.backoff import Backoff
from app.jobs.context import MAX_MESSAGE_CHARACTERS, Context, LogLine, storable
from app.jobs.outcomes import MIN_WAIT_SECONDS, Cancel, JobTimeout, Permanent, RetryAfter, Snooze
from app.jobs.registry import JobType
from app.worker import results
from app.worker.inbox import Claimed
from app.worker.outbox import Outcome
from app.worker.shield import Shield

log = logging.getLogger("app.jobs")

MAX_ERROR_CHARACTERS = 2_000
MAX_TRACEBACK_CHARACTERS = 20_000
#: The handler's own look at its deadline comes first; the thrown exception is for those who don't look.
THROW_AFTER_SECONDS = 0.1

#: Called with (job, error) after every failed attempt: for Sentry and the like.
failure_hooks: list[Callable[[Claimed, BaseException], None]] = []


class Attempt:
    """A handler at work, as the heartbeat and the ticker see it."""

    __slots__ = ("context", "job", "shield", "since", "thread", "throw_at", "thrown_at")

    def __init__(self, job: Claimed, context: Context) -> None:
        self.job = job
        self.context = context
        self.shield = Shield()
        self.since = datetime.now(UTC)
        self.thread = threading.current_thread()
        self.thrown_at: float | None = None
        remaining = context.remaining()
        self.throw_at = (
            None if remaining is None else time.monotonic() + remaining + THROW_AFTER_SECONDS
        )


class Runner:
    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self.attempts: dict[int, Attempt] = {}  # by thread id
        self._thread = threading.local()

    def run(self, job: Claimed) -> Outcome:
        """The attempt, from handler call to outcome. Never raises: a thread must survive its jobs."""
        self._enter_application()
        job_type = registry.find(job.type)
        if job_type is None:
            known = ", ".join(t.name for t in registry.all_types())
            return self._failed(job, None, UnknownJobType(type=job.type, known=known))
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
                    lambda: attempt.shield.call(lambda: job_type.run(job.payload, context)),
                )
        finally:
            del self.attempts[ident]
            close_session()
        report(outcome, context)
        return outcome

    def _failed(self, job: Claimed, job_type: JobType | None, error: Exception) -> Outcome:
        return failure(job, job_type, self._settings, error, "failed")

    def _in_child(self, job: Claimed, job_type: JobType) -> Outcome:
        from app.worker import isolation

        context = make_context(job, job_type, self._settings)
        attempt = Attempt(job, context)
        attempt.throw_at = None  # a child is killed, not talked to
        self.attempts[threading.get_ident()] = attempt
        try:
            return isolation.run(job, job_type, context, self._settings)
        except Exception as error:
            return self._failed(job, job_type, error)
        finally:
            del self.attempts[threading.get_ident()]

    def throw_timeouts(self) -> None:
        """Interrupt handlers past their deadline. Called each tick."""
        now = time.monotonic()
        for attempt in list(self.attempts.values()):
            is_late = attempt.throw_at is not None and now >= attempt.throw_at
            if is_late and attempt.shield.fire(JobTimeout):
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


def make_context(job: Claimed, job_type: JobType, settings: Settings) -> Context:
    timeout = job.timeout_seconds or job_type.timeout or settings.default_timeout_seconds
    return Context(
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
        outcome.lines = [(datetime.now(UTC), "warning", storable(warning, MAX_MESSAGE_CHARACTERS))]
    return outcome


def _raised(job: Claimed, job_type: JobType, settings: Settings, error: BaseException) -> Outcome:
    if isinstance(error, Snooze):
        return Outcome(job, lifecycle.SNOOZE, outcome="snoozed",
                       delay=max(MIN_WAIT_SECONDS, error.seconds),
                       error=_line(error.reason))  # fmt: skip
    if isinstance(error, Cancel):
        return Outcome(job, lifecycle.CANCEL, outcome="cancelled", error=_line(error.reason))
    how = "timed_out" if isinstance(error, JobTimeout) else "failed"
    return failure(job, job_type, settings, error, how)


def commit_session() -> None:
    """Commit what the handler left uncommitted in ``db.session``; raises what the commit raises."""
    if db.session.registry.has():
        db.session.commit()


def roll_back_session() -> None:
    """Roll back what the handler left uncommitted in ``db.session``, enqueued jobs included."""
    if db.session.registry.has():
        try:
            db.session.rollback()
        except Exception:
            log.exception("Could not roll back a handler's session")
            close_session()


def close_session() -> None:
    """A handler's session ends with its attempt."""
    if db.session.registry.has():
        try:
            db.session.remove()
        except Exception:
            log.exception("Could not close a handler's session")


def report(outcome: Outcome, context: Context) -> None:
    """Put the handler's last progress and log lines, before any of our own, into its outcome."""
    outcome.progress, lines = context.drain(is_last=True)
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
        traceback=_traceback(error),
        delay=delay,
    )


def describe(error: BaseException) -> str:
    """One line for people: the exception's class and text; ours speak for themselves."""
    try:
        text = str(error)
    except BaseException:  # people's code, SystemExit included
        text = "(its text can't be read)"
    name = type(error).__name__
    if isinstance(error, (Permanent, RetryAfter, JobTimeout, UnknownJobType)):
        return storable(text or name, MAX_ERROR_CHARACTERS)
    return storable(f"{name}: {text}" if text else name, MAX_ERROR_CHARACTERS)


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


def _line(reason: str) -> str | None:
    return storable(reason, MAX_ERROR_CHARACTERS) if reason else None


def _traceback(error: BaseException) -> str | None:
    # What the handler decided itself needs no traceback.
    if isinstance(error, (Permanent, RetryAfter, UnknownJobType)):
        return None
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_globals.get("__name__", "") in _KERNEL_MODULES:
        tb = tb.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, tb or error.__traceback__))
    except Exception:
        return None
    if len(text) > MAX_TRACEBACK_CHARACTERS:
        half = MAX_TRACEBACK_CHARACTERS // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
    return storable(text, MAX_TRACEBACK_CHARACTERS + 100)


_KERNEL_MODULES = frozenset(
    {__name__, "app.worker.shield", "app.jobs.registry", "app.worker.isolation"}
)
