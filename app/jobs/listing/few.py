"""When a list is fetched and sorted instead of walked: a condition of it has few rows, and an index."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, func, literal, select, text

from app.database import DbSession, rows_in_order
from app.jobs.listing.filters import (
    IS_AHEAD,
    JobFilter,
    has_tag,
    is_part_of_id,
    jobs_of_bulk,
    looks_like_id,
)
from app.jobs.listing.orders import Order
from app.jobs.listing.walk import FEW
from app.jobs.models import BulkAction, Job
from app.jobs.statistics import counters


def few(db: DbSession, filter: JobFilter, order: Order) -> ColumnElement[bool] | None:
    """A condition that every match meets, and few enough rows to sort; None if there is none."""
    digits = filter.id_part or filter.id_prefix
    if digits is not None and looks_like_id(digits):
        return is_part_of_id(digits, Job.id)  # jobs_pkey, ix_jobs_id_end
    if filter.bulk is not None and _is_small(db, filter.bulk):
        return Job.id.in_(jobs_of_bulk(filter.bulk))  # bulk_items_pkey
    if (waiting := filter.at_limit) is not None and _are_few(db, waiting, *_AT_LIMIT_ORDER):
        return waiting  # ix_jobs_at_limit
    if filter.status == "scheduled" and order.by == "created" and _has_few_ahead(db):
        return IS_AHEAD  # ix_jobs_run_at
    if filter.tag is not None and estimated_tagged(db, filter.tag) <= FEW:
        return has_tag(filter.tag)  # ix_jobs_tags
    return _few_of_kind(db, filter) if order.by != "created" else None


def _few_of_kind(db: DbSession, filter: JobFilter) -> ColumnElement[bool] | None:
    """As _few, for fields that the index of the order does not have."""
    if filter.fingerprint is not None:
        of_group = Job.fingerprint == filter.fingerprint  # ix_jobs_fingerprint
        return of_group if _are_few(db, of_group) else None
    for name, column in (("type", Job.type), ("queue", Job.queue)):  # ix_jobs_type, ix_jobs_queue
        value = getattr(filter, name)
        if value is not None and counters.count(db, **{name: value}) <= FEW:
            return column == value
    return None


# In the order of the index: with old statistics the planner would first read all of what waits.
_AT_LIMIT_ORDER = (Job.limit_name, Job.limit_key, Job.priority.desc(), Job.run_at, Job.id)


def _are_few(db: DbSession, condition: ColumnElement[bool], *order: Any) -> bool:
    some = select(literal(1)).select_from(Job).where(condition).order_by(*order).limit(FEW + 1)
    count = select(func.count()).select_from(some.subquery())
    rows = rows_in_order(db, count) if order else db.execute(count).all()
    return bool(rows[0][0] <= FEW)


def _is_small(db: DbSession, bulk: int) -> bool:
    action = db.get(BulkAction, bulk)
    return action is None or action.total <= FEW


def _has_few_ahead(db: DbSession) -> bool:
    # ix_jobs_run_at; ordered, or another partial index might be read to its end.
    ahead = select(literal(1)).where(IS_AHEAD).order_by(Job.run_at).limit(FEW + 1)
    return db.execute(select(func.count()).select_from(ahead.subquery())).scalar_one() <= FEW


def estimated_tagged(db: DbSession, tag: str) -> int:
    """About how many jobs have this tag, by the planner's statistics; reads no row."""
    statement = text(
        "EXPLAIN (FORMAT JSON) SELECT FROM jobs WHERE tags @> ARRAY[:tag] AND tags <> '{}'"
    )
    plan = db.scalar(statement, {"tag": tag})
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return int(plan[0]["Plan"]["Plan Rows"])
