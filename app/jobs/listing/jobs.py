"""One job with its history, and the list of jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    and_,
    func,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.orm import defer

from app.database import DbSession
from app.errors import JobNotFound
from app.jobs import ids
from app.jobs.listing.cursors import Direction, Page, Position, check_offset, decode, paginate
from app.jobs.listing.few import estimated_tagged, few
from app.jobs.listing.filters import (
    JobFilter,
    drivers,
    has_tag,
    index_to_walk,
    is_part_of_id,
)
from app.jobs.listing.filters import conditions as conditions_of
from app.jobs.listing.orders import NEWEST, Order, timed_walk
from app.jobs.listing.page_sizes import json_bytes, load_page
from app.jobs.listing.walk import FEW, Key, Matches, Walk, gather, merge, walk
from app.jobs.models import UNIQUE_KEY_IS_LIVE, Job, JobAttempt, JobCounter, JobLogLine
from app.jobs.statistics import counters

#: A job that snoozes every minute has a growing number of attempts; the last ones are shown.
ATTEMPTS_SHOWN = 200
_LAST_LINE = 2**63 - 1


def get_job(db: DbSession, job_id: UUID) -> Job:
    """The job in its current state. Raises JobNotFound."""
    job = db.get(Job, job_id, populate_existing=True)  # jobs_pkey
    if job is None:
        raise JobNotFound(job_id=job_id)
    return job


def oldest_created(db: DbSession) -> datetime | None:
    """When the oldest job was created; None without jobs."""
    oldest = db.scalar(select(Job.id).order_by(Job.id).limit(1))  # jobs_pkey
    return ids.created_at(oldest) if oldest else None


def attempts_of(db: DbSession, job_id: UUID, *, limit: int = ATTEMPTS_SHOWN) -> list[JobAttempt]:
    """The last ``limit`` attempts that did not complete, oldest first."""
    newest = (  # job_attempts_pkey (job_id, …)
        select(JobAttempt)
        .where(JobAttempt.job_id == job_id)
        .order_by(JobAttempt.started_at.desc(), JobAttempt.attempt.desc())
        .limit(limit)
    )
    return list(reversed(db.scalars(newest).all()))


def log_of(
    db: DbSession, job_id: UUID, after: int | None = None, limit: int = 500
) -> list[JobLogLine]:
    """Up to ``limit`` lines in the order written, from the start or after the line with id ``after``."""
    # ix_job_log_lines_job; rows compared whole, or the primary key might be walked (see walk.py).
    here = tuple_(JobLogLine.job_id, JobLogLine.id)
    lines = (
        select(JobLogLine)
        .where(here > (job_id, after or 0), here <= (job_id, _LAST_LINE))
        .order_by(JobLogLine.job_id, JobLogLine.id)
        .limit(limit)
    )
    return list(db.scalars(lines).all())


def list_jobs(
    db: DbSession,
    filter: JobFilter | None = None,
    *,
    limit: int,
    offset: int = 0,
    cursor: str | None = None,
    direction: Direction | None = None,
    order: Order = NEWEST,
    is_light: bool = False,
) -> Page[Job]:
    """The jobs that match in the given order, newest first without one, ``limit`` to a page.

    A cursor knows whether it leads to older or newer jobs (``direction`` overrides it). A page may
    be short or empty and yet have a next cursor: then ``is_cut_short`` is set and the cursor goes
    on with the search. With ``is_light``, payload and result are loaded on access.
    Raises OffsetTooLarge, InvalidCursor.
    """
    filter = (filter or JobFilter()).normalized()
    position = decode(cursor, width=order.width, direction=direction) if cursor else None
    check_offset(offset)
    if not filter.can_match:
        return Page()
    return paginate(
        find=lambda at, limit: _find(db, filter, order, at, offset, limit),
        load=lambda keys: _load(db, filter, [key[-1] for key in keys], is_light),
        instant_of=lambda key: ids.created_at(key[0]) if order.by == "created" else key[0],
        position=position,
        is_first=position is None and offset == 0,
        limit=limit,
        is_ascending=order.is_ascending,
    )


def count_newer_jobs(
    db: DbSession, filter: JobFilter, cursor: str, *, limit: int, order: Order = NEWEST
) -> int:
    """How many matches come before a page's start_cursor, up to ``limit``. Raises InvalidCursor."""
    filter = filter.normalized()
    position = decode(cursor, width=order.width, direction="previous")
    return len(_find(db, filter, order, position, 0, limit).keys) if filter.can_match else 0


def find_ids(
    db: DbSession, filter: JobFilter, *, limit: int, seconds: float
) -> tuple[list[UUID], bool]:
    """The newest matches, found within about ``seconds``, and whether those are all."""
    filter = filter.normalized()
    if not filter.can_match:
        return [], True
    ids: list[UUID] = []
    at: Position | None = None
    until = time.monotonic() + seconds
    while len(ids) < limit:
        wanted = limit - len(ids)
        matches = _find(db, filter, NEWEST, at, 0, wanted)
        # A first page that was cut short may have an id that the walk reaches again.
        ids = list(dict.fromkeys([*ids, *(key[0] for key in matches.keys)]))
        if matches.stopped_at is None and len(matches.keys) < wanted:
            return ids, True
        if time.monotonic() > until:
            break
        at = Position(matches.stopped_at or matches.keys[-1], "next")
    return ids, False


def _find(
    db: DbSession, filter: JobFilter, order: Order, at: Position | None, offset: int, limit: int
) -> Matches:
    direction: Direction = at.direction if at else "next"
    plan = _plan(db, filter, order)
    after = at.key if at else None
    if (condition := few(db, filter, order)) is not None:
        return Matches(
            gather(db, plan, condition, after=after, direction=direction, skip=offset, limit=limit)
        )
    matches = walk(db, plan, after=after, direction=direction, skip=offset, limit=limit)
    if matches.stopped_at is None or at is not None or offset:
        return matches
    # The first page was cut short. The counters may show that it is complete …
    if filter.is_countable and _count(db, filter) == len(matches.keys):
        return Matches(matches.keys)
    # … and an index may have what the walk did not reach.
    ahead: list[Key] = []
    if filter.id_digits:  # jobs_pkey, ix_jobs_id_end
        ahead = gather(db, plan, is_part_of_id(filter.id_digits, Job.id), limit=limit)
    if filter.search is not None and not matches.keys and not ahead:
        ahead = _by_name(db, filter, plan, limit)
    return merge(plan, matches, ahead, limit=limit)


def _plan(db: DbSession, filter: JobFilter, order: Order) -> Walk:
    if order.by != "created":
        return timed_walk(filter, order)
    plan = index_to_walk(filter, _best_driver(db, filter))
    return replace(plan, is_ascending=order.is_ascending)


def _best_driver(db: DbSession, filter: JobFilter) -> str:
    """The index with the fewest rows, by the counters (close enough without their deltas)."""
    possible = drivers(filter)
    if len(possible) == 1:
        return possible[0]
    wanted = {"status": filter.stored_status, "type": filter.type, "queue": filter.queue}
    sizes = select(
        *(
            func.coalesce(
                func.sum(JobCounter.n).filter(getattr(JobCounter, name) == wanted[name]), 0
            )
            for name in possible
        )
    )
    return min(zip(db.execute(sizes).one(), possible, strict=True))[1]


def _count(db: DbSession, filter: JobFilter) -> int:
    """How many jobs match a countable filter, exactly."""
    wanted = {"status": filter.stored_status, "type": filter.type, "queue": filter.queue}
    return counters.count(
        db, **{name: value for name, value in wanted.items() if value is not None}
    )


def _by_name(db: DbSession, filter: JobFilter, plan: Walk, limit: int) -> list[Key]:
    """Jobs older than the walk reached, whose unique key, tag or type is exactly the search."""
    words = filter.search or ""
    # uq_jobs_unique_key (live ones only).
    keyed = (Job.unique_key == words) & literal_column(UNIQUE_KEY_IS_LIVE)
    if keys := gather(db, plan, keyed, limit=limit):
        return keys
    if estimated_tagged(db, words) <= FEW:
        keys = gather(db, plan, has_tag(words), limit=limit)  # ix_jobs_tags
    if not keys and filter.type is None:
        typed = index_to_walk(replace(filter, search=None, type=words), "type")  # ix_jobs_type
        keys = walk(db, typed, after=None, limit=limit).keys
    return keys


def _load(
    db: DbSession, filter: JobFilter, job_ids: list[UUID], is_light: bool
) -> tuple[list[Job], int]:
    # Jobs that changed since their key was found and no longer match are left out. Checked here: in WHERE the
    # planner might choose another index than jobs_pkey.
    still = and_(true(), *conditions_of(filter).values())
    columns = () if is_light else (Job.payload, Job.result)
    rows = select(Job, still, json_bytes(*columns)).options(
        *(defer(column) for column in (Job.payload, Job.result) if is_light)
    )

    def load(ids: Sequence[UUID]) -> list[tuple[UUID, Job | None, int]]:
        loaded = db.execute(rows.where(Job.id.in_(ids)), execution_options=_FRESH)
        return [(job.id, job if is_hit else None, size) for job, is_hit, size in loaded]

    if is_light:
        jobs = {job_id: job for job_id, job, _ in load(job_ids)} if job_ids else {}
        return [job for job_id in job_ids if (job := jobs.get(job_id))], len(job_ids)
    return load_page(db, job_ids, key=Job.id, columns=columns, load=load)


_FRESH = {"populate_existing": True}
