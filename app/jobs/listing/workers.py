"""Workers: alive, busy, or gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import current_app
from sqlalchemy import Float, cast, extract, func, select

from app.database import DbSession
from app.errors import WorkerNotFound
from app.jobs.models import Job, WorkerRow

#: How long a worker stays in the list after it stopped, or after its last heartbeat.
STOPPED_SHOWN_SECONDS = 10 * 60
SILENT_SHOWN_SECONDS = 60 * 60


@dataclass(frozen=True)
class WorkerSummary:
    """One consumer process, judged by the database clock."""

    id: UUID
    host: str
    pid: int
    version: str
    queues: list[str]  # empty: all
    types: list[str] | None  # it claims; None: every type
    threads: int
    live_threads: int
    memory_bytes: int | None
    #: [{"jobId", "type", "attempt", "since"}] as of heartbeat_at
    running: list[dict[str, Any]]
    completed: int  # jobs since it started
    refused: int  # endings of attempts that were not stored, since it started
    started_at: datetime
    heartbeat_at: datetime
    stop_requested_at: datetime | None
    stopping_at: datetime | None
    stopped_at: datetime | None
    is_alive: bool  # not stopped, with a recent heartbeat
    silent_seconds: float  # since its last heartbeat

    @property
    def state(self) -> str:
        """stopped, silent (no heartbeat), stopping, busy or idle."""
        if self.stopped_at is not None:
            return "stopped"
        if not self.is_alive:
            return "silent"
        if self.stopping_at is not None or self.stop_requested_at is not None:
            return "stopping"
        return "busy" if self.running else "idle"


def list_workers(db: DbSession) -> list[WorkerSummary]:
    """Workers that are alive or stopped recently: alive ones first, then by start, newest first."""
    # The table has a row per process and is pruned, so it needs no index beside its key.
    rows = select(WorkerRow, _silence()).where(
        func.coalesce(WorkerRow.stopped_at, func.now()) > _ago(STOPPED_SHOWN_SECONDS),
        WorkerRow.heartbeat_at > _ago(SILENT_SHOWN_SECONDS),
    )
    workers = [_summary(row) for row in db.execute(rows, execution_options=_FRESH)]
    return sorted(workers, key=lambda worker: (not worker.is_alive, -worker.started_at.timestamp()))


def worker(db: DbSession, worker_id: UUID) -> WorkerSummary:
    """One worker, even if it is long gone. Raises WorkerNotFound."""
    row = db.execute(  # workers_pkey
        select(WorkerRow, _silence()).where(WorkerRow.id == worker_id), execution_options=_FRESH
    ).first()
    if row is None:
        raise WorkerNotFound(worker_id=worker_id)
    return _summary(row)


def still_running(db: DbSession, workers: Sequence[WorkerSummary]) -> list[WorkerSummary]:
    """The workers, with those of their reported attempts that have not ended since."""
    reported = [UUID(run["jobId"]) for worker in workers for run in worker.running]
    # jobs_pkey; a worker reports at most as many as it has threads.
    rows = select(Job.id, Job.attempts, Job.worker_id).where(
        Job.id.in_(reported), Job.lease_token.is_not(None)
    )
    running = {(job_id, worker): n for job_id, n, worker in db.execute(rows)} if reported else {}
    return [
        replace(
            worker,
            running=[
                run
                for run in worker.running
                # A thread that is stuck past its timeout is busy, whatever happened to the job.
                if run.get("isOverdue")
                or running.get((UUID(run["jobId"]), worker.id)) == run["attempt"]
            ],
        )
        for worker in workers
    ]


_FRESH = {"populate_existing": True}


def _silence() -> Any:
    return cast(extract("epoch", func.now() - WorkerRow.heartbeat_at), Float)


def _ago(seconds: float) -> Any:
    return func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _summary(row: Any) -> WorkerSummary:
    worker, silent = row
    silent = max(float(silent), 0.0)
    columns = {
        name: getattr(worker, name)
        for name in WorkerSummary.__dataclass_fields__
        if name not in ("is_alive", "silent_seconds")
    }
    # A worker silent for longer has lost its leases.
    is_alive = (
        worker.stopped_at is None and silent < current_app.extensions["settings"].lease_seconds
    )
    return WorkerSummary(**columns, is_alive=is_alive, silent_seconds=silent)
