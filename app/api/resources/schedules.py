"""/api/schedules: find schedules, their ticks and their next runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app import clock
from app.api.http.operation import operation
from app.api.http.paging import NEXT_PAGE, listed
from app.api.schemas.new_schedules import PREVIEW_QUERY, PREVIEW_REQUEST
from app.api.schemas.schedules import PREVIEW, SCHEDULE, SCHEDULE_LIST, TICK, TICK_LIST
from app.extensions import db
from app.jobs.listing import Page
from app.jobs.models import ScheduleRow
from app.jobs.schedules import history, listing, preview, rules
from app.jobs.schedules.definition import Definition, definition_of, description
from app.jobs.schedules.history import Tick

TAG = "Schedules"


@operation(
    "GET",
    "/api/schedules",
    query=SCHEDULE_LIST,
    responses={200: SCHEDULE},
    is_list=True,
    response_headers=NEXT_PAGE,
    role="viewer",
    tag=TAG,
)
def list_schedules(query: dict[str, Any]) -> Any:
    """List schedules.

    By name. Pass the `X-Next-Cursor` header as `cursor` for the next page; the list ends where the header is absent.
    """
    page = listing.list_schedules(db.session, **query)
    return listed(Page(_described(page.items), next_cursor=page.next_cursor))


@operation(
    "GET", "/api/schedules/<name>", responses={200: SCHEDULE}, errors=(404,), role="viewer", tag=TAG
)
def get_schedule(name: str) -> dict[str, Any]:
    """Get a schedule.

    With its next run and its last tick.
    """
    return _described([listing.get_schedule(db.session, name)])[0]


@operation(
    "GET",
    "/api/schedules/<name>/ticks",
    query=TICK_LIST,
    responses={200: TICK},
    is_list=True,
    errors=(404,),
    response_headers=NEXT_PAGE,
    role="viewer",
    tag=TAG,
)
def list_ticks(name: str, query: dict[str, Any]) -> Any:
    """List the ticks of a schedule.

    The times at which it was to run and what became of each, newest first. Kept for 30 days, at most 1,000.
    """
    schedule = listing.get_schedule(db.session, name)
    page = history.tick_page(db.session, schedule.id, **query)
    return listed(Page([_tick(tick) for tick in page.items], next_cursor=page.next_cursor))


@operation(
    "GET",
    "/api/schedules/<name>/preview",
    query=PREVIEW_QUERY,
    responses={200: PREVIEW},
    errors=(404,),
    role="viewer",
    tag=TAG,
)
def preview_schedule(name: str, query: dict[str, Any]) -> dict[str, Any]:
    """Preview the next runs of a schedule.

    Also of one that is paused: when it would run. A note explains a run at which the clock changes.
    """
    schedule = listing.get_schedule(db.session, name)
    return _preview(definition_of(schedule), query)


@operation(
    "POST",
    "/api/schedules/preview",
    body=PREVIEW_REQUEST,
    responses={200: PREVIEW},
    role="viewer",
    tag=TAG,
)
def preview_times(body: dict[str, Any]) -> dict[str, Any]:
    """Preview the runs of a cron line or an interval.

    Nothing is stored. A note explains a run at which the clock changes.
    """
    query: dict[str, Any] = {name: body.pop(name) for name in ("from_", "count") if name in body}
    times = Definition(name="preview", type="preview", **body)
    return _preview(times, query)


def _preview(definition: Definition, query: dict[str, Any]) -> dict[str, Any]:
    rules.check_times(definition)
    after = query.get("from_") or clock.now()
    runs = preview.next_runs(definition, after=after, count=query["count"])
    return {
        "description": description(definition),
        "runs": [{"at": run.at, "local": run.local.isoformat(), "note": run.note} for run in runs],
    }


def _described(rows: Sequence[ScheduleRow]) -> list[dict[str, Any]]:
    """The schedules with what the table does not store: description, state and last tick."""
    now = clock.now()
    ticks = history.latest_ticks(db.session, [row.id for row in rows], per=1)
    return [
        {
            **{name: getattr(row, name) for name in _STORED},
            "description": description(row),
            "state": listing.state_of(row, now),
            "last_tick": _tick(ticks[row.id][-1]) if row.id in ticks else None,
        }
        for row in rows
    ]


_COMPUTED = {"description", "state", "last_tick"}
_STORED = [name for name in SCHEDULE.fields if name not in _COMPUTED]


def _tick(tick: Tick) -> dict[str, Any]:
    return {
        "tick_at": tick.at,
        "outcome": tick.outcome,
        "job_id": tick.job_id,
        "count": tick.n,
        "last_at": tick.last_at,
        "lag_ms": tick.lag_ms,
        "note": tick.note,
        "job_status": tick.job_view,
        "job_seconds": tick.job_seconds,
    }
