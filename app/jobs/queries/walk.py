"""Walking an index in key order, looking at a bounded number of candidates.

The planner must not choose here: with statistics that are a minute old it prefers an index or a
sort that reads the whole table (KERNEL.md). So the inner query holds only what its index can
answer, ordered as the index is, under a LIMIT that PostgreSQL cannot see through; every other
condition is judged on what comes out of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, literal, select, true, tuple_

from app.jobs.queries.cursors import Direction
from app.jobs.sessions import Database

#: How many rows a search looks at before it says that it stopped, in slices of growing size.
CANDIDATES = 10_000
SLICES = (1_000, 3_000, 6_000)
#: No further slice starts when it would probably end later than this: large payloads are slow.
SEARCH_SECONDS = 0.05

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Walk:
    """What to walk, newest first: the rows between two keys of one index.

    The index has the columns ``prefix`` (each with the one value wanted) and then ``key``, and
    holds the rows where ``driver`` is true. ``floor`` and ``ceiling`` are keys, both inclusive.
    """

    key: tuple[Any, ...]
    floor: Key
    ceiling: Key
    driver: ColumnElement[bool] | None = None
    prefix: tuple[tuple[Any, Any], ...] = ()
    conditions: tuple[ColumnElement[bool], ...] = ()


@dataclass(frozen=True)
class Found:
    """Keys found, in walking order; ``stopped_at`` is the last key looked at if it was cut short."""

    keys: list[Key]
    stopped_at: Key | None = None


def walk(
    db: Database,
    plan: Walk,
    *,
    after: Key | None,
    direction: Direction = "next",
    skip: int = 0,
    limit: int,
) -> Found:
    """The first ``limit`` keys after ``after`` that match, having passed over ``skip`` matches.

    Without conditions every row of the driver matches and the walk is never cut short.
    """
    if not plan.conditions:
        return Found(_all(db, plan, after=after, direction=direction, skip=skip, limit=limit))
    found: list[Key] = []
    wanted = skip + limit
    started, looked_at = time.monotonic(), 0
    for size in SLICES:
        spent = time.monotonic() - started
        if looked_at and spent * (1 + size / looked_at) > SEARCH_SECONDS:
            return Found(found[skip:], stopped_at=after)
        keys, after = _slice(db, plan, after, direction, size, wanted - len(found))
        found += keys
        if len(found) >= wanted or after is None:
            return Found(found[skip:])
        looked_at += size
    return Found(found[skip:], stopped_at=after)


def _all(
    db: Database, plan: Walk, *, after: Key | None, direction: Direction, skip: int, limit: int
) -> list[Key]:
    rows = _candidates(plan, after, direction, plan.key).offset(skip).limit(limit)
    return [tuple(row) for row in db.execute(rows)]


def _slice(
    db: Database, plan: Walk, after: Key | None, direction: Direction, size: int, limit: int
) -> tuple[list[Key], Key | None]:
    """Matches among the next ``size`` candidates, and the last candidate unless it was the last row."""
    order = _ordered(plan, direction)
    columns = (
        *(column.label(f"k{i}") for i, column in enumerate(plan.key)),
        and_(true(), *plan.conditions).label("is_hit"),
        func.row_number().over(order_by=order).label("n"),
    )
    inner = _candidates(plan, after, direction, columns).limit(size).subquery()
    # Lazily, row by row: the walk ends with the last match wanted. The last candidate comes along
    # even if it is no match, to go on from there.
    rows = db.execute(
        select(inner).where(inner.c.is_hit | (inner.c.n == size)).order_by(inner.c.n).limit(limit)
    ).all()
    width = len(plan.key)
    keys = [tuple(row[:width]) for row in rows if row.is_hit]
    is_end_of_slice = bool(rows) and rows[-1].n == size
    return keys, tuple(rows[-1][:width]) if is_end_of_slice else None


def _candidates(
    plan: Walk, after: Key | None, direction: Direction, columns: Sequence[Any]
) -> Select[Any]:
    rows = select(*columns).order_by(*_ordered(plan, direction))
    if plan.driver is not None:
        rows = rows.where(plan.driver)
    return rows.where(*_range(plan, after, direction))


def _range(plan: Walk, after: Key | None, direction: Direction) -> list[ColumnElement[bool]]:
    # Rows are compared whole, (type, id) > ('echo', …): with type = 'echo' the planner would take
    # type for a constant, and walk the primary key through all other types if it thought that
    # cheaper. For the same reason both ends are always there.
    columns = _columns(plan)

    def key_of(key: Key) -> Any:
        values = (*(value for _, value in plan.prefix), *key)
        bound = [literal(v, c.type) for v, c in zip(values, columns, strict=True)]
        return tuple_(*bound) if len(bound) > 1 else bound[0]

    here = tuple_(*columns) if len(columns) > 1 else columns[0]
    is_next = direction == "next"
    low = here >= key_of(plan.floor)
    high = here <= key_of(plan.ceiling)
    if after is not None and is_next and after <= plan.ceiling:
        high = here < key_of(after)
    if after is not None and not is_next and after >= plan.floor:
        low = here > key_of(after)
    return [low, high]


def _ordered(plan: Walk, direction: Direction) -> list[Any]:
    """Newest first; a walk to newer rows goes the other way."""
    return [c.desc() if direction == "next" else c.asc() for c in _columns(plan)]


def _columns(plan: Walk) -> list[Any]:
    return [*(column for column, _ in plan.prefix), *plan.key]


def gather(
    db: Database,
    plan: Walk,
    few: ColumnElement[bool],
    *,
    after: Key | None = None,
    direction: Direction = "next",
    skip: int = 0,
    limit: int,
) -> list[Key]:
    """What walk() would find, by fetching and sorting the rows where ``few`` holds.

    Right for a condition that an index can answer, though not in order, with few rows.
    """
    is_hit = and_(
        true() if plan.driver is None else plan.driver,
        *(column == value for column, value in plan.prefix),
        *plan.conditions,
        *_range(replace(plan, prefix=()), after, direction),
    )
    labels = [column.label(f"k{i}") for i, column in enumerate(plan.key)]
    gathered = select(*labels, is_hit.label("is_hit")).where(few).cte("gathered")
    # Materialized, so that the planner cannot walk the sort order instead of the index of ``few``.
    gathered = gathered.prefix_with("MATERIALIZED", dialect="postgresql")
    columns = [gathered.c[label.name] for label in labels]
    ordered = [c.desc() if direction == "next" else c.asc() for c in columns]
    rows = select(*columns).where(gathered.c.is_hit).order_by(*ordered).offset(skip).limit(limit)
    return [tuple(row) for row in db.execute(rows)]
