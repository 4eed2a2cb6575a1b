"""What the fixture ``jobs`` gives: look at what was enqueued, run a handler, drain the queue."""

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

#: ``drain`` ends after this many attempts: a handler that enqueues itself would go on forever.
MAX_DRAINED = 1_000


class Jobs:
    """The queue as a test sees it; ``db.session`` is ready to use beside it."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def enqueued(
        self, type: str | None = None, payload: Mapping[str, Any] | None = None, **columns: Any
    ) -> list[Job]:
        """Pending jobs, oldest first, committed or in ``db.session``'s transaction.

        ``payload`` is a part that must be in theirs; ``columns`` are exact: ``queue="mail"``, ``priority=5``.
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
        """Fails unless a job like that is pending (with ``count``: exactly that many), and lists what is."""
        found = len(self.enqueued(type, payload, **columns))
        if found == count or (count is None and found):
            return
        wanted = f"{type} {json.dumps(payload or {}, default=str)} {columns or ''}".rstrip()
        expected = (
            "at least one pending job"
            if count is None
            else f"{count} pending job{'' if count == 1 else 's'}"
        )
        there = "".join(f"\n  {job.type} {json.dumps(job.payload)}" for job in self.enqueued())
        raise AssertionError(
            f"expected {expected} like {wanted}, found {found or 'none'}."
            f" Pending jobs:{there or ' none'}"
        )

    def run(
        self, handler: str | Handler, payload: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """What the handler returns for ``payload``. As in a worker, ``db.session`` is committed then.

        Whatever the handler raises comes out, after a rollback. ``options`` are those of ``run_handler``:
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
        """Run due jobs as a worker does, and those they enqueue, until none is due; how they ended.

        ``{"completed": 3, "failed": 1}``; a failed attempt that will be retried counts as "pending".
        ``with_scheduled`` makes all pending jobs due first, retries included, again and again: a job that keeps
        failing ends as "failed". Commit what you enqueued before you drain.
        """
        db.session.rollback()
        ran: set[UUID] = set()
        kernel = Kernel(self._app, threads=1)
        idle = count = 0
        # A thread of its own, as in a worker: its session and context are not the test's.
        with ThreadPoolExecutor(1) as thread:
            while idle < 2 and self._has_due(with_scheduled):
                job = kernel.inbox.next()
                idle = 0 if job else idle + 1
                if job:
                    thread.submit(kernel.run, job).result()
                    ran.add(job.id)
                    count += 1
                if count >= MAX_DRAINED:
                    raise AssertionError(f"drain() ran {count} attempts and jobs are still due")
        statuses = db.session.execute(select(Job.id, Job.status).where(Job.id.in_(ran)))
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
