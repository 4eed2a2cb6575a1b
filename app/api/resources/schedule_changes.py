"""/api/schedules: create, change, delete, pause, resume, and run schedules."""

from __future__ import annotations

from typing import Any

from app.api.http.operation import operation
from app.api.resources.schedules import TAG, get_schedule
from app.api.schemas.jobs import JOB
from app.api.schemas.new_schedules import NEW_SCHEDULE, RUN, SCHEDULE_DEFINITION, SCHEDULE_EDIT
from app.api.schemas.schedules import SCHEDULE
from app.extensions import db
from app.jobs import listing
from app.jobs.schedules import store
from app.jobs.schedules.definition import Definition
from app.security import actor

LOCATION = {"Location": "The path of the schedule."}


@operation(
    "POST",
    "/api/schedules",
    body=NEW_SCHEDULE,
    responses={201: SCHEDULE},
    errors=(409,),
    response_headers=LOCATION,
    role="operator",
    tag=TAG,
)
def create_schedule(body: dict[str, Any]) -> tuple[Any, int, dict[str, str]]:
    """Create a schedule.

    409 `schedule_exists` if there is one of that name; `PUT` creates or replaces.
    """
    store.create(db.session, Definition(**body), by=actor())
    return _created(body["name"])


@operation(
    "PUT",
    "/api/schedules/<name>",
    body=SCHEDULE_DEFINITION,
    responses={201: SCHEDULE, 200: SCHEDULE},
    errors=(409,),
    response_headers=LOCATION,
    role="operator",
    tag=TAG,
)
def put_schedule(name: str, body: dict[str, Any]) -> Any:
    """Create or replace a schedule.

    Repeating the request changes nothing, so deployment scripts can send it each time. What is absent gets its default; only
    `startsAt` stays as it is. A changed line, zone or interval counts from now. 409 `defined_in_code` for a schedule of the code.
    """
    is_new = store.put(db.session, Definition(name=name, **body), by=actor())
    return _created(name) if is_new else (_changed(name), 200, None)


@operation(
    "PATCH",
    "/api/schedules/<name>",
    body=SCHEDULE_EDIT,
    responses={200: SCHEDULE},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def edit_schedule(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Change a schedule.

    A changed line, zone or interval counts from now; other fields hold from the next run on. 409 `defined_in_code` for a
    schedule of the code.
    """
    for given, other in (("cron", "every_seconds"), ("every_seconds", "cron")):
        if body.get(given) is not None:
            body.setdefault(other, None)
    store.patch(db.session, name, body, by=actor())
    return _changed(name)


@operation(
    "DELETE",
    "/api/schedules/<name>",
    responses={204: None},
    errors=(404, 409),
    role="admin",
    tag=TAG,
)
def delete_schedule(name: str) -> tuple[None, int, None]:
    """Delete a schedule.

    With its ticks; its jobs stay. 409 `defined_in_code` for a schedule of the code, unless it is retired.
    """
    store.delete(db.session, name, by=actor())
    db.session.commit()
    return None, 204, None


@operation(
    "POST",
    "/api/schedules/<name>/pause",
    responses={200: SCHEDULE},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def pause_schedule(name: str) -> dict[str, Any]:
    """Pause a schedule.

    It creates no jobs, and what it would have run meanwhile is not made up for. Its jobs are not affected.
    """
    store.pause(db.session, name, by=actor())
    return _changed(name)


@operation(
    "POST",
    "/api/schedules/<name>/resume",
    responses={200: SCHEDULE},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def resume_schedule(name: str) -> dict[str, Any]:
    """Resume a schedule.

    It goes on with its next run in the future.
    """
    store.resume(db.session, name, by=actor())
    return _changed(name)


@operation(
    "POST",
    "/api/schedules/<name>/run",
    body=RUN,
    is_body_optional=True,
    responses={201: JOB},
    errors=(404, 409),
    response_headers={"Location": "The path of the job."},
    role="operator",
    tag=TAG,
)
def run_schedule(name: str, body: dict[str, Any]) -> tuple[Any, int, dict[str, str]]:
    """Run a schedule now.

    Creates a job at once, also while the schedule is paused; its next run stays as it is. With overlap `skip`, 409 `still_running` while a
    job of the schedule is pending or processing, unless `force` is true.
    """
    job_id = store.run_now(db.session, name, by=actor(), force=body["force"])
    db.session.commit()
    return listing.get_job(db.session, job_id), 201, {"Location": f"/api/jobs/{job_id}"}


def _created(name: str) -> tuple[dict[str, Any], int, dict[str, str]]:
    return _changed(name), 201, {"Location": f"/api/schedules/{name}"}


def _changed(name: str) -> dict[str, Any]:
    """The schedule as it is after the change, which is committed."""
    db.session.commit()
    return get_schedule(name)
