"""An attempt in a child process that can be killed: isolate=True, and jobs that crashed a worker.

The child takes the payload and answers with a judged outcome; if it dies, that is a crash, and it
takes nobody with it.
"""

from __future__ import annotations

import signal
import threading
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

from pebble import ProcessExpired, ProcessPool

from app.config import Settings
from app.jobs import lifecycle, registry
from app.jobs.context import Context
from app.jobs.outcomes import JobTimeout
from app.jobs.registry import JobType
from app.worker.inbox import Claimed
from app.worker.outbox import Outcome

#: The child interrupts itself at its deadline; one that can't (C code that does not return, a
#: signal handler of its own) is killed so much later.
GRACE_SECONDS = 3.0

_pool: ProcessPool | None = None
_lock = threading.Lock()


def run(job: Claimed, job_type: JobType, context: Context, settings: Settings) -> Outcome:
    """The attempt in a child. A dead child is a crash; a late one is killed and timed out."""
    from app.worker.runner import failure

    remaining = context.remaining()
    timeout = None if remaining is None else remaining + GRACE_SECONDS
    future = _get_pool(settings).schedule(_attempt, args=[replace(job)], timeout=timeout)
    try:
        while True:
            try:
                outcome: Outcome = future.result(timeout=0.2)
                return replace(outcome, job=job)
            except FutureTimeout:
                if future.done():
                    return failure(job, job_type, settings, JobTimeout(), "timed_out")
                if context.is_cancel_requested:
                    future.cancel()
                    return Outcome(job, lifecycle.CANCEL, outcome="cancelled",
                                   error="Stopped on request.")  # fmt: skip
    except ProcessExpired as death:
        return Outcome(
            job,
            lifecycle.CRASH,
            outcome="crashed",
            error=f"The child process that ran this job died (exit code {death.exitcode}).",
            max_crashes=lifecycle.max_crashes(job.type),
        )


def _get_pool(settings: Settings) -> ProcessPool:
    global _pool
    with _lock:
        if _pool is None or not _pool.active:
            # Children fork from a server process that has imported everything and started no
            # thread: quick to start, and free of our locks and connections. One attempt each.
            context = get_context("forkserver")
            context.set_forkserver_preload(
                [__name__, "app.worker.runner", "app.dashboard", "app.api"]
            )
            _pool = ProcessPool(max_workers=5, max_tasks=1, context=context)
        return _pool


def stop() -> None:
    """Kill the children."""
    global _pool
    with _lock:
        if _pool is not None:
            _pool.stop()
            _pool.join(2)
            _pool = None


_child: dict[str, Any] = {}


def _attempt(job: Claimed) -> Outcome:
    """Runs in the child."""
    from app import create_app, logs
    from app.worker.runner import close_session, judge, make_context, report

    app = _child.setdefault("app", None) or create_app()
    _child["app"] = app
    settings: Settings = app.extensions["settings"]
    logs.configure(settings)
    with (
        app.app_context(),
        logs.during(jobId=str(job.id), jobType=job.type, attempt=job.attempt),
    ):
        job_type = registry.get(job.type)
        context = make_context(job, job_type, settings)
        outcome = judge(
            job, job_type, settings, lambda: _until_deadline(context, job_type, job.payload)
        )
        close_session()
        report(outcome, context)
        return outcome


def _until_deadline(context: Context, job_type: JobType, payload: dict[str, Any]) -> Any:
    # Here the handler runs in the main thread, where a signal interrupts it, sleeps included.
    remaining = context.remaining()
    if remaining is None:
        return job_type.run(payload, context)
    signal.signal(signal.SIGALRM, _time_out)
    signal.setitimer(signal.ITIMER_REAL, max(remaining, 0.001))
    try:
        return job_type.run(payload, context)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _time_out(*_: object) -> None:
    raise JobTimeout
