"""Error groups: what failed where, how many, since when and since which version, in which state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Row, text

from app import cache
from app.database import Db, DbSession
from app.jobs.error_group_states import REOPENS_AT, STATE, ErrorGroupNotFound
from app.jobs.error_groups import place_in_traceback
from app.jobs.listing.cursors import Page, Position, decode, encode
from app.json_values import is_storable

MAX_ERROR_GROUPS = 50
HOURS = 24
#: Up to this number of failing jobs, they are counted for each reader; how old the counts may be.
MANY_JOBS, SECONDS = 20_000, 1.0
#: The states of groups that need attention or may need it soon, and everything.
OPEN, ALL = "open", "all"
#: Groups that nobody has looked at come first.
_ATTENTION = "array_position(ARRAY['new', 'reopened', 'known', 'muted', 'resolved'], state)"

# ix_jobs_fingerprint alone.
_COUNTS = """
    SELECT fingerprint, count(*) FILTER (WHERE status = 'failed') AS dead,
           count(*) FILTER (WHERE status <> 'failed') AS trying
    FROM jobs WHERE fingerprint IS NOT NULL {only} GROUP BY 1
"""
_ALL_COUNTS = text(_COUNTS.format(only=""))
_SOME_COUNTS = text(_COUNTS.format(only="AND fingerprint = ANY(:ids)"))
_HAS_MANY = text("SELECT EXISTS (SELECT FROM jobs WHERE fingerprint IS NOT NULL OFFSET :many)")
# A scan of error_groups, which has a row per group; or error_groups_pkey, or ix_error_groups_last_seen.
_GROUPS = f"""
    SELECT * FROM (
        SELECT g.fingerprint, g.type, g.error_class, g.outcome, g.first_seen_at, g.first_version, g.last_seen_at,
               {STATE} AS state, g.changed_at, g.changed_by, g.former_state, g.former_by, g.former_at,
               g.reopened_version, CASE WHEN g.muted_per_hour IS NOT NULL THEN {REOPENS_AT} END AS reopens_at,
               COALESCE(c.dead, 0) AS dead, COALESCE(c.trying, 0) AS trying
        FROM error_groups g
        LEFT JOIN unnest(CAST(:ids AS text[]), CAST(:dead AS bigint[]), CAST(:trying AS bigint[]))
            AS c (fingerprint, dead, trying) USING (fingerprint)) AS g
    WHERE {{conditions}} ORDER BY {{order}} LIMIT :limit
"""
# Of each group, the end of ix_job_attempts_fingerprint.
_LATEST = text("""
    SELECT id.fingerprint, a.ended_at, a.error, a.traceback, a.outcome
    FROM unnest(CAST(:ids AS text[])) AS id (fingerprint)
    CROSS JOIN LATERAL (SELECT * FROM job_attempts a WHERE a.fingerprint = id.fingerprint
                        ORDER BY a.ended_at DESC LIMIT 1) AS a
""")
# error_group_hours_pkey; base + deltas in one statement.
_PER_HOUR = text("""
    SELECT fingerprint, hour, sum(n)::bigint AS n
    FROM (SELECT fingerprint, hour, n FROM error_group_hours WHERE fingerprint = ANY(:ids)
          UNION ALL SELECT fingerprint, hour, n FROM error_group_deltas WHERE fingerprint = ANY(:ids)) AS h
    WHERE hour >= date_trunc('hour', now(), 'UTC') - make_interval(hours => :hours) GROUP BY 1, 2
""")
# job_series_pkey; base + deltas in one statement.
_ATTEMPTS = text("""
    SELECT type, sum(n)::bigint AS n
    FROM (SELECT minute, type, outcome, n FROM job_series
          UNION ALL SELECT minute, type, outcome, n FROM job_series_deltas) AS s
    WHERE minute >= :since AND type = ANY(:types) AND outcome IN ('completed', 'retried', 'failed') GROUP BY 1
""")
_THIS_HOUR = text("SELECT date_trunc('hour', now(), 'UTC')")
_NAME = text("SELECT type, error_class, outcome FROM error_groups WHERE fingerprint = :fingerprint")
# A scan of error_groups.
_STATES = text(f"SELECT {STATE} AS state, count(*) AS n FROM error_groups g GROUP BY 1")

#: Fingerprint → (dead, trying): failed jobs with an open dead letter, and jobs that failed and run again.
Counts = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class ErrorGroup:
    """Attempts that failed for the same reason, and the jobs whose last attempt did."""

    fingerprint: str  # 12 hex digits
    type: str
    error_class: str | None
    place: str  # "" where the error itself shows it
    error: str  # of the latest attempt that is kept
    outcome: str
    dead: int  # failed, with an open dead letter
    trying: int  # pending or processing
    first_seen: datetime
    first_version: str | None  # of the worker
    last_seen: datetime
    per_hour: list[int]  # failed attempts in the last HOURS, oldest first
    hours_from: datetime  # the first of them
    #: Failed attempts of the group among all of its type, 0…1, in this hour and the one before; None without any.
    share: float | None
    state: str  # as in error_group_states
    changed_at: datetime
    changed_by: str | None  # None: no person
    reopens_at: int | None  # muted: at how many failures in an hour
    # reopened: what it was before, who had set that, when; and the version of the worker that failed again.
    former_state: str | None
    former_by: str | None
    former_at: datetime | None
    reopened_version: str | None

    @property
    def attempts(self) -> int:
        """Failed attempts of the last HOURS."""
        return sum(self.per_hour)

    @property
    def name(self) -> str:
        """Such as "KeyError in charge-card"."""
        return _name(self.error_class, self.outcome, self.type)


def _name(error_class: str | None, outcome: str, type: str) -> str:
    return f"{error_class or outcome.replace('_', ' ')} in {type}"


def error_group_name(db: DbSession, fingerprint: str) -> str | None:
    """Such as "KeyError in charge-card"; None for an unknown group."""
    row = db.execute(_NAME, {"fingerprint": fingerprint}).first()
    return _name(row.error_class, row.outcome, row.type) if row else None


def count_jobs_by_group(db: Db, only: Sequence[str] | None = None) -> Counts:
    """The jobs of all groups that have any, or of ``only`` these. Reads an index entry for each job."""
    rows = (
        db.execute(_ALL_COUNTS) if only is None else db.execute(_SOME_COUNTS, {"ids": list(only)})
    )
    return {row.fingerprint: (row.dead, row.trying) for row in rows}


def shared_counts(db: DbSession) -> Counts:
    """As count_jobs_by_group(), counted within the last SECONDS; for many jobs, the previous counts meanwhile."""
    name, engine = "error_groups.jobs", db.get_bind()
    assert isinstance(engine, Engine)
    # ix_jobs_fingerprint, up to MANY_JOBS entries.
    if cache.cached(f"{name}.few", SECONDS, lambda: not db.scalar(_HAS_MANY, {"many": MANY_JOBS})):
        return cache.cached(name, SECONDS, lambda: count_jobs_by_group(db))
    return cache.kept(name, SECONDS, lambda: _count_apart(engine))


def _count_apart(engine: Engine) -> Counts:
    with engine.connect() as connection:
        return count_jobs_by_group(connection)


def count_states(db: Db) -> dict[str, int]:
    """State → error groups."""
    return {row.state: row.n for row in db.execute(_STATES)}


def list_error_groups(
    db: DbSession,
    *,
    state: str = OPEN,
    type: str | None = None,
    search: str | None = None,
    counts: Counts | None = None,
    besides: Sequence[str] = (),
    limit: int = MAX_ERROR_GROUPS,
    offset: int = 0,
) -> list[ErrorGroup]:
    """New and reopened groups first, then the largest.

    ``state``: a state, OPEN (neither muted nor resolved, and with jobs, or among the fingerprints ``besides``), or ALL. ``search``
    is text in type or exception. ``counts``: as count_jobs_by_group().
    """
    if not is_storable([type, search]):
        return []
    conditions, values = _conditions(state, type, search)
    values |= {"besides": list(besides), "limit": limit, "offset": offset}
    order = f"{_ATTENTION}, dead + trying DESC, last_seen_at DESC, fingerprint"
    counts = count_jobs_by_group(db) if counts is None else counts
    statement = _GROUPS.format(conditions=conditions, order=order) + " OFFSET :offset"
    return _described(db, _rows(db, statement, counts, values))


def page_of_error_groups(
    db: DbSession, *, state: str, type: str | None, limit: int, cursor: str | None, counts: Counts
) -> Page[ErrorGroup]:
    """By their last failure, newest first. Raises InvalidCursor."""
    if not is_storable([type]):
        return Page()
    conditions, values = _conditions(state, type, None)
    values |= {"besides": [], "limit": limit + 1}
    if cursor is not None:
        last_seen, padded = decode(cursor, width=2).key
        conditions += " AND (last_seen_at, fingerprint) < (:last_seen, :after)"
        values |= {"last_seen": last_seen, "after": padded.hex[:12]}
    order = "last_seen_at DESC, fingerprint DESC"
    rows = _rows(db, _GROUPS.format(conditions=conditions, order=order), counts, values)
    more = None
    if len(rows) > limit:
        last = rows[limit - 1]
        more = encode(Position((last.last_seen_at, UUID(last.fingerprint.ljust(32, "0"))), "next"))
    return Page(_described(db, rows[:limit]), next_cursor=more)


def get_error_group(db: DbSession, fingerprint: str) -> ErrorGroup:
    """Raises ErrorGroupNotFound."""
    if not is_storable(fingerprint):
        raise ErrorGroupNotFound(fingerprint=fingerprint)
    counts = count_jobs_by_group(db, [fingerprint])
    statement = _GROUPS.format(conditions="fingerprint = :fingerprint", order="1")
    rows = _rows(db, statement, counts, {"fingerprint": fingerprint, "limit": 1})
    if not rows:
        raise ErrorGroupNotFound(fingerprint=fingerprint)
    return _described(db, rows)[0]


def _conditions(state: str, type: str | None, search: str | None) -> tuple[str, dict[str, Any]]:
    conditions, values = [], {}
    if state == OPEN:
        conditions.append(
            "state NOT IN ('muted', 'resolved') AND (dead + trying > 0 OR fingerprint = ANY(:besides))"
        )
    elif state != ALL:
        conditions.append("state = :state")
        values["state"] = state
    if type is not None:
        conditions.append("type = :type")
        values["type"] = type
    if search:
        conditions.append(
            "(strpos(lower(type), lower(:search)) > 0 OR strpos(lower(error_class), lower(:search)) > 0)"
        )
        values["search"] = search
    return " AND ".join(conditions) or "true", values


def _rows(
    db: DbSession, statement: str, counts: Counts, values: dict[str, Any]
) -> Sequence[Row[Any]]:
    columns = {
        "ids": list(counts),
        "dead": [dead for dead, _ in counts.values()],
        "trying": [trying for _, trying in counts.values()],
    }
    return db.execute(text(statement), {**columns, **values}).all()


def _described(db: DbSession, rows: Sequence[Row[Any]]) -> list[ErrorGroup]:
    if not rows:
        return []
    ids = [row.fingerprint for row in rows]
    latest = {row.fingerprint: row for row in db.execute(_LATEST, {"ids": ids})}
    this_hour = db.execute(_THIS_HOUR).scalar_one().astimezone(UTC)
    hours = [this_hour - timedelta(hours=HOURS - 1 - i) for i in range(HOURS)]
    counted = {
        (row.fingerprint, row.hour): row.n
        for row in db.execute(_PER_HOUR, {"ids": ids, "hours": HOURS - 1})
    }
    types = list({row.type for row in rows})
    attempts = {
        row.type: row.n for row in db.execute(_ATTEMPTS, {"since": hours[-2], "types": types})
    }
    return [
        _group(
            row, latest.get(row.fingerprint), attempts.get(row.type, 0), hours[0],
            [counted.get((row.fingerprint, hour), 0) for hour in hours],
        )
        for row in rows
    ]  # fmt: skip


def _group(
    row: Row[Any], latest: Row[Any] | None, attempts: int, hours_from: datetime, per_hour: list[int]
) -> ErrorGroup:
    has_place = latest is not None and latest.outcome != "timed_out"
    return ErrorGroup(
        fingerprint=row.fingerprint, type=row.type, error_class=row.error_class, outcome=row.outcome,
        place=place_in_traceback(latest.traceback or "") if latest and has_place else "",
        error=(latest.error or "") if latest else "",
        dead=row.dead, trying=row.trying, first_seen=row.first_seen_at, first_version=row.first_version,
        last_seen=max(row.last_seen_at, latest.ended_at) if latest else row.last_seen_at,
        per_hour=per_hour, hours_from=hours_from,
        share=min(1.0, sum(per_hour[-2:]) / attempts) if attempts else None,
        state=row.state, changed_at=row.changed_at, changed_by=row.changed_by, reopens_at=row.reopens_at,
        former_state=row.former_state, former_by=row.former_by, former_at=row.former_at,
        reopened_version=row.reopened_version,
    )  # fmt: skip
