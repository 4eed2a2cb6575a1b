"""/api/workers: list workers."""

from __future__ import annotations

from uuid import UUID

from app.api.http.operation import operation
from app.api.schemas.workers import WORKER
from app.extensions import db
from app.jobs import listing
from app.jobs.listing import WorkerSummary

TAG = "Workers"


@operation("GET", "/api/workers", responses={200: WORKER}, is_list=True, role="viewer", tag=TAG)
def list_workers() -> list[WorkerSummary]:
    """List workers.

    Running workers first, then recently stopped ones.
    """
    return listing.list_workers(db.session)


@operation(
    "GET",
    "/api/workers/<uuid:worker_id>",
    responses={200: WORKER},
    errors=(404,),
    role="viewer",
    tag=TAG,
)
def get_worker(worker_id: UUID) -> WorkerSummary:
    """Get a worker.

    Kept for a day after it stopped.
    """
    return listing.worker(db.session, worker_id)
