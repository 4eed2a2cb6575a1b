"""/api/error-groups: failures grouped by type, exception and location, and what people say about them."""

from __future__ import annotations

from typing import Any

from app.api.http.operation import operation
from app.api.http.paging import NEXT_PAGE, listed
from app.api.schemas.error_groups import ERROR_GROUP, ERROR_GROUP_LIST
from app.extensions import db
from app.jobs import error_group_states, listing
from app.jobs.listing import ErrorGroup, Page
from app.security import actor

TAG = "Error groups"


@operation(
    "GET",
    "/api/error-groups",
    query=ERROR_GROUP_LIST,
    responses={200: ERROR_GROUP},
    is_list=True,
    response_headers=NEXT_PAGE,
    role="viewer",
    tag=TAG,
)
def list_error_groups(query: dict[str, Any]) -> Any:
    """List error groups.

    By their last failure, newest first. Pass the `X-Next-Cursor` header as `cursor` for the next page; the list ends where the header is absent.
    With more than 20,000 failed jobs, the numbers of jobs may be a few seconds old.
    """
    page = listing.page_of_error_groups(
        db.session, state=query["state"], type=query.get("type"), limit=query["limit"], cursor=query.get("cursor"),
        counts=listing.shared_counts(db.session),
    )  # fmt: skip
    items = [_described(group) for group in page.items]
    return listed(Page(items, next_cursor=page.next_cursor))


@operation(
    "GET",
    "/api/error-groups/<fingerprint>",
    responses={200: ERROR_GROUP},
    errors=(404,),
    role="viewer",
    tag=TAG,
)
def get_error_group(fingerprint: str) -> dict[str, Any]:
    """Get an error group.

    Groups are deleted 90 days after their last failure, once no job belongs to them.
    """
    return _described(listing.get_error_group(db.session, fingerprint))


@operation(
    "POST",
    "/api/error-groups/<fingerprint>/acknowledge",
    responses={200: ERROR_GROUP},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def acknowledge_error_group(fingerprint: str) -> dict[str, Any]:
    """Mark an error group as known.

    It is no longer shown as new. 409 `invalid_transition` unless it is new or reopened.
    """
    return _changed(fingerprint, "acknowledge")


@operation(
    "POST",
    "/api/error-groups/<fingerprint>/mute",
    responses={200: ERROR_GROUP},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def mute_error_group(fingerprint: str) -> dict[str, Any]:
    """Mute an error group.

    Until it fails twice as often as in the hour before: at `reopensAt` failed attempts within an hour. 409 `invalid_transition` if it is muted already.
    """
    return _changed(fingerprint, "mute")


@operation(
    "POST",
    "/api/error-groups/<fingerprint>/resolve",
    responses={200: ERROR_GROUP},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def resolve_error_group(fingerprint: str) -> dict[str, Any]:
    """Resolve an error group.

    Until it fails again. Its jobs are left unchanged: retry or discard them with `POST /api/bulk-actions`. 409 `invalid_transition` if it is resolved already.
    """
    return _changed(fingerprint, "resolve")


@operation(
    "POST",
    "/api/error-groups/<fingerprint>/reopen",
    responses={200: ERROR_GROUP},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def reopen_error_group(fingerprint: str) -> dict[str, Any]:
    """Reopen an error group.

    409 `invalid_transition` unless it is muted or resolved.
    """
    return _changed(fingerprint, "reopen")


def _changed(fingerprint: str, verb: str) -> dict[str, Any]:
    error_group_states.change(db.session, fingerprint, verb, by=actor())
    db.session.commit()
    return get_error_group(fingerprint)


def _described(group: ErrorGroup) -> dict[str, Any]:
    reopened = {
        "former_state": group.former_state, "former_by": group.former_by, "former_at": group.former_at,
        "version": group.reopened_version,
    }  # fmt: skip
    return {
        "fingerprint": group.fingerprint, "type": group.type, "error_class": group.error_class,
        "location": group.place or None, "error": group.error, "state": group.state, "changed_at": group.changed_at,
        "changed_by": group.changed_by, "reopens_at": group.reopens_at,
        "reopened": reopened if group.state == "reopened" else None,
        "failed_jobs": group.dead, "retrying_jobs": group.trying, "first_seen_at": group.first_seen,
        "first_seen_version": group.first_version, "last_seen_at": group.last_seen,
        "failures_per_hour": group.per_hour, "share": None if group.share is None else round(group.share, 4),
    }  # fmt: skip
