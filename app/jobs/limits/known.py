"""Which job types and queues are under which limit, as this process knew it a second ago.

To refuse a job whose key is missing, before it is inserted. The insert reads the attachments itself, so what is known
late here is never wrong there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.database import autocommit
from app.extensions import db
from app.jobs import registry
from app.jobs.lifecycle import NewJob
from app.jobs.limits import keys
from app.jobs.limits.numbers import definition_of

log = logging.getLogger(__name__)

SECONDS = 1.0

_ATTACHMENTS = text("""
SELECT a.kind, a.name AS of, l.* FROM limit_attachments a JOIN limits l ON l.name = a.limit_name
""")


@dataclass(frozen=True, slots=True)
class Known:
    """A limit, as far as the key of a job is concerned."""

    name: str
    by: str | None
    is_per_key: bool


#: (kind, name) → its limit
_attachments: dict[tuple[str, str], Known] = {}
_good_until = float("-inf")  # monotonic


def complaints(new: NewJob) -> Iterator[tuple[str, str]]:
    """(field, what is wrong): why ``new`` can't be under its limit, or has a key without a limit."""
    attachments = _current()
    if not attachments and new.limit_key is None:
        return
    queue = new.queue or registry.get(new.type).queue
    limit = attachments.get(("type", new.type)) or attachments.get(("queue", queue))
    yield from keys.complaints(
        payload=new.payload,
        limit_key=new.limit_key,
        limit=limit.name if limit else None,
        by=limit.by if limit else None,
        is_per_key=limit is not None and limit.is_per_key,
        type=new.type,
        queue=queue,
    )


def kept_key(
    limit_key: str | None, *, type: str, queue: str, payload: Mapping[str, Any]
) -> str | None:
    """``limit_key`` of a job for a copy of it with this payload; None where the payload has the key, or none is needed."""
    attachments = _current()
    limit = attachments.get(("type", type)) or attachments.get(("queue", queue))
    if limit is None or not limit_key:
        return None
    has_key = limit.by is not None and keys.value_at(payload, limit.by) is not None
    return None if has_key else limit_key


def forget() -> None:
    """Read the attachments again at the next job: after a change in this process, and in tests."""
    global _good_until
    _good_until = float("-inf")


def _current() -> Mapping[tuple[str, str], Known]:
    global _attachments, _good_until
    now = time.monotonic()
    if now < _good_until:
        return _attachments
    # Set first: while one thread reads, the others go on with what is known.
    _good_until = now + SECONDS
    try:
        with autocommit(db.engine) as connection:
            rows = connection.execute(_ATTACHMENTS).all()
    except SQLAlchemyError as error:
        log.debug("Could not read the limits: %s", error)
        return _attachments
    known = {}
    for row in rows:
        numbers = definition_of(row.name, {**row._mapping, **row.override})
        known[row.kind, row.of] = Known(row.name, numbers.by, numbers.is_per_key)
    _attachments = known
    return known
