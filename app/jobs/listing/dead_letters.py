"""Dead letters: the open ones and the discarded ones, newest first, and the one of a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, literal_column, select, text
from sqlalchemy.orm import InstrumentedAttribute

from app.database import Db, DbSession
from app.errors import DeadLetterNotFound
from app.jobs.listing.cursors import Direction, Page, Position, check_offset, decode, paginate
from app.jobs.listing.filters import (
    is_part_of_id,
    looks_like_id,
    matches_search,
)
from app.jobs.listing.id_ranges import FIRST_ID, LAST_ID
from app.jobs.listing.page_sizes import json_bytes, load_page
from app.jobs.listing.walk import Key, Matches, Walk, gather, merge, walk
from app.jobs.models import DeadLetter
from app.jobs.statistics.count import COUNT_BOUND, Count
from app.json_values import is_storable

_FIRST = (datetime(1970, 1, 1, tzinfo=UTC), FIRST_ID)
_LAST = (datetime(9999, 1, 1, tzinfo=UTC), LAST_ID)


@dataclass(frozen=True)
class _Kind:
    """Which dead letters a list has, by which time, newest first."""

    at: InstrumentedAttribute[Any]
    driver: ColumnElement[bool]

    def key_of(self, dead_letter: DeadLetter) -> Key:
        return (getattr(dead_letter, self.at.key), dead_letter.job_id)


_OPEN = _Kind(DeadLetter.failed_at, DeadLetter.closed_at.is_(None))  # ix_dead_letters_failed_at
_DISCARDED = _Kind(  # ix_dead_letters_discarded
    DeadLetter.closed_at, DeadLetter.closed_how == literal_column("'discarded'")
)


def list_dead_letters(
    db: DbSession,
    *,
    limit: int,
    offset: int = 0,
    cursor: str | None = None,
    direction: Direction | None = None,
    type: str | None = None,
    queue: str | None = None,
    search: str | None = None,
    is_payload_searched: bool = True,
    is_discarded: bool = False,
) -> Page[DeadLetter]:
    """Open dead letters by (failed_at, job_id), or discarded ones by (closed_at, job_id), newest first.

    ``search`` is text in type, reason or payload, or the start or end of a job's id (8 digits or
    more); payloads only with ``is_payload_searched``, as in JobFilter.
    Pages and cursors as in list_jobs. Raises OffsetTooLarge, InvalidCursor.
    """
    position = decode(cursor, width=2, direction=direction) if cursor else None
    check_offset(offset)
    if not is_storable([type, queue, search]):
        return Page()
    kind = _DISCARDED if is_discarded else _OPEN
    page = paginate(
        find=_finder(db, kind, type, queue, search, offset, is_payload_searched),
        load=lambda keys: _load(db, kind, keys),
        instant_of=lambda key: key[0],
        position=position,
        is_first=position is None and offset == 0,
        limit=limit,
    )
    # A job may have been discarded twice.
    return replace(page, items=list({item.job_id: item for item in page.items}.values()))


def count_newer_dead_letters(
    db: DbSession,
    cursor: str,
    *,
    limit: int,
    type: str | None = None,
    search: str | None = None,
    is_payload_searched: bool = True,
    is_discarded: bool = False,
) -> int:
    """How many are newer than a page's start_cursor, up to ``limit``. Raises InvalidCursor."""
    position = decode(cursor, width=2, direction="previous")
    if not is_storable([type, search]):
        return 0
    kind = _DISCARDED if is_discarded else _OPEN
    find = _finder(db, kind, type, None, search, 0, is_payload_searched)
    return len(find(position, limit).keys)


def _finder(
    db: DbSession,
    kind: _Kind,
    type: str | None,
    queue: str | None,
    search: str | None,
    offset: int,
    is_payload_searched: bool,
) -> Callable[[Position | None, int], Matches]:
    words = (search or "").strip()
    plan = Walk(
        key=(kind.at, DeadLetter.job_id),
        floor=_FIRST,
        ceiling=_LAST,
        driver=kind.driver,
        conditions=tuple(_conditions(type, queue, words, is_payload_searched)),
    )

    def find(at: Position | None, limit: int) -> Matches:
        after = at.key if at else None
        way: Direction = at.direction if at else "next"
        matches = walk(db, plan, after=after, direction=way, skip=offset, limit=limit)
        if matches.stopped_at is None or at is not None or offset or not looks_like_id(words):
            return matches
        # The first page was cut short; indexes find ids by both ends.
        is_it = kind.driver & is_part_of_id(words, DeadLetter.job_id)
        return merge(plan, matches, gather(db, plan, is_it, limit=limit), limit=limit)

    return find


def _conditions(
    type: str | None,
    queue: str | None,
    words: str,
    is_payload_searched: bool,
) -> Iterator[ColumnElement[bool]]:
    if type is not None:
        yield DeadLetter.type == type
    if queue is not None:
        yield DeadLetter.queue == queue
    if words:
        payload = DeadLetter.payload if is_payload_searched else None
        yield matches_search(words, DeadLetter.job_id, payload, DeadLetter.type, DeadLetter.reason)


def _load(db: DbSession, kind: _Kind, keys: list[Key]) -> tuple[list[DeadLetter], int]:
    """The dead letters of these keys in their order, without those that have left the list since."""
    # ix_dead_letters_job; the kind is checked here: in WHERE the planner might choose another index.
    rows = select(DeadLetter, json_bytes(DeadLetter.payload))
    wanted = {(key[0], key[1]) for key in keys}

    def load(ids: Sequence[UUID]) -> list[tuple[UUID, DeadLetter | None, int]]:
        loaded = db.execute(
            rows.where(DeadLetter.job_id.in_(ids)), execution_options={"populate_existing": True}
        )
        return [
            (dead_letter.job_id, dead_letter, size)
            for dead_letter, size in loaded
            if (
                dead_letter.closed_how == "discarded"
                if kind is _DISCARDED
                else dead_letter.closed_at is None
            )
            and kind.key_of(dead_letter) in wanted
        ]

    ids = [job_id for _, job_id in keys]
    return load_page(db, ids, key=DeadLetter.job_id, columns=(DeadLetter.payload,), load=load)


def dead_letters_of(db: DbSession, job_id: UUID, *, limit: int = 50) -> list[DeadLetter]:
    """The last dead letters of a job, open or closed, oldest first."""
    newest = (  # ix_dead_letters_job
        select(DeadLetter)
        .where(DeadLetter.job_id == job_id)
        .order_by(DeadLetter.id.desc())
        .limit(limit)
        .execution_options(populate_existing=True)
    )
    return list(reversed(db.scalars(newest).all()))


def open_dead_letter(db: DbSession, job_id: UUID) -> DeadLetter:
    """The open dead letter of a job. Raises DeadLetterNotFound."""
    latest = dead_letters_of(db, job_id, limit=1)
    if not latest or latest[0].closed_at is not None:
        raise DeadLetterNotFound(job_id=job_id)
    return latest[0]


# ix_dead_letters_failed_at; then a job and its group each.
_FAILED_SINCE = text("""
    SELECT count(*) FROM (
        SELECT job_id FROM dead_letters WHERE closed_at IS NULL AND failed_at > :since
        ORDER BY failed_at DESC LIMIT :looked_at) AS d
    JOIN jobs j ON j.id = d.job_id LEFT JOIN error_groups g ON g.fingerprint = j.fingerprint
    WHERE g.state IS DISTINCT FROM 'muted'
""")
#: count_failed_since() looks at this many dead letters.
LOOKED_AT = 500


def count_failed_since(db: Db, since: datetime) -> int:
    """How many jobs failed permanently since then and still are, without muted groups; of the newest LOOKED_AT."""
    n: int = db.execute(_FAILED_SINCE, {"since": since, "looked_at": LOOKED_AT}).scalar_one()
    return n


def count_dead_letters(db: Db) -> Count:
    """How many are open, counted up to a bound."""
    some = (  # uq_dead_letters_open
        select(DeadLetter.job_id).where(DeadLetter.closed_at.is_(None)).limit(COUNT_BOUND + 1)
    )
    n = db.execute(select(func.count()).select_from(some.subquery())).scalar_one()
    return Count(min(n, COUNT_BOUND), is_exact=n <= COUNT_BOUND)
