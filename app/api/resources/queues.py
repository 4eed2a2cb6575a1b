"""/api/queues: list, pause, and resume queues."""

from __future__ import annotations

from typing import Any

from app.api.http.operation import operation
from app.api.schemas.fields import NAME
from app.api.schemas.limits import LIMIT_OF
from app.api.schemas.queues import QUEUE
from app.errors import QueueNotFound
from app.extensions import db
from app.jobs import listing, pauses
from app.jobs.limits import attach, known
from app.jobs.listing import QueueSummary
from app.security import actor

TAG = "Queues"


@operation("GET", "/api/queues", responses={200: QUEUE}, is_list=True, role="viewer", tag=TAG)
def list_queues() -> list[dict[str, Any]]:
    """List queues.

    By name: every queue that holds jobs, belongs to a registered job type, or is paused.
    """
    return [_described(queue) for queue in listing.queue_overview(db.session)]


@operation(
    "GET", "/api/queues/<name>", responses={200: QUEUE}, errors=(404,), role="viewer", tag=TAG
)
def get_queue(name: str) -> dict[str, Any]:
    """Get a queue.

    404 unless it holds jobs, belongs to a registered job type, or is paused.
    """
    found = _find(name)
    if found is None:
        raise QueueNotFound(name=name)
    return found


@operation(
    "POST",
    "/api/queues/<name>/pause",
    responses={200: QUEUE},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def pause_queue(name: str) -> dict[str, Any]:
    """Pause a queue.

    Its jobs are no longer started. Running jobs finish; new jobs are accepted and wait. A queue may be paused before its first job.
    """
    pauses.pause_queue(db.session, _spelled(name), by=actor())
    db.session.commit()
    return get_queue(name)


@operation(
    "POST",
    "/api/queues/<name>/resume",
    responses={200: QUEUE},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def resume_queue(name: str) -> dict[str, Any]:
    """Resume a queue.

    Its jobs start again.
    """
    was = get_queue(name)
    pauses.resume_queue(db.session, name, by=actor())
    db.session.commit()
    # A queue that was paused before its first job no longer exists.
    return _find(name) or {**was, "is_paused": False}


@operation(
    "PUT",
    "/api/queues/<name>/limit",
    body=LIMIT_OF,
    responses={200: QUEUE},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def put_queue_limit(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Put a queue under a limit.

    For its jobs whose type is under no limit. null takes it out. Waiting jobs follow in chunks (`moves` of the limit); none of them starts beyond the limit meanwhile.
    """
    attach.set_limit(db.session, "queue", _spelled(name), body["limit"], by=actor())
    db.session.commit()
    known.forget()
    return _find(name) or {**_NEW, "name": name, "limit": body["limit"]}


#: A queue without jobs.
_NEW: dict[str, Any] = {
    **dict.fromkeys(("pending", "due", "scheduled", "retrying", "processing"), 0),
    "is_paused": False,
    "is_exact": True,
    "oldest_wait_seconds": None,
    "completed_per_minute": 0.0,
}


def _spelled(name: str) -> str:
    if not NAME.match(name):
        raise QueueNotFound(name=name)
    return name


def _find(name: str) -> dict[str, Any] | None:
    overview = listing.queue_overview(db.session)
    return next((_described(queue) for queue in overview if queue.name == name), None)


def _described(queue: QueueSummary) -> dict[str, Any]:
    are_exact = (queue.due.is_exact, queue.scheduled.is_exact, queue.retrying.is_exact)
    return {**vars(queue), "is_exact": all(are_exact)}
