"""What a job waits for at its limit: a slot, a token, or that somebody opens it again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text

from app.database import Db, rows_in_order
from app.jobs.holds import AT_LIMIT
from app.jobs.limits.definition import Definition, Rate
from app.jobs.limits.numbers import definition_of
from app.jobs.models import Job
from app.jobs.statistics.count import COUNT_BOUND, Count

#: What of its limit a job waits for, for programs.
SLOT, TOKEN, PAUSED, CLOSED = REASONS = ("limit", "rate", "paused", "closed")


@dataclass(frozen=True)
class Level:
    """A limit in all, or one key of it: its numbers, what is in use, and what stops it."""

    in_use: int  # running, or admitted and not started
    concurrency: int | None
    rate: Rate | None
    token_at: datetime | None  # in the future: when the next token is there
    closed_until: datetime | None  # in the future: by a Throttle
    paused_by: str | None
    is_paused: bool

    @property
    def is_full(self) -> bool:
        return self.concurrency is not None and self.in_use >= self.concurrency


@dataclass(frozen=True)
class LimitWait:
    """Why a job that waits at its limit does, as of ``now``."""

    limit: str
    key: str
    by: str | None  # the field that the key comes from
    total: Level
    of_key: Level
    ahead: Count  # jobs of its key that go first
    now: datetime

    @property
    def levels(self) -> tuple[Level, Level]:
        """The key first: what stops one key is more to the point than what stops all."""
        return self.of_key, self.total

    @property
    def reason(self) -> str:
        """The one that goes first, of REASONS."""
        if any(level.is_paused for level in self.levels):
            return PAUSED
        if any(level.closed_until for level in self.levels):
            return CLOSED
        if any(level.is_full for level in self.levels):
            return SLOT
        return TOKEN if any(level.token_at for level in self.levels) else SLOT

    @property
    def until(self) -> datetime | None:
        """When that reason ends by itself, if that is known."""
        instants = {
            CLOSED: [level.closed_until for level in self.levels],
            TOKEN: [level.token_at for level in self.levels],
        }
        return max((at for at in instants.get(self.reason, ()) if at is not None), default=None)


def place(limit: str, key: str) -> dict[str, Any]:
    """What the API says of a job that waits at its limit, without looking: that it does, and where."""
    unknown = dict.fromkeys(("in_use", "of", "ahead", "until"))
    return {"reason": SLOT, "limit": limit, "key": key, **unknown}


def as_json(wait: LimitWait) -> dict[str, Any]:
    """What the API says of a job that waits at its limit."""
    is_of_key = wait.of_key.is_full or wait.total.concurrency is None
    level = wait.of_key if is_of_key else wait.total
    return {
        "reason": wait.reason,
        "limit": wait.limit,
        "key": wait.key,
        "in_use": level.in_use,
        "of": level.concurrency,
        "ahead": int(wait.ahead),
        "until": wait.until,
    }


# ix_jobs_admitted twice, ix_jobs_at_limit once, each in its order up to a bound. A token is there while
# tat <= now + (burst - 1) * interval (lifecycle/tokens.py).
_WAIT = text("""
SELECT l.*, now() AS now, total.n AS in_use, of_key.n AS key_in_use, ahead.n AS ahead, k.concurrency AS own_concurrency,
       l.tat, k.tat AS key_tat, k.blocked_until AS key_blocked_until, k.paused_at AS key_paused_at,
       k.paused_by AS key_paused_by
FROM limits l
LEFT JOIN limit_keys k ON k.limit_name = l.name AND k.key = :key
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM (
        SELECT FROM jobs WHERE limit_name = l.name AND limit_name IS NOT NULL AND hold = 0
          AND status IN ('pending', 'processing')
        ORDER BY limit_name, limit_key LIMIT :bound) AS few) AS total
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM (
        SELECT FROM jobs WHERE limit_name = l.name AND limit_key = :key AND limit_name IS NOT NULL AND hold = 0
          AND status IN ('pending', 'processing')
        ORDER BY limit_name, limit_key LIMIT :bound) AS few) AS of_key
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM (
        SELECT priority, run_at, id FROM jobs WHERE hold = 1 AND limit_name = l.name AND limit_key = :key
        ORDER BY limit_name, limit_key, priority DESC, run_at, id LIMIT :bound) AS first
    WHERE priority > :priority OR priority = :priority AND (run_at, id) < (:run_at, :id)) AS ahead
WHERE l.name = :limit
""")


def limit_wait(db: Db, job: Job) -> LimitWait | None:
    """What ``job`` waits for at its limit; None unless it is due and waits there."""
    if job.hold != AT_LIMIT:
        return None
    values = {
        "limit": job.limit_name, "key": job.limit_key, "priority": job.priority, "run_at": job.run_at,
        "id": job.id, "bound": COUNT_BOUND,
    }  # fmt: skip
    rows = rows_in_order(db, _WAIT, values)
    if not rows:
        return None  # a deleted limit: the job is released within seconds
    [row] = rows
    columns = dict(row._mapping)
    numbers = definition_of(row.name, {**columns, **row.override})
    return LimitWait(
        limit=row.name,
        key=job.limit_key or "",
        by=row.by_field,
        total=_total(row, numbers),
        of_key=_of_key(row, numbers),
        ahead=Count(row.ahead, row.ahead < COUNT_BOUND),
        now=row.now,
    )


def _total(row: Row[Any], numbers: Definition) -> Level:
    return Level(
        in_use=row.in_use,
        concurrency=numbers.concurrency,
        rate=numbers.rate,
        token_at=_token_at(row.tat, numbers.rate, row.now),
        closed_until=_if_ahead(row.blocked_until, row.now),
        paused_by=row.paused_by,
        is_paused=row.paused_at is not None,
    )


def _of_key(row: Row[Any], numbers: Definition) -> Level:
    own = row.own_concurrency
    return Level(
        in_use=row.key_in_use,
        concurrency=numbers.key_concurrency if own is None else own,
        rate=numbers.key_rate,
        token_at=_token_at(row.key_tat, numbers.key_rate, row.now),
        closed_until=_if_ahead(row.key_blocked_until, row.now),
        paused_by=row.key_paused_by,
        is_paused=row.key_paused_at is not None,
    )


def _token_at(tat: datetime | None, rate: Rate | None, now: datetime) -> datetime | None:
    if tat is None or rate is None:
        return None
    interval = rate.per / rate.count
    return _if_ahead(tat - timedelta(seconds=interval * ((rate.burst or 1) - 1)), now)


def _if_ahead(at: datetime | None, now: datetime) -> datetime | None:
    return at if at is not None and at > now else None
