"""/api/bulk-actions: preview, confirm, watch, control and undo one verb for many jobs."""

from __future__ import annotations

import json
import re
from typing import Any

from app.api.http.operation import operation
from app.api.http.paging import NEXT_PAGE, listed
from app.api.schemas.bulk_actions import (
    BULK_ACTION,
    BULK_ACTION_DETAILS,
    BULK_ACTION_LIST,
    BULK_ACTION_REQUEST,
    BULK_PREVIEW,
    BULK_PREVIEW_REQUEST,
)
from app.errors import InvalidCursor, ValidationFailed
from app.extensions import db
from app.jobs import bulk
from app.jobs.bulk import scope as bulk_scope
from app.jobs.bulk.tickets import Ticket
from app.jobs.listing import JobFilter, Page
from app.jobs.models import BulkAction
from app.jobs.verbs import VERBS
from app.security import MASK, actor, may_search_payloads, require_payload_search
from app.security.authentication import require

TAG = "Bulk actions"
#: Searched texts in a description.
_QUOTED = re.compile("“.*”", re.DOTALL)
_NUMBER = re.compile("[0-9]{1,15}")


@operation(
    "POST",
    "/api/bulk-actions/preview",
    body=BULK_PREVIEW_REQUEST,
    responses={200: BULK_PREVIEW},
    role="viewer",
    tag=TAG,
)
def preview_bulk_action(body: dict[str, Any]) -> dict[str, Any]:
    """Preview a bulk action.

    Counts the jobs to which the verb applies, and changes nothing. Send the returned `preview` to `POST /api/bulk-actions` to confirm exactly
    these jobs: jobs that arrive or change afterwards are not included. A filter by payload needs the role operator.
    """
    verb, filter = body["verb"], _filter(body["filter"])
    preview = bulk_scope.preview(db.session, filter)
    count, span = preview.counts[verb], preview.span(verb)
    ticket = Ticket.of(verb, filter, preview.scope, count if preview.is_exact else None)
    return {
        "verb": verb,
        "count": count,
        "is_exact": preview.is_exact,
        "by_type": _shares(preview.by(verb, "type")),
        "by_queue": _shares(preview.by(verb, "queue")),
        "by_status": _shares(preview.by(verb, "view")),
        "first_at": span and span.first,
        "last_at": span and span.last,
        "preview": str(ticket),
    }


@operation(
    "POST",
    "/api/bulk-actions",
    body=BULK_ACTION_REQUEST,
    responses={201: BULK_ACTION_DETAILS, 200: BULK_ACTION_DETAILS},
    errors=(409,),
    response_headers={"Location": "The path of the bulk action."},
    role="operator",
    tag=TAG,
)
def create_bulk_action(body: dict[str, Any]) -> tuple[Any, int, dict[str, str]]:
    """Start a bulk action.

    Confirms a preview. The action starts after `delaySeconds` and is carried out by the workers, in chunks; a job that changes before its
    chunk is skipped. The same preview sent again returns 200 with the action that it started. 409 `preview_outdated` if more jobs match than were previewed.
    The role admin is needed for `delete`, and an exact count.
    """
    verb, filter, changes = body["verb"], _filter(body["filter"]), body.get("changes")
    require(VERBS[verb].role)
    if (verb == "edit") != (changes is not None):
        words = "is required for edit." if verb == "edit" else "is for the verb edit only."
        raise ValidationFailed({"changes": [words]})
    ticket = Ticket.parse(body["preview"])
    ticket.check(verb, filter)
    is_new = bulk.of_preview(db.session, ticket.key) is None
    number = bulk.create(
        db.session, verb, filter, scope=ticket.scope, expected=ticket.expected, by=actor(), args=_stored(changes),
        description=_description(body["filter"], changes), link=_link(body["filter"]),
        grace_seconds=body["delay_seconds"], per_second=body.get("per_second"), preview_key=ticket.key,
    )  # fmt: skip
    db.session.commit()
    location = {"Location": f"/api/bulk-actions/{number}"}
    return _details(number), 201 if is_new else 200, location


@operation(
    "GET",
    "/api/bulk-actions",
    query=BULK_ACTION_LIST,
    responses={200: BULK_ACTION},
    is_list=True,
    response_headers=NEXT_PAGE,
    role="viewer",
    tag=TAG,
)
def list_bulk_actions(query: dict[str, Any]) -> Any:
    """List bulk actions.

    Newest first. Pass the `X-Next-Cursor` header as `cursor` for the next page; the list ends where the header is absent.
    """
    cursor, limit = query.get("cursor"), query["limit"]
    if cursor is not None and not _NUMBER.fullmatch(cursor):
        raise InvalidCursor
    before = None if cursor is None else int(cursor)
    actions = bulk.latest(db.session, limit + 1, before=before)
    more = str(actions[limit - 1].id) if len(actions) > limit else None
    return listed(Page([_described(action) for action in actions[:limit]], next_cursor=more))


@operation(
    "GET",
    "/api/bulk-actions/<int:number>",
    responses={200: BULK_ACTION_DETAILS},
    errors=(404,),
    role="viewer",
    tag=TAG,
)
def get_bulk_action(number: int) -> dict[str, Any]:
    """Get a bulk action.

    With the outcome of the jobs that it changed. `GET /api/jobs?bulkAction=…&status=…` lists them. For more than 10,000 jobs the outcome may be a few
    seconds old; it is kept for 30 days.
    """
    return _details(number)


@operation(
    "POST",
    "/api/bulk-actions/<int:number>/pause",
    responses={200: BULK_ACTION_DETAILS},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def pause_bulk_action(number: int) -> dict[str, Any]:
    """Pause a bulk action.

    No further chunk is started. 409 `bulk_ended` if it has ended.
    """
    return _controlled(number, bulk.pause)


@operation(
    "POST",
    "/api/bulk-actions/<int:number>/resume",
    responses={200: BULK_ACTION_DETAILS},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def resume_bulk_action(number: int) -> dict[str, Any]:
    """Resume a bulk action.

    It goes on where it was paused. 409 `bulk_ended` if it has ended.
    """
    return _controlled(number, bulk.resume)


@operation(
    "POST",
    "/api/bulk-actions/<int:number>/cancel",
    responses={200: BULK_ACTION_DETAILS},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def cancel_bulk_action(number: int) -> dict[str, Any]:
    """Cancel a bulk action.

    Jobs that it has not reached stay unchanged, the others are left as they are (`POST …/undo` restores them). An action that has ended stays as it is.
    """
    return _controlled(number, bulk.stop)


@operation(
    "POST",
    "/api/bulk-actions/<int:number>/undo",
    responses={200: BULK_ACTION_DETAILS, 201: BULK_ACTION_DETAILS},
    errors=(404, 409),
    response_headers={"Location": "The path of the bulk action that restores the jobs."},
    role="operator",
    tag=TAG,
)
def undo_bulk_action(number: int) -> tuple[Any, int, dict[str, str]]:
    """Undo a bulk action.

    Before the action has started, only cancels it and returns 200: no job was changed. Otherwise cancels what is left and returns 201 with a new action, which restores
    the jobs that have not changed since: a cancelled job with its time and attempts, edited fields, a discarded dead letter, a retried job that has not run.
    409 `bulk_undone` if that was done before, `nothing_to_undo` if no job can be restored. A deletion can't be undone.
    """
    require(bulk.find(db.session, number).role)
    undoing = bulk.undo(db.session, number, by=actor(), grace_seconds=bulk.GRACE_SECONDS)
    db.session.commit()
    status = 200 if undoing == number else 201
    return _details(undoing), status, {"Location": f"/api/bulk-actions/{undoing}"}


def _controlled(number: int, control: Any) -> dict[str, Any]:
    require(bulk.find(db.session, number).role)
    control(db.session, number, by=actor())
    db.session.commit()
    return _details(number)


def _details(number: int) -> dict[str, Any]:
    action = bulk.find(db.session, number)
    outcome = bulk.outcome(db.session, action)
    return {
        **_described(action),
        "undone_by": bulk.undo_of(db.session, number),
        "outcome": {
            **outcome.by_status,
            "total": outcome.total,
            "deleted": outcome.gone,
            "undoable": outcome.undoable,
        },
    }


def _described(action: BulkAction) -> dict[str, Any]:
    names = ("id", "verb", "state", "total", "done", "per_second", "created_by", "created_at", "started_at",
             "finished_at", "undo_of")  # fmt: skip
    return {
        **{name: getattr(action, name) for name in names},
        "description": action.description
        if may_search_payloads()
        else _QUOTED.sub(f"“{MASK}”", action.description),
        "skipped": action.refused,
        "not_included": action.late,
        "starts_at": action.next_at if action.state == "starting" else None,
    }


def _shares(counted: list[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"value": value, "count": n} for value, n in counted]


def _filter(wanted: dict[str, Any]) -> JobFilter:
    if "payload" in wanted:
        require_payload_search()
    return JobFilter(**wanted, is_payload_searched=may_search_payloads())


def _stored(changes: dict[str, Any] | None) -> dict[str, Any]:
    """The changes as JSON values."""
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in (changes or {}).items()
    }


def _description(wanted: dict[str, Any], changes: dict[str, Any] | None) -> str:
    """The filter as text: "Scheduled jobs, type echo". Searched texts are in quotes, which viewers see masked."""
    parts = [f"{(wanted.get('status') or 'all').capitalize()} jobs"]
    for name, value in wanted.items():
        if name in ("payload", "search", "error"):
            text = json.dumps(value, ensure_ascii=False) if name == "payload" else value
            parts.append(f"{name} “{text}”")
        elif name != "status":
            shown = value.isoformat() if hasattr(value, "isoformat") else value
            parts.append(f"{name.replace('_', ' ')} {shown}")
    edited = ", ".join(f"{name} {value}" for name, value in _stored(changes).items())
    return ", ".join(parts) + (f": {edited}" if edited else "")


def _link(wanted: dict[str, Any]) -> dict[str, str]:
    """The filter as the query string of the dashboard's list; {} if it has no such list."""
    is_listed = wanted.keys() <= {"status", "type", "queue", "tag", "fingerprint", "bulk"}
    return {name: str(value) for name, value in wanted.items()} if is_listed else {}
