"""The fixture ``jobs``: check what was enqueued, run a handler, drain the queue."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from flask import Flask
from sqlalchemy import func, select

from app.extensions import db
from app.jobs import lifecycle
from app.jobs.models import Job
from app.jobs.registry import Handler
from app.jobs.testing import run_handler
from app.worker.kernel import Kernel

#: ``drain`` fails after this many attempts, because a handler that enqueues itself would never end.
MAX_DRAINED = 1_000


class Jobs:
    """The queue in a test; ``db.session`` can be used as well."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def enqueued(
        self, type: str | None = None, payload: Mapping[str, Any] | None = None, **columns: Any
    ) -> list[Job]:
        """Pending jobs, oldest first, committed or in ``db.session``'s transaction.

        ``payload`` must be contained in the job's payload; ``columns`` must be equal: ``queue="mail"``, ``priority=5``.
        """
        query = select(Job).where(Job.status == "pending").order_by(Job.id)
        if type is not None:
            query = query.where(Job.type == type)
        if payload is not None:
            query = query.where(Job.payload.contains(dict(payload)))
        for name, value in columns.items():
            query = query.where(getattr(Job, name) == value)
        return list(db.session.scalars(query.execution_options(populate_existing=True)))

    def assert_enqueued(
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        count: int | None = None,
        **columns: Any,
    ) -> None:
        """Fails unless such a job is pending (with ``count``: exactly that many); the message lists all pending jobs."""
        matches = len(self.enqueued(type, payload, **columns))
        if matches == count or (count is None and matches):
            return
        wanted = f"{type} {json.dumps(payload or {}, default=str)} {columns or ''}".rstrip()
        expected = (
            "at least one pending job"
            if count is None
            else f"{count} pending job{'' if count == 1 else 's'}"
        )
        pending = "".join(f"\n  {job.type} {json.dumps(job.payload)}" for job in self.enqueued())
        raise AssertionError(
            f"expected {expected} like {wanted}, found {matches or 'none'}."
            f" Pending jobs:{pending or ' none'}"
        )

    def run(
        self, handler: str | Handler, payload: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run the handler with ``payload`` and return its result. As in a worker, ``db.session`` is committed.

        An exception of the handler is raised after a rollback. ``options`` are those of ``run_handler``:
        attempt, max_attempts, tags, context.
        """
        try:
            result = run_handler(
                handler, payload, settings=self._app.extensions["settings"], **options
            )
        except BaseException:
            db.session.rollback()
            raise
        db.session.commit()
        return result

    def drain(self, *, with_scheduled: bool = False) -> Counter[str]:
        """Run due jobs as a worker does, including the jobs they enqueue, until none is due.

        Returns the number of jobs by status, such as ``{"completed": 3, "failed": 1}``; a job that waits for a retry
        counts as "pending". ``with_scheduled`` also runs jobs that are not due yet, including retries, so that a job
        that keeps failing ends as "failed". Commit enqueued jobs before you call this.
        """
        db.session.rollback()
        job_ids: set[UUID] = set()
        kernel = Kernel(self._app, threads=1)
        idle = count = 0
        # In another thread, as in a worker, so that it does not share the test's session and context.
        with ThreadPoolExecutor(1) as thread:
            while idle < 2 and self._has_due(with_scheduled):
                job = kernel.inbox.next()
                idle = 0 if job else idle + 1
                if job:
                    thread.submit(kernel.run, job).result()
                    job_ids.add(job.id)
                    count += 1
                if count >= MAX_DRAINED:
                    raise AssertionError(f"drain() ran {count} attempts and jobs are still due")
        statuses = db.session.execute(select(Job.id, Job.status).where(Job.id.in_(job_ids)))
        return Counter(status for _, status in statuses)

    def _has_due(self, with_scheduled: bool) -> bool:
        if with_scheduled:
            waiting = select(Job.id).where(Job.status == "pending", Job.run_at > func.now())
            lifecycle.edit(
                db.session, list(db.session.scalars(waiting)), {"run_at": None}, by="test"
            )
            db.session.commit()
        due = select(Job.id).where(Job.status == "pending", Job.run_at <= func.now()).limit(1)
        is_any = db.session.scalar(due) is not None
        db.session.rollback()
        return is_any
