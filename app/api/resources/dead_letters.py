"""/api/dead-letters: failed jobs that wait for a decision."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.api.http.operation import operation
from app.api.http.paging import NEXT_PAGE, listed
from app.api.schemas.dead_letters import DEAD_LETTER
from app.api.schemas.jobs import JOB
from app.api.schemas.queries import DEAD_LETTER_LIST
from app.extensions import db
from app.jobs import lifecycle, listing
from app.jobs.models import DeadLetter, Job
from app.security import actor, may_search_payloads

TAG = "Dead letters"


@operation(
    "GET",
    "/api/dead-letters",
    query=DEAD_LETTER_LIST,
    responses={200: DEAD_LETTER},
    is_list=True,
    response_headers=NEXT_PAGE,
    role="viewer",
    tag=TAG,
)
def list_dead_letters(query: dict[str, Any]) -> Any:
    """List dead letters.

    Open dead letters, newest first. Pass the `X-Next-Cursor` header as `cursor` for the next page; the list ends where the
    header is absent. A page also ends when its payloads reach 8 MiB.
    """
    return listed(
        listing.list_dead_letters(db.session, **query, is_payload_searched=may_search_payloads())
    )


@operation(
    "GET",
    "/api/dead-letters/<uuid:job_id>",
    responses={200: DEAD_LETTER},
    errors=(404,),
    role="viewer",
    tag=TAG,
)
def get_dead_letter(job_id: UUID) -> DeadLetter:
    """Get a dead letter.

    404 unless the job has an open dead letter.
    """
    return listing.open_dead_letter(db.session, job_id)


@operation(
    "POST",
    "/api/dead-letters/<uuid:job_id>/retry",
    responses={200: JOB},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def retry_dead_letter(job_id: UUID) -> Job:
    """Retry a dead letter.

    Its job goes back to pending, which closes the dead letter. 404 if the job has no open dead letter; 409 while another job with its uniqueKey is live.
    """
    listing.open_dead_letter(db.session, job_id)
    lifecycle.retry(db.session, [job_id], by=actor()).one()
    db.session.commit()
    return listing.get_job(db.session, job_id)


@operation(
    "POST",
    "/api/dead-letters/<uuid:job_id>/discard",
    responses={200: JOB},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def discard_dead_letter(job_id: UUID) -> Job:
    """Discard a dead letter.

    It is closed permanently; its job stays failed.
    """
    listing.open_dead_letter(db.session, job_id)
    lifecycle.discard(db.session, [job_id], by=actor()).one()
    db.session.commit()
    return listing.get_job(db.session, job_id)
