"""Runs attempts in the consumer's threads and in children, and interrupts those past their time limit."""

from __future__ import annotations

import logging
import threading
import time

from flask import Flask

from app import clock, logs
from app.config import Settings
from app.jobs import lifecycle, registry
from app.jobs.context import Context
from app.jobs.control_flow import JobTimeout
from app.jobs.ending import AttemptError, Ending
from app.jobs.registry import JobType
from app.worker import attempt as attempts
from app.worker.child.parent import Isolation, NoEnding
from app.worker.handler_session import close_session
from app.worker.inbox import Claimed
from app.worker.interrupt import Interrupt

log = logging.getLogger("app.jobs")

#: The handler's own check of its deadline comes first; the thrown exception is for handlers that don't check.
THROW_AFTER_SECONDS = 0.1


class Attempt:
    """A running handler, as the heartbeat and the ticker see it."""

    __slots__ = (
        "context", "interrupt", "is_isolated", "job", "since", "thread", "throw_at", "thrown_at",
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
    """Runs a claimed job and returns how its attempt ended; knows every attempt that is running.

    ``run`` is called by the consumer's threads, one attempt each at a time. The other methods are
    called by the ticker, the heartbeat and the stop of the process.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self.isolation = Isolation(settings)
        self.attempts: dict[int, Attempt] = {}  # by thread id
        self._thread = threading.local()

    def run(self, job: Claimed) -> Ending:
        """The attempt, from the handler's call to its Ending. Never raises: a thread must survive its jobs."""
        self._enter_application()
        job_type = registry.find(job.type)
        if job_type is None:
            return attempts.refused(job, self._settings, attempts.unknown_type(job.type))
        if job.crashes or job_type.isolate:
            return self._in_child(job, job_type)
        context = attempts.make_context(job, job_type, self._settings)
        attempt = Attempt(job, context)
        ident = threading.get_ident()
        self.attempts[ident] = attempt
        try:
            with logs.during(jobId=str(job.id), jobType=job.type, attempt=job.attempt):
                ending = attempts.judge(
                    job,
                    job_type,
                    self._settings,
                    lambda: attempt.interrupt.call(lambda: job_type.run(job.payload, context)),
                )
        finally:
            del self.attempts[ident]
            close_session()
        attempts.add_reports(ending, context)
        return ending

    def _in_child(self, job: Claimed, job_type: JobType) -> Ending:
        context = attempts.make_context(job, job_type, self._settings)
        self.attempts[threading.get_ident()] = Attempt(job, context, is_isolated=True)
        timeout = attempts.timeout_of(job, job_type, self._settings)
        try:
            ending = self.isolation.run(job, context, timeout)
            if isinstance(ending, NoEnding):
                ending = self._without_ending(job, job_type, ending)
        finally:
            del self.attempts[threading.get_ident()]
        attempts.add_reports(ending, context)
        return ending

    def _without_ending(self, job: Claimed, job_type: JobType, end: NoEnding) -> Ending:
        """What the end of a child that sent no Ending means for the job."""
        if end.how == NoEnding.STOPPED:
            return lifecycle.stopped(job)
        if end.how == NoEnding.TIMED_OUT:
            return attempts.failed(job, job_type, self._settings, JobTimeout())
        if end.how == NoEnding.CANCELLED:
            reason = AttemptError.reason(end.text)
            return Ending(job, lifecycle.CANCEL, outcome="cancelled", error=reason)
        if end.how == NoEnding.NOT_STARTED:
            return attempts.refused(job, self._settings, ChildUnavailable(end.text))
        return lifecycle.crashed(job, end.text)

    def stop_children(self, seconds: float) -> None:
        """Kill all children; wait up to ``seconds`` for their threads to notice."""
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
        """Attempts that have ignored their timeout for ``STUCK_SECONDS``: C code that does not return."""
        limit = self._settings.stuck_seconds
        if limit is None:
            return []
        since = time.monotonic() - limit
        return [
            attempt
            for attempt in list(self.attempts.values())
            if attempt.thrown_at is not None and attempt.thrown_at < since
        ]

    def give_up(self, attempt: Attempt) -> Ending:
        """The Ending of an attempt whose process ends before it does."""
        lines = attempt.context.drain(is_last=True)[1]
        if attempt.thrown_at is None:
            with self._app.app_context():
                ending = lifecycle.stopped(attempt.job)
        else:
            # If it were released, it would block one worker after another.
            job_type = registry.find(attempt.job.type)
            ending = attempts.failed(attempt.job, job_type, self._settings, JobTimeout())
        ending.lines = lines
        return ending

    def _enter_application(self) -> None:
        # Once per thread, not per job: pushing a context would cost more than a no-op job.
        if not hasattr(self._thread, "context"):
            self._thread.context = self._app.app_context()
            self._thread.context.push()


class ChildUnavailable(Exception):
    """No child process could be started for an attempt; nothing of it ran."""
