"""Workers: what each one runs; stop."""

from __future__ import annotations

from uuid import UUID

from flask import Response

from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.present.health_words import WORKER_COMMAND
from app.dashboard.redirects import done
from app.extensions import db
from app.jobs import workers
from app.security import actor
from app.security.roles import requires


@dashboard.get("/workers", endpoint="workers")
@requires("viewer")
def list_workers() -> Response:
    return render.page(
        "workers/index.html",
        "workers/_list.html",
        workers=cached_reads.workers(),
        running=cached_reads.running(),
        worker_command=WORKER_COMMAND,
    )


@dashboard.post("/workers/<uuid:worker_id>/stop")
@requires("operator")
def stop_worker(worker_id: UUID) -> Response:
    workers.request_stop(db.session, worker_id, by=actor())
    return done(
        "Stop requested. The worker finishes its running jobs and takes no new ones.",
        home="dashboard.workers",
    )
