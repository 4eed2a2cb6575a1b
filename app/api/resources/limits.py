"""/api/limits: how many jobs run at the same time, and how many start in a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from app.api.http.operation import operation
from app.api.resources.limit_json import as_json, changed_columns, definition_from, key_as_json
from app.api.schemas.limits import (
    KEY_LIST,
    LIMIT,
    LIMIT_CHANGE,
    LIMIT_KEY,
    LIMIT_KEY_REQUEST,
    LIMIT_REQUEST,
)
from app.errors import ValidationFailed
from app.extensions import db
from app.jobs.limits import keys, listing, listing_keys, store
from app.security import actor

TAG = "Limits"


@operation("GET", "/api/limits", responses={200: LIMIT}, is_list=True, role="viewer", tag=TAG)
def list_limits() -> list[dict[str, Any]]:
    """List limits.

    By name, with what runs and waits. Counts stop at a bound and say so.
    """
    return [as_json(limit) for limit in listing.list_limits(db.session)]


@operation(
    "GET", "/api/limits/<name>", responses={200: LIMIT}, errors=(404,), role="viewer", tag=TAG
)
def get_limit(name: str) -> dict[str, Any]:
    """Get a limit.

    With what runs and waits; counts stop at a bound and say so.
    """
    return as_json(listing.get_limit(db.session, name))


@operation(
    "PUT",
    "/api/limits/<name>",
    body=LIMIT_REQUEST,
    responses={200: LIMIT, 201: LIMIT},
    errors=(409,),
    role="operator",
    tag=TAG,
)
def put_limit(name: str, body: dict[str, Any]) -> tuple[dict[str, Any], int, None]:
    """Create or replace a limit.

    Its numbers act at once; a lowered one ends no running job. A new `by` holds for jobs created from now on. Put job types and
    queues under it with `PUT /api/job-types/<name>/limit` and `PUT /api/queues/<name>/limit`. 409 `defined_in_code` for a limit of the code,
    409 `old_workers` while a worker of a release without limits is alive.
    """
    is_new = store.put_limit(db.session, definition_from(name, body), by=actor())
    db.session.commit()
    return get_limit(name), 201 if is_new else 200, None


@operation(
    "PATCH",
    "/api/limits/<name>",
    body=LIMIT_CHANGE,
    responses={200: LIMIT},
    errors=(404, 409),
    role="operator",
    tag=TAG,
)
def patch_limit(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Change a limit.

    Numbers of a limit that code defines are overridden, and stay so through deploys until `DELETE …/override`; its other fields are a 409 `defined_in_code`.
    """
    store.patch_limit(db.session, name, changed_columns(body), by=actor())
    return _changed(name)


@operation(
    "DELETE",
    "/api/limits/<name>",
    responses={204: None},
    errors=(404, 409),
    role="admin",
    tag=TAG,
)
def delete_limit(name: str) -> tuple[None, int, None]:
    """Delete a limit.

    Jobs that still wait at it are released. 409 `limit_in_use` while a job type or queue is under it.
    """
    store.delete_limit(db.session, name, by=actor())
    db.session.commit()
    return None, 204, None


@operation(
    "DELETE",
    "/api/limits/<name>/override",
    responses={200: LIMIT},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def delete_limit_override(name: str) -> dict[str, Any]:
    """Go back to the code's numbers.

    Without an override nothing changes.
    """
    store.drop_override(db.session, name, by=actor())
    return _changed(name)


@operation(
    "POST",
    "/api/limits/<name>/pause",
    responses={200: LIMIT},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def pause_limit(name: str) -> dict[str, Any]:
    """Pause a limit.

    No more jobs under it start. Running jobs finish; new jobs are accepted and wait.
    """
    store.pause_limit(db.session, name, by=actor())
    return _changed(name)


@operation(
    "POST",
    "/api/limits/<name>/resume",
    responses={200: LIMIT},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def resume_limit(name: str) -> dict[str, Any]:
    """Resume a limit.

    Also opens one that a handler closed (`blockedUntil`).
    """
    store.resume_limit(db.session, name, by=actor())
    return _changed(name)


@operation(
    "GET",
    "/api/limits/<name>/keys",
    query=KEY_LIST,
    responses={200: LIMIT_KEY},
    is_list=True,
    errors=(404,),
    role="viewer",
    tag=TAG,
)
def list_limit_keys(name: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    """List the keys of a limit.

    Those with the most waiting jobs first; keys without jobs only if they have a number of their own, a pause or a block.
    """
    found = listing_keys.list_keys(db.session, name, limit=query["limit"])
    return [key_as_json(key) for key in found]


@operation(
    "PUT",
    "/api/limits/<name>/keys/<path:key>",
    body=LIMIT_KEY_REQUEST,
    responses={200: LIMIT_KEY},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def put_limit_key(name: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    """Set a key's own concurrency.

    Instead of the limit's `perKey.concurrency`: one customer is raised, or lowered. null goes back.
    """
    change = partial(store.set_key_concurrency, concurrency=body["concurrency"])
    return _changed_key(name, key, change)


@operation(
    "POST",
    "/api/limits/<name>/keys/<path:key>/pause",
    responses={200: LIMIT_KEY},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def pause_limit_key(name: str, key: str) -> dict[str, Any]:
    """Pause a key.

    No more jobs of this key start; those of other keys do.
    """
    return _changed_key(name, key, store.pause_key)


@operation(
    "POST",
    "/api/limits/<name>/keys/<path:key>/resume",
    responses={200: LIMIT_KEY},
    errors=(404,),
    role="operator",
    tag=TAG,
)
def resume_limit_key(name: str, key: str) -> dict[str, Any]:
    """Resume a key.

    Also opens one that a handler closed (`blockedUntil`).
    """
    return _changed_key(name, key, store.resume_key)


def _changed(name: str) -> dict[str, Any]:
    db.session.commit()
    return get_limit(name)


def _changed_key(name: str, key: str, change: Callable[..., None]) -> dict[str, Any]:
    if not keys.is_key(key):
        raise ValidationFailed({"key": [keys.KEY_RULE]})
    change(db.session, name, key, by=actor())
    db.session.commit()
    return key_as_json(listing_keys.get_key(db.session, name, key))
