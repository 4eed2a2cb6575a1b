"""Pages limited in bytes: rows are loaded in portions until a page has enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Text, case, cast, func, literal_column, select

from app.database import DbSession

T = TypeVar("T")

#: A page ends with the row that reaches this, by the size of its payload and result as JSON.
PAGE_BYTES = 8 * 1024 * 1024
#: PostgreSQL's compression shrinks JSON by this factor at most.
MOST_COMPRESSED = 100
#: No larger portion is loaded at once; a value of this size or more is a portion of its own.
PORTION_BYTES = 4 * 1024 * 1024


def json_bytes(*columns: Any) -> ColumnElement[int]:
    """The size of these columns of a row as JSON; free where they are not compressed."""
    return sum((_json_bytes(column) for column in columns), start=literal_column("0"))


def _json_bytes(column: Any) -> ColumnElement[int]:
    is_plain = func.pg_column_compression(column).is_(None)
    size = case(
        (is_plain, func.pg_column_size(column)), else_=func.octet_length(cast(column, Text))
    )
    return func.coalesce(size, 0)


def load_page(
    db: DbSession,
    ids: Sequence[UUID],
    *,
    key: Any,
    columns: Sequence[Any],
    load: Callable[[Sequence[UUID]], list[tuple[UUID, T | None, int]]],
) -> tuple[list[T], int]:
    """The rows of ``ids`` up to PAGE_BYTES, and how many of the ids they cover (at least one).

    ``load`` gives (id, row or None where it no longer belongs to the page, bytes) for some ids, in any order.
    ``key`` and ``columns`` are those whose stored sizes are checked first.
    """
    rows: list[T] = []
    covered = total = 0
    for portion in _portions(ids, _stored_bytes(db, ids, key, columns)):
        loaded = {row_id: (row, size) for row_id, row, size in load(portion)}
        for row_id in portion:
            row, size = loaded.get(row_id, (None, 0))
            if row is not None:
                if rows and total + size > PAGE_BYTES:
                    return rows, covered
                rows.append(row)
                total += size
            covered += 1
    return rows, covered


def _stored_bytes(
    db: DbSession, ids: Sequence[UUID], key: Any, columns: Sequence[Any]
) -> dict[UUID, int]:
    # Of a large value only the pointer to it is read.
    stored: ColumnElement[int] = sum(
        (func.coalesce(func.pg_column_size(c), 0) for c in columns), start=literal_column("0")
    )
    return {row[0]: row[1] for row in db.execute(select(key, stored).where(key.in_(ids)))}


def _portions(ids: Sequence[UUID], stored: dict[UUID, int]) -> Iterator[Sequence[UUID]]:
    start = total = 0
    for n, row_id in enumerate(ids):
        upper_bound = min(stored.get(row_id, 0) * MOST_COMPRESSED, PORTION_BYTES // 4)
        if n > start and total + upper_bound > PORTION_BYTES:
            yield ids[start:n]
            start, total = n, 0
        total += upper_bound
    if start < len(ids):
        yield ids[start:]
