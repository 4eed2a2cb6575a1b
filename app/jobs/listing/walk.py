"""Walking an index in key order, checking a bounded number of candidates.

The planner must not choose here: with statistics that are a minute old it prefers an index or a
sort that reads the whole table. So the inner query has only conditions of its index, in the order
of the index, under a LIMIT that PostgreSQL does not push down; every other condition is checked on
its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, select, true, tuple_

from app.database import Db, rows_in_order
from app.jobs.listing.cursors import Direction

#: A walk checks this many rows (0.3 µs each; 2 µs if it reads payloads) and then reports that it stopped …
CANDIDATES = 100_000
#: … or after this time, since payloads may be large and the disk slow, …
WALK_MILLISECONDS = 25
#: … but at least this many rows, so that a busy moment does not cut short a short list, …
ALWAYS_WALKED = 500
#: … unless they take this long: 500 payloads of a megabyte would take ten seconds.
ALWAYS_WALKED_MILLISECONDS = 250
#: Up to this many rows are fetched and sorted instead of walked.
FEW = 2_000


def _is_past(milliseconds: int) -> ColumnElement[bool]:
    """Whether the statement has run for this long."""
    return func.clock_timestamp() > func.statement_timestamp() + timedelta(
        milliseconds=milliseconds
    )


IS_LATE = _is_past(WALK_MILLISECONDS)
IS_TOO_LATE = _is_past(ALWAYS_WALKED_MILLISECONDS)

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Walk:
    """What to walk: the rows between two keys of one index, the largest key first unless ascending.

    The index has the columns ``prefix`` (each with the one value wanted) and then ``key``, and
    holds the rows where ``driver`` is true. ``floor`` and ``ceiling`` are keys, both inclusive.
    """

    key: tuple[Any, ...]
    floor: Key
    ceiling: Key
    driver: ColumnElement[bool] | None = None
    prefix: tuple[tuple[Any, Any], ...] = ()
    conditions: tuple[ColumnElement[bool], ...] = ()
    is_ascending: bool = False

    def goes_down(self, direction: Direction) -> bool:
        """Whether a walk in this direction reaches smaller keys."""
        return (direction == "next") != self.is_ascending


@dataclass(frozen=True)
class Matches:
    """Matching keys in walking order; ``stopped_at`` is the last key checked if the walk was cut short."""

    keys: list[Key]
    stopped_at: Key | None = None


def walk(
    db: Db,
    plan: Walk,
    *,
    after: Key | None,
    direction: Direction = "next",
    skip: int = 0,
    limit: int,
) -> Matches:
    """The first ``limit`` keys after ``after`` that match, without the first ``skip``.

    Without conditions every row of the driver matches and the walk is never cut short.
    """
    if not plan.conditions:
        return Matches(_all(db, plan, after=after, direction=direction, skip=skip, limit=limit))
    columns = _columns(plan)
    labelled = [column.label(f"c{i}") for i, column in enumerate(columns)]
    is_hit = and_(true(), *plan.conditions).label("is_hit")
    n = func.row_number().over(order_by=_ordered(columns, plan.goes_down(direction))).label("n")
    seen = _candidates(plan, after, direction, [*labelled, is_hit, n]).limit(CANDIDATES).subquery()
    # All of it streams: rows are checked one by one until the page is full. The row to stop at
    # fills up the page with copies of itself, so that no further row is read.
    is_stop = (seen.c.n == CANDIDATES) | (seen.c.n > ALWAYS_WALKED) & IS_LATE | IS_TOO_LATE
    repeats = case((is_stop, skip + limit), else_=1)
    copies = func.generate_series(1, repeats).table_valued("copy", name="copies").render_derived()
    key = [seen.c[f"c{i}"] for i in range(len(plan.prefix), len(columns))]
    rows = rows_in_order(
        db,
        select(*key, seen.c.is_hit & (copies.c.copy == 1))
        .select_from(seen.join(copies, true()))
        .where(seen.c.is_hit | is_stop)
        # In the order of the index: any other needs a sort, which reads everything.
        .order_by(*_ordered([seen.c[label.name] for label in labelled], plan.goes_down(direction)))
        .offset(skip)
        .limit(limit),
    )
    hits: list[Key] = [tuple(row[:-1]) for row in rows if row[-1]]
    is_stopped = len(rows) == limit > len(hits)
    return Matches(hits, stopped_at=tuple(rows[-1][:-1]) if is_stopped else None)


def _all(
    db: Db, plan: Walk, *, after: Key | None, direction: Direction, skip: int, limit: int
) -> list[Key]:
    rows = _candidates(plan, after, direction, plan.key).offset(skip).limit(limit)
    return [tuple(row) for row in rows_in_order(db, rows)]


def _candidates(
    plan: Walk, after: Key | None, direction: Direction, columns: Sequence[Any]
) -> Select[Any]:
    rows = select(*columns).order_by(*_ordered(_columns(plan), plan.goes_down(direction)))
    if plan.driver is not None:
        rows = rows.where(plan.driver)
    return rows.where(*_range(plan, after, direction))


def _range(plan: Walk, after: Key | None, direction: Direction) -> list[ColumnElement[bool]]:
    # Whole rows are compared, (type, id) > ('echo', …): with type = 'echo' the planner would treat
    # type as a constant, and walk the primary key through all other types if it estimated that
    # as cheaper. For the same reason both ends are always given.
    columns = _columns(plan)
    goes_down = plan.goes_down(direction)

    def key_of(key: Key) -> Any:
        values = (*(value for _, value in plan.prefix), *key)
        bound = [literal(v, c.type) for v, c in zip(values, columns, strict=True)]
        return tuple_(*bound) if len(bound) > 1 else bound[0]

    here = tuple_(*columns) if len(columns) > 1 else columns[0]
    low = here >= key_of(plan.floor)
    high = here <= key_of(plan.ceiling)
    if after is not None and goes_down and after <= plan.ceiling:
        high = here < key_of(after)
    if after is not None and not goes_down and after >= plan.floor:
        low = here > key_of(after)
    return [low, high]


def _ordered(columns: Iterable[Any], goes_down: bool) -> list[Any]:
    return [c.desc() if goes_down else c.asc() for c in columns]


def _columns(plan: Walk) -> list[Any]:
    return [*(column for column, _ in plan.prefix), *plan.key]


def gather(
    db: Db,
    plan: Walk,
    few: ColumnElement[bool],
    *,
    after: Key | None = None,
    direction: Direction = "next",
    skip: int = 0,
    limit: int,
) -> list[Key]:
    """What walk() would find, by fetching and sorting the rows where ``few`` holds.

    For a condition with few rows that has an index, though not in this order.
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
    rows = (
        select(*columns)
        .where(gathered.c.is_hit)
        .order_by(*_ordered(columns, plan.goes_down(direction)))
    )
    return [tuple(row) for row in db.execute(rows.offset(skip).limit(limit))]


def merge(plan: Walk, matches: Matches, more: list[Key], *, limit: int) -> Matches:
    """The keys of a first page and those from another index, in one order, without duplicates.

    A key beyond the place where the walk stopped is shown now, and again by the walk that goes on there.
    """
    keys = sorted({*matches.keys, *more}, reverse=not plan.is_ascending)
    return Matches(keys[:limit], matches.stopped_at)
