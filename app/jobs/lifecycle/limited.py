"""Jobs under limits: which limit a job is under, and how it comes to wait there.

A job is under at most one limit: its type's, else its queue's. ``jobs.hold`` says how it stands there:

    FREE            no limit, or admitted by it: a worker may claim it
    AT_LIMIT        due, waits until its limit admits it
    LIMITED_LATER   under a limit and not due yet: holds no slot, and is in nobody's way

The insert reads the attachments in its own statement. What it can't see (a transaction that began before the attachment
was committed, an insert of the previous release, enqueue_job() in SQL) the claim refuses: a job whose type or queue is
under a limit is not claimed without one. The worker that popped it calls ``assign``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from app.database import Db, id_array
from app.jobs.holds import AT_LIMIT, FREE, LIMITED_LATER
from app.jobs.lifecycle.sql import GIVEN, IS_LOCKED, locked
from app.jobs.publication import REF

#: The limit of overlap "wait" and "replace" of schedules: given with the job, by the schedule's name.
SCHEDULE_LIMIT = "schedule"
MAX_KEY = 200


def held(limit: str, run_at: str) -> str:
    """The hold of a pending job that its limit has not admitted; ``limit`` and ``run_at`` are SQL."""
    return f"CASE WHEN {limit} IS NULL THEN {FREE} WHEN {run_at} > now() THEN {LIMITED_LATER} ELSE {AT_LIMIT} END"


# One look at a small table per statement, before any row: each further node of a plan costs a statement of one job 3 µs.
_ATTACHED = "ARRAY(SELECT kind || ' ' || name FROM limit_attachments)"


def is_attached(job: str) -> str:
    """The condition that the type or the queue of the row ``job`` is under a limit."""
    return f"ARRAY['type ' || {job}.type, 'queue ' || {job}.queue] && {_ATTACHED}"


def attached(job: str) -> str:
    """The name of the limit that the type or the queue of the row ``job`` is under, as SQL; NULL without one."""
    return f"""(SELECT limit_name FROM limit_attachments
        WHERE kind IN ('type', 'queue') AND name IN ({job}.type, {job}.queue)
          AND name = CASE kind WHEN 'type' THEN {job}.type ELSE {job}.queue END ORDER BY kind DESC LIMIT 1)"""


def has_its_limit(job: str = "j") -> str:
    """The condition that the row ``job`` is under a limit, or need not be."""
    return f"({job}.limit_name IS NOT NULL OR NOT {is_attached(job)})"


# What was given with the job goes first when it is inserted; afterwards the payload does, which may have been edited.
_BY_PAYLOAD = "{job}.payload #>> string_to_array(l.by_field, '.')"


def key_of(job: str, *, is_new: bool) -> str:
    """The key of the row ``job`` at the limit ``l``, as SQL."""
    ways = [f"{job}.limit_key", _BY_PAYLOAD.format(job=job)]
    first, second = ways if is_new else reversed(ways)
    return f"left(COALESCE({first}, {second}, ''), {MAX_KEY})"


_ASSIGNABLE = locked(
    f"""
    SELECT j.id, l.name AS new_limit,
           CASE WHEN l.name IS NOT NULL THEN {key_of("j", is_new=False)} END AS new_key
    FROM jobs j LEFT JOIN limits l
        ON l.name = CASE WHEN j.limit_name = '{SCHEDULE_LIMIT}' THEN j.limit_name ELSE {attached("j")} END
    WHERE j.{GIVEN} AND j.status IN ('pending', 'processing')
    """,
    order="j.id",
    of="j",
)
_ASSIGN = text(f"""
WITH {_ASSIGNABLE},
assigned AS (
    UPDATE jobs SET limit_name = new_limit, limit_key = new_key,
        hold = CASE WHEN status = 'processing' THEN {FREE}
                    WHEN hold = {FREE} AND run_at <= now() AND (limit_name, limit_key) = (new_limit, new_key)
                    THEN {FREE} ELSE {held("new_limit", "run_at")} END
    FROM locked l WHERE jobs.id = l.id AND jobs.{IS_LOCKED}
    RETURNING jobs.*)
SELECT {REF}, status FROM assigned
""")


def assign(db: Db, ids: Sequence[UUID]) -> Sequence[Row[Any]]:
    """Put pending and processing jobs under the limit that they belong to now, or under none.

    A pending job that its limit has admitted keeps its slot, unless its key or its time has changed. Returns the rows with
    the columns of REF and status; the caller publishes the pending ones.
    """
    return db.execute(_ASSIGN, {"ids": id_array(ids)}).all() if ids else []


_DUE = f"hold = {LIMITED_LATER} AND run_at <= now()"
# ix_jobs_limited_later
_ALL_COME_DUE = text(f"""
WITH {locked(f"SELECT id FROM jobs WHERE {_DUE}", skip_locked=True, limit=":limit")}
UPDATE jobs SET hold = {AT_LIMIT} WHERE {IS_LOCKED} RETURNING id
""")
_COME_DUE = text(f"""
WITH {locked(f"SELECT id FROM jobs WHERE {GIVEN} AND {_DUE}", skip_locked=True)}
UPDATE jobs SET hold = {AT_LIMIT} WHERE {IS_LOCKED}
""")


def come_due(db: Db, ids: Sequence[UUID]) -> None:
    """LIMITED_LATER → AT_LIMIT for those that are due."""
    db.execute(_COME_DUE, {"ids": id_array(ids)})


def all_come_due(db: Db, *, limit: int = 500) -> int:
    """LIMITED_LATER → AT_LIMIT for every job that is due; returns how many."""
    return len(db.scalars(_ALL_COME_DUE, {"limit": limit}).all())
