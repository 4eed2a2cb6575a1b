"""/api/jobs: create, find, and control jobs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import request

from app.api.http.errors import NotRetryable
from app.api.http.operation import operation
from app.api.http.paging import NEXT_PAGE, listed
from app.api.resources import job_json, parse_jobs
from app.api.resources.create_jobs import IDEMPOTENCY_HEADER, create_many, create_one
from app.api.resources.edit_job import apply_changes
from app.api.schemas.jobs import ATTEMPT, EDIT, JOB, LOG_LINE, STATS
from app.api.schemas.new_jobs import BULK, BULK_RESULT, NEW_JOB
from app.api.schemas.queries import JOB_LIST, LOG_QUERY, ORDERS
from app.errors import InvalidTransition
from app.extensions import db
from app.jobs import idempotency, lifecycle, listing
from app.jobs.bounds import IDEMPOTENCY_HOURS
from app.jobs.lifecycle import NewJob
from app.jobs.models import Job, JobAttempt, JobLogLine
from app.jobs.statistics import summary
from app.security import actor, may_search_payloads, require_payload_search

TAG = "Jobs"


@operation(
    "POST",
    "/api/jobs",
    body=NEW_JOB,
    read=parse_jobs.read_one,
    responses={201: JOB, 200: JOB},
    errors=(404,),
    request_headers={
        IDEMPOTENCY_HEADER: f"1 to 255 visible ASCII characters, kept for {IDEMPOTENCY_HOURS} hours. Repeating the request with the same body returns 200 with"
        " the first job (404 after that job was deleted); with a different body it returns 422."
    },
    request_header_schemas={IDEMPOTENCY_HEADER: {"pattern": f"^{idempotency.KEY.pattern}$"}},
    response_headers={"Location": "The path of the job."},
    role="operator",
    tag=TAG,
)
def create_job(body: NewJob) -> tuple[Any, int, dict[str, str]]:
    """Create a job.

    When the request returns, the job is stored; it starts as soon as a worker is free. 200 instead of 201 when the job already
    exists: by its `Idempotency-Key`, or by a `uniqueKey` that is live.
    """
    job_id, job, is_new = create_one(body, idempotency_key=request.headers.get(IDEMPOTENCY_HEADER))
    return job, 201 if is_new else 200, {"Location": f"/api/jobs/{job_id}"}


@operation(
    "POST",
    "/api/jobs/bulk",
    body=BULK,
    is_bulk=True,
    read=parse_jobs.read_many,
    responses={201: BULK_RESULT},
    role="operator",
    tag=TAG,
)
def create_jobs(body: list[NewJob]) -> dict[str, Any]:
    """Create many jobs.

    Up to 10,000, all or none. Errors name the job by its index: `jobs.17.priority`. A job whose `uniqueKey` is live returns the id of the live job;
    so a bulk can safely be sent again (`Idempotency-Key` is refused here).
    """
    ids = create_many(body, idempotency_key=request.headers.get(IDEMPOTENCY_HEADER))
    return {"count": len(ids), "ids": ids}


@operation(
    "GET",
    "/api/jobs",
    query=JOB_LIST,
    responses={200: JOB},
    is_list=True,
    response_headers=NEXT_PAGE,
    role="viewer",
    tag=TAG,
)
def list_jobs(query: dict[str, Any]) -> Any:
    """List jobs.

    Newest first, unless `orderBy` says otherwise. Pass the `X-Next-Cursor` header as `cursor` for the next page; the list ends where the header is absent. A search
    (`search`, `error`, `payload`, `tag`) looks at a bounded number of jobs at a time, so a page may be short or empty and still have
    a next one. A page also ends when its payloads and results reach 8 MiB.
    """
    limit, offset, cursor = query.pop("limit"), query.pop("offset"), query.pop("cursor", None)
    by, way = ORDERS[query.pop("order_by")], query.pop("order", None)
    order = listing.Order(by, is_ascending=way == "asc" if way else by == "run")
    if "payload" in query:
        require_payload_search()
    query["is_waiting"] = "waiting" in query or None
    query.pop("waiting", None)
    filter = listing.JobFilter(**query, is_payload_searched=may_search_payloads())
    page = listing.list_jobs(
        db.session, filter, limit=limit, offset=offset, cursor=cursor, order=order
    )
    for job in page.items:
        job_json.add_place(job)
    return listed(page)


@operation("GET", "/api/jobs/stats", responses={200: STATS}, role="viewer", tag=TAG)
def get_stats() -> dict[str, int]:
    """Count jobs by status.

    Exact, and as cheap with ten million jobs as with ten.
    """
    return summary.status_counts(db.session)


@operation(
    "GET", "/api/jobs/<uuid:job_id>", responses={200: JOB}, errors=(404,), role="viewer", tag=TAG
)
def get_job(job_id: UUID) -> Job:
    """Get a job.

    A job has finished when `finishedAt` is set: `status` is then completed, failed or cancelled. Poll to wait for that.
    """
    return job_json.add_wait(db.session, listing.get_job(db.session, job_id))


@operation(
    "GET",
    "/api/jobs/<uuid:job_id>/attempts",
    responses={200: ATTEMPT},
    is_list=True,
    errors=(404,),
    role="viewer",
    tag=TAG,
)
def list_attempts(job_id: UUID) -> list[JobAttempt]:
    """List attempts.

    Attempts that did not complete, oldest first, the last 200. An attempt that completed leaves no entry: its result is the job's.
    """
    listing.get_job(db.session, job_id)
    return listing.attempts_of(db.session, job_id)


@operation(
    "GET",
    "/api/jobs/<uuid:job_id>/log",
    query=LOG_QUERY,
    responses={200: LOG_LINE},
    is_list=True,
    errors=(404,),
    role="viewer",
    tag=TAG,
)
def list_log(job_id: UUID, query: dict[str, Any]) -> list[JobLogLine]:
    """Read the log.

    What the handler logged, in the order written. To follow a running job, repeat the request with `after` set to the last line's id.
    """
    listing.get_job(db.session, job_id)
    return listing.log_of(db.session, job_id, query.get("after"), query["limit"])


@operation(
    "POST",
    "/api/jobs/<uuid:job_id>/retry",
    responses={200: JOB},
    errors=(400, 404, 409),
    role="operator",
    tag=TAG,
)
def retry_job(job_id: UUID) -> Job:
    """Retry a job.

    A failed or cancelled job goes back to pending with attempts 0. It runs at once, unless it was cancelled before its `nextRunAt`: then it goes back to that
    time (`POST …/run` starts it now). 400 `invalid_transition` from any other status; 409 `unique_conflict` while another job with its uniqueKey is pending or processing.
    """
    try:
        lifecycle.retry(db.session, [job_id], by=actor()).one()
    except InvalidTransition as refusal:
        raise NotRetryable(**refusal.facts) from None
    return _changed(job_id)


@operation(
    "POST",
    "/api/jobs/<uuid:job_id>/run",
    responses={200: JOB},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def run_job_now(job_id: UUID) -> Job:
    """Run a job now.

    A scheduled or retrying job becomes due at once; its attempts stay. A pending job that is due already stays as it is.
    409 from any other status.
    """
    lifecycle.run_now(db.session, [job_id], by=actor()).one()
    return _changed(job_id)


@operation(
    "POST",
    "/api/jobs/<uuid:job_id>/cancel",
    responses={200: JOB},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def cancel_job(job_id: UUID) -> Job:
    """Cancel a job.

    A pending job is cancelled at once. A processing one is asked to stop (`cancelRequested`) and may still complete.
    Cancelling a cancelled job changes nothing; a completed or failed one is a 409.
    """
    lifecycle.cancel(db.session, [job_id], by=actor()).one()
    return _changed(job_id)


@operation(
    "PATCH",
    "/api/jobs/<uuid:job_id>",
    body=EDIT,
    responses={200: JOB},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def edit_job(job_id: UUID, body: dict[str, Any]) -> Job:
    """Change a job.

    All changes are stored, or none. With `status` it is also cancelled or retried. A completed or processing job is a 409 `invalid_transition`
    (a processing one can still be asked to stop by `{"status": "cancelled"}` alone).
    """
    apply_changes(db.session, job_id, body, by=actor())
    return _changed(job_id)


@operation(
    "DELETE",
    "/api/jobs/<uuid:job_id>",
    responses={204: None},
    errors=(404, 409),
    role="admin",
    tag=TAG,
)
def delete_job(job_id: UUID) -> tuple[None, int, None]:
    """Delete a job.

    With its history and dead letter. 409 while it is processing.
    """
    lifecycle.delete(db.session, [job_id], by=actor()).one()
    db.session.commit()
    return None, 204, None


def _changed(job_id: UUID) -> Job:
    """The job as it is after the change, which is committed."""
    db.session.commit()
    return job_json.add_wait(db.session, listing.get_job(db.session, job_id))
