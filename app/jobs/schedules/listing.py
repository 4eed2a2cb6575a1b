"""Schedules by name: the list, one of them, and the state of each. Read-only."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select

from app import clock
from app.database import DbSession
from app.errors import InvalidCursor, ScheduleNotFound
from app.jobs.listing import Page
from app.jobs.models import ScheduleRow, ScheduleTick
from app.jobs.schedules.history import LATE_SECONDS, TROUBLE_HOURS
from app.json_values import is_storable

ACTIVE, LATE, PAUSED, RETIRED, ENDED = STATES = ("active", "late", "paused", "retired", "ended")
#: What a list can be filtered by besides the states: a run that was missed or failed recently.
MISSED = "missed"


def state_of(row: ScheduleRow, now: datetime | None = None) -> str:
    """One of STATES; ``now`` is the time by the database's clock."""
    if row.retired_at:
        return RETIRED
    if row.paused_at:
        return PAUSED
    if row.next_run_at is None:
        return ENDED
    late_from = (now or clock.now()) - timedelta(seconds=LATE_SECONDS)
    return LATE if row.next_run_at < late_from else ACTIVE


def get_schedule(db: DbSession, name: str) -> ScheduleRow:
    """The schedule in its current state. Raises ScheduleNotFound."""
    row = None
    if is_storable(name):  # uq_schedules_name
        wanted = select(ScheduleRow).where(ScheduleRow.name == name)
        row = db.scalar(wanted.execution_options(populate_existing=True))
    if row is None:
        raise ScheduleNotFound(name=name)
    return row


def list_schedules(
    db: DbSession,
    *,
    search: str | None = None,
    state: str | None = None,
    type: str | None = None,
    source: str | None = None,
    limit: int,
    cursor: str | None = None,
) -> Page[ScheduleRow]:
    """Schedules by name; ``search`` is part of the name or type, ``state`` is one of STATES or MISSED.

    Raises InvalidCursor.
    """
    wanted = list(_conditions(search, state, type, source))
    is_back, edge = _decode(cursor)
    rows = _page(db, wanted, is_back, edge, limit)
    has_more, rows = len(rows) > limit, rows[:limit]
    if is_back:
        if not has_more and len(rows) < limit:
            # The top: a full first page is better than the few rows that are left.
            return list_schedules(
                db, search=search, state=state, type=type, source=source, limit=limit
            )
        rows.reverse()
    has_next, has_previous = (True, has_more) if is_back else (has_more, edge is not None)
    return Page(
        items=rows,
        next_cursor=_encode("n", rows[-1].name) if rows and has_next else None,
        previous_cursor=_encode("p", rows[0].name) if rows and has_previous else None,
    )


def _page(
    db: DbSession, wanted: list[ColumnElement[bool]], is_back: bool, edge: str | None, limit: int
) -> list[ScheduleRow]:
    schedules = select(ScheduleRow).where(*wanted).limit(limit + 1)  # uq_schedules_name
    if edge is not None:
        is_beyond = ScheduleRow.name < edge if is_back else ScheduleRow.name > edge
        schedules = schedules.where(is_beyond)
    order = ScheduleRow.name.desc() if is_back else ScheduleRow.name
    return list(db.scalars(schedules.order_by(order)).all())


def _conditions(search: str | None, state: str | None, type: str | None, source: str | None) -> Any:
    if type is not None:
        yield ScheduleRow.type == type
    if source is not None:
        yield ScheduleRow.source == source
    if search:
        words = ScheduleRow.name.icontains(search, autoescape=True)
        yield words | ScheduleRow.type.icontains(search, autoescape=True)
    if state is not None:
        yield _in_state(state)


def _in_state(state: str) -> ColumnElement[bool]:
    late_from = func.now() - timedelta(seconds=LATE_SECONDS)
    if state == MISSED:  # ix_schedule_ticks_trouble
        since = func.now() - timedelta(hours=TROUBLE_HOURS)
        troubled = select(ScheduleTick.schedule_id).where(
            ScheduleTick.outcome.in_(("missed", "failed")), ScheduleTick.made_at > since
        )
        return ScheduleRow.id.in_(troubled)
    if state == LATE:
        return ScheduleRow.next_run_at < late_from
    if state == ACTIVE:
        return ScheduleRow.next_run_at >= late_from
    if state == RETIRED:
        return ScheduleRow.retired_at.is_not(None)
    is_paused = ScheduleRow.paused_at.is_not(None)
    rests = and_(ScheduleRow.next_run_at.is_(None), ScheduleRow.retired_at.is_(None))
    return rests & (is_paused if state == PAUSED else ~is_paused)


def _encode(direction: str, name: str) -> str:
    return base64.urlsafe_b64encode((direction + name).encode()).rstrip(b"=").decode()


def _decode(cursor: str | None) -> tuple[bool, str | None]:
    """Whether the cursor leads back, and the name it starts from."""
    if cursor is None:
        return False, None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        text = raw.decode()
    except (binascii.Error, ValueError):
        raise InvalidCursor from None
    if text[:1] not in ("n", "p") or not is_storable(text):
        raise InvalidCursor
    return text[0] == "p", text[1:]
