"""What programs and people change about schedules. ``by`` is the actor in the audit log.

Everything joins the caller's transaction; while it is open, the schedules that it changed don't tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.sql import bindparam
from sqlalchemy.types import Text

from app.database import DbSession
from app.errors import ScheduleNotFound
from app.jobs import audit, lifecycle
from app.jobs.models import UNIQUE_KEY_IS_LIVE
from app.jobs.publication import hint_after_commit
from app.jobs.schedules import overlap, times, zones
from app.jobs.schedules.checks import check
from app.jobs.schedules.definition import ALLOW, REPLACE, Definition, definition_of
from app.jobs.schedules.errors import ScheduleDefinedInCode, ScheduleExists, StillRunning
from app.jobs.schedules.plan import due
from app.jobs.schedules.tick import HINT, record
from app.jobs.schedules.turn import Tick, job_of
from app.json_values import iso

#: The columns that a definition sets.
COLUMNS = tuple(field.name for field in fields(Definition))
#: If one of them changes, the next tick counts from now.
_OF_THE_RULE = ("cron", "every_seconds", "zone", "starts_at", "ends_at")

# clock_timestamp(): the caller's transaction may be old.
_LOCK = text("""
SELECT s.*, clock_timestamp() AS now FROM schedules s WHERE s.name = :name FOR UPDATE
""")
_TYPED = (
    bindparam("payload", type_=JSONB),
    bindparam("tags", type_=ARRAY(Text)),
)
_INSERT = text(f"""
INSERT INTO schedules ({", ".join(COLUMNS)}, source, next_run_at, zone_version, created_by, declared_at)
VALUES ({", ".join(f":{column}" for column in COLUMNS)}, :source, :next_run_at, :zone_version, :by,
        CASE WHEN :source = 'code' THEN clock_timestamp() END)
ON CONFLICT (name) DO NOTHING
RETURNING id
""").bindparams(*_TYPED)
_UPDATE = text(f"""
UPDATE schedules SET {", ".join(f"{column} = :{column}" for column in COLUMNS)}, source = :source,
    next_run_at = :next_run_at, zone_version = :zone_version, updated_at = clock_timestamp()
WHERE id = :id
""").bindparams(*_TYPED)
_NOW = text("SELECT clock_timestamp()")


def put(db: DbSession, definition: Definition, *, by: str) -> bool:
    """Create the schedule, or make an existing one like the definition; returns whether it is new.

    Nothing changes if it is like that already. A changed line, zone or interval counts from now; other fields hold from
    the next tick on. Raises ScheduleDefinedInCode, UnknownJobType and ValidationFailed.
    """
    row = find_locked(db, definition.name)
    if row is None:
        if _create(db, definition, by=by):
            return True
        row = _locked(db, definition.name)  # another transaction was first
    _refuse_code(row)
    _change(db, row, definition, by=by)
    return False


def create(db: DbSession, definition: Definition, *, by: str) -> None:
    """Create the schedule. Raises ScheduleExists, UnknownJobType and ValidationFailed."""
    if not _create(db, definition, by=by):
        raise ScheduleExists(name=definition.name)


def patch(db: DbSession, name: str, changes: Mapping[str, Any], *, by: str) -> None:
    """Change the columns in ``changes`` (fields of Definition, without the name).

    Raises ScheduleNotFound, ScheduleDefinedInCode, UnknownJobType and ValidationFailed.
    """
    row = _locked(db, name)
    _refuse_code(row)
    _change(db, row, replace(definition_of(row), **changes), by=by)


def delete(db: DbSession, name: str, *, by: str) -> None:
    """Delete the schedule and its history; its jobs stay. One of the code only when it is retired.

    Raises ScheduleNotFound and ScheduleDefinedInCode.
    """
    row = _locked(db, name)
    if row.retired_at is None:
        _refuse_code(row)
    db.execute(text("DELETE FROM schedules WHERE id = :id"), {"id": row.id})
    audit.record(db, by, "schedule.delete", name)


def pause(db: DbSession, name: str, *, by: str) -> None:
    """Stop the ticks; pausing again changes nothing. Raises ScheduleNotFound."""
    row = _locked(db, name)
    if row.paused_at is not None:
        return
    if row.next_run_at is not None and row.next_run_at <= row.now:
        _record_paused(db, row, row.next_run_at)
    db.execute(
        text(
            "UPDATE schedules SET paused_at = :now, paused_by = :by, next_run_at = NULL WHERE id = :id"
        ),
        {"id": row.id, "now": row.now, "by": by},
    )
    audit.record(db, by, "schedule.pause", name)


def resume(db: DbSession, name: str, *, by: str) -> None:
    """Go on with the next tick; those of the pause are recorded and not made up for. Raises ScheduleNotFound."""
    row = _locked(db, name)
    if row.paused_at is None:
        return
    if row.retired_at is None and (first := times.next_tick(row, row.paused_at)):
        _record_paused(db, row, first)
    db.execute(
        text(
            "UPDATE schedules SET paused_at = NULL, paused_by = NULL, next_run_at = :next WHERE id = :id"
        ),
        {"id": row.id, "next": None if row.retired_at else times.next_tick(row, row.now)},
    )
    audit.record(db, by, "schedule.resume", name)
    hint_after_commit(db, HINT)


_LIVE = text(f"SELECT id, status FROM jobs WHERE unique_key = :key AND {UNIQUE_KEY_IS_LIVE}")


def run_now(db: DbSession, name: str, *, by: str, force: bool = False) -> UUID:
    """Create a job of the schedule at once, also while it is paused; returns its id. The plan does not change.

    With overlap "skip", a live job of the schedule is in the way unless ``force``: StillRunning. Also raises
    ScheduleNotFound, UnknownJobType and ValidationFailed.
    """
    row = _locked(db, name)
    new = replace(job_of(row, row.now), by=by)
    if overlap.like_skip(db, [row]):
        new = overlap.skipping(row, new)
    if force and row.overlap != ALLOW:
        new = replace(new, unique_key=None)
    # Before the new job is one of them.
    replaced = overlap.live_jobs(db, [row.id]) if row.overlap == REPLACE else {}
    [result] = lifecycle.enqueue(db, [new])
    if not result.is_new:
        live = db.execute(_LIVE, {"key": new.unique_key}).first()
        status = live.status if live else "processing"
        raise StillRunning(name=name, job_id=result.id, status=status)
    overlap.replace_jobs(db, row, replaced.get(row.id, []))
    tick = Tick(row, row.now, "manual", live_id=result.id, note=f"by {by}")
    record(db, [tick])
    audit.record(db, by, "schedule.run", name, {"jobId": str(result.id)})
    return result.id


def find_locked(db: DbSession, name: str) -> Row[Any] | None:
    """The row of the schedule, locked, and ``now``; None without one."""
    return db.execute(_LOCK, {"name": name}).first()


def insert(db: DbSession, definition: Definition, *, source: str, by: str | None) -> bool:
    """Insert the schedule; False if there is one of that name. The caller has checked it."""
    now: datetime = db.execute(_NOW).scalar_one()
    definition = anchored(definition, now)
    values = _values(definition, source, times.next_tick(definition, now))
    is_new = db.execute(_INSERT, {**values, "by": by}).first() is not None
    if is_new:
        hint_after_commit(db, HINT)
    return is_new


def update(db: DbSession, row: Row[Any], definition: Definition, *, source: str, by: str) -> None:
    """Make the locked row like the definition, which the caller has checked."""
    definition = anchored(definition, row.now, row)
    changed = differences(definition, row)
    if not changed and source == row.source:
        return
    next_run_at = row.next_run_at
    if set(changed) & set(_OF_THE_RULE) and row.paused_at is None and row.retired_at is None:
        next_run_at = times.next_tick(definition, row.now)
    db.execute(_UPDATE, {**_values(definition, source, next_run_at), "id": row.id})
    hint_after_commit(db, HINT)
    if changed:
        # A payload may be large, or hold what only its job should see.
        values = {name: "changed" if name == "payload" else changed[name] for name in changed}
        audit.record(db, by, "schedule.edit", row.name, values)


def anchored(definition: Definition, now: datetime, row: Row[Any] | None = None) -> Definition:
    """The definition with its start: as given, as stored, or now for a new or changed interval."""
    if definition.starts_at is not None and (row is None or definition.starts_at != row.starts_at):
        return definition
    if row is not None and row.every_seconds == definition.every_seconds:
        return replace(definition, starts_at=row.starts_at)
    return replace(definition, starts_at=now.replace(microsecond=0))


def differences(definition: Definition, row: Any) -> dict[str, Any]:
    """The columns of the definition that differ from the row's, as JSON has them."""
    return {
        column: value
        for column in COLUMNS
        if (value := _plain(getattr(definition, column))) != _plain(getattr(row, column))
    }


def summary(definition: Definition) -> dict[str, Any]:
    """What the audit log says of a new schedule."""
    if definition.cron is None:
        return {"type": definition.type, "everySeconds": definition.every_seconds}
    return {"type": definition.type, "cron": definition.cron, "timeZone": definition.zone}


def _create(db: DbSession, definition: Definition, *, by: str) -> bool:
    check(definition, now=db.execute(_NOW).scalar_one())
    overlap.check_limit(db, definition)
    if not insert(db, definition, source="api", by=by):
        return False
    audit.record(db, by, "schedule.create", definition.name, summary(definition))
    return True


def _change(db: DbSession, row: Row[Any], definition: Definition, *, by: str) -> None:
    # An end in the past is not new if it was there before.
    is_new_end = definition.ends_at is not None and definition.ends_at != row.ends_at
    check(definition, now=row.now if is_new_end else None)
    overlap.check_limit(db, definition)
    update(db, row, definition, source="api", by=by)


def _locked(db: DbSession, name: str) -> Row[Any]:
    row = find_locked(db, name)
    if row is None:
        raise ScheduleNotFound(name=name)
    return row


def _refuse_code(row: Row[Any]) -> None:
    if row.source == "code":
        raise ScheduleDefinedInCode(name=row.name)


def _values(definition: Definition, source: str, next_run_at: datetime | None) -> dict[str, Any]:
    columns = {column: getattr(definition, column) for column in COLUMNS}
    return {
        **columns,
        "payload": dict(definition.payload),
        "tags": list(definition.tags),
        "source": source,
        "next_run_at": next_run_at,
        "zone_version": zones.VERSION,
    }


def _record_paused(db: DbSession, row: Row[Any], first: datetime) -> None:
    ticks = due(row, first, row.now)
    if ticks.count:
        record(db, [Tick(row, first, "paused", count=ticks.count, last_at=ticks.latest[-1])])


def _plain(value: Any) -> Any:
    """A value of a column as JSON has it, for comparison and for the audit log."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
