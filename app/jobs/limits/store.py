"""What people change about limits: their numbers, pauses, and single keys. Attaching them: ``attach``.

Every change acts at once: a lowered number ends no running job. ``by`` is the actor in the audit log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

from app.database import Db
from app.errors import ValidationFailed
from app.extensions import current_settings
from app.jobs import audit
from app.jobs.limits.definition import RESERVED, Definition, complaints
from app.jobs.limits.errors import LimitDefinedInCode, LimitInUse, LimitNotFound
from app.jobs.limits.moves import start_move
from app.jobs.limits.numbers import COLUMNS, NUMBERS, columns_of, definition_of
from app.jobs.limits.old_workers import refuse_old_workers
from app.jobs.publication import hint_after_commit

_LOCK = text("SELECT * FROM limits WHERE name = :name FOR UPDATE")
_NAMES = text("SELECT name FROM limits ORDER BY name LIMIT 100")
_SET = ", ".join(f"{column} = :{column}" for column in COLUMNS)
_PUT = text(f"""
INSERT INTO limits (name, source, {", ".join(COLUMNS)})
VALUES (:name, 'api', {", ".join(f":{column}" for column in COLUMNS)})
ON CONFLICT (name) DO UPDATE SET {_SET}
""")
_OVERRIDE = text("""
UPDATE limits SET override = CAST(:override AS jsonb), overridden_by = :by, overridden_at = now()
WHERE name = :name
""")
_NO_OVERRIDE = text("""
UPDATE limits SET override = '{}', overridden_by = NULL, overridden_at = NULL WHERE name = :name
""")


def put_limit(db: Db, definition: Definition, *, by: str) -> bool:
    """Create or replace a limit that no code defines; returns whether it is new.

    A change of ``by`` holds for jobs that are created from now on. Raises ValidationFailed, LimitDefinedInCode,
    OldWorkers.
    """
    check(definition)
    refuse_old_workers(db)
    name = definition.name
    row = db.execute(_LOCK, {"name": name}).first()
    if row is not None and row.source == "code":
        raise LimitDefinedInCode(name=name, remedy="PATCH overrides its numbers")
    db.execute(_PUT, {"name": name, **columns_of(definition)})
    audit.record(db, by, "limit.edit" if row else "limit.create", name, _changes(definition))
    wake(db, name)
    return row is None


def patch_limit(db: Db, name: str, changes: Mapping[str, Any], *, by: str) -> None:
    """Change the columns in ``changes`` (some of COLUMNS). Numbers of a limit that code defines are overridden.

    Raises LimitNotFound, ValidationFailed, LimitDefinedInCode, OldWorkers.
    """
    row = _locked(db, name)
    refuse_old_workers(db)
    if row["source"] == "code":
        if set(changes) - set(NUMBERS):
            raise LimitDefinedInCode(name=name, remedy="only its numbers can be overridden")
        override = {**row["override"], **changes}
        check(definition_of(name, {**row, **override}))
        db.execute(_OVERRIDE, {"name": name, "override": json.dumps(override), "by": by})
        audit.record(db, by, "limit.override", name, changes)
    else:
        new = definition_of(name, {**row, **changes})
        check(new)
        db.execute(_PUT, {"name": name, **columns_of(new)})
        audit.record(db, by, "limit.edit", name, changes)
    wake(db, name)


def drop_override(db: Db, name: str, *, by: str) -> None:
    """Go back to the numbers of the code. Raises LimitNotFound."""
    if _locked(db, name)["override"]:
        db.execute(_NO_OVERRIDE, {"name": name})
        audit.record(db, by, "limit.override.delete", name)
        wake(db, name)


_USES = text(
    "SELECT kind, name FROM limit_attachments WHERE limit_name = :name ORDER BY kind DESC, name"
)
_DECLARED = text("""
SELECT 1 FROM workers WHERE :name = ANY(limits) AND stopped_at IS NULL
  AND heartbeat_at > now() - make_interval(secs => :lease_seconds) LIMIT 1
""")  # fmt: skip


def delete_limit(db: Db, name: str, *, by: str) -> None:
    """Delete a limit that nothing is under; jobs that still wait at it are released in chunks.

    Raises LimitNotFound, LimitInUse, and LimitDefinedInCode while the code of a live worker defines it.
    """
    row = _locked(db, name)
    if uses := [use.name for use in db.execute(_USES, {"name": name})]:
        raise LimitInUse(name=name, uses=", ".join(uses))
    alive = {"name": name, "lease_seconds": current_settings().lease_seconds}
    if row["source"] == "code" and db.execute(_DECLARED, alive).first():
        raise LimitDefinedInCode(name=name, remedy="remove it there")
    db.execute(text("DELETE FROM limits WHERE name = :name"), {"name": name})
    start_move(db, "limit", name, by=by)
    audit.record(db, by, "limit.delete", name)


_PAUSE = text("""
UPDATE limits SET paused_at = COALESCE(paused_at, now()), paused_by = :by WHERE name = :name
""")
_RESUME = text("UPDATE limits SET paused_at = NULL, paused_by = NULL WHERE name = :name")


def pause_limit(db: Db, name: str, *, by: str) -> None:
    """Admit no more jobs; running ones continue. Raises LimitNotFound."""
    _locked(db, name)
    db.execute(_PAUSE, {"name": name, "by": by})
    audit.record(db, by, "limit.pause", name)


def resume_limit(db: Db, name: str, *, by: str) -> None:
    """Admit jobs again; also opens a limit that a Throttle closed. Raises LimitNotFound."""
    _locked(db, name)
    db.execute(_RESUME, {"name": name})
    db.execute(text("UPDATE limits SET blocked_until = NULL WHERE name = :name"), {"name": name})
    audit.record(db, by, "limit.resume", name)
    wake(db, name)


_SET_KEY = text("""
INSERT INTO limit_keys (limit_name, key, concurrency) VALUES (:name, :key, :concurrency)
ON CONFLICT (limit_name, key) DO UPDATE SET concurrency = excluded.concurrency
""")
_PAUSE_KEY = text("""
INSERT INTO limit_keys (limit_name, key, paused_at, paused_by) VALUES (:name, :key, now(), :by)
ON CONFLICT (limit_name, key) DO UPDATE
SET paused_at = COALESCE(limit_keys.paused_at, now()), paused_by = excluded.paused_by
""")
_RESUME_KEY = text("""
UPDATE limit_keys SET paused_at = NULL, paused_by = NULL, blocked_until = NULL
WHERE limit_name = :name AND key = :key
""")


def set_key_concurrency(db: Db, name: str, key: str, *, concurrency: int | None, by: str) -> None:
    """Give one key its own concurrency, instead of the limit's; None goes back. Raises LimitNotFound."""
    _locked(db, name)
    db.execute(_SET_KEY, {"name": name, "key": key, "concurrency": concurrency})
    audit.record(db, by, "limit.key.edit", name, {"key": key, "concurrency": concurrency})
    wake(db, name)


def pause_key(db: Db, name: str, key: str, *, by: str) -> None:
    """Admit no more jobs of one key. Raises LimitNotFound."""
    _locked(db, name)
    db.execute(_PAUSE_KEY, {"name": name, "key": key, "by": by})
    audit.record(db, by, "limit.key.pause", name, {"key": key})


def resume_key(db: Db, name: str, key: str, *, by: str) -> None:
    """Admit jobs of the key again; also opens one that a Throttle closed. Raises LimitNotFound."""
    _locked(db, name)
    db.execute(_RESUME_KEY, {"name": name, "key": key})
    audit.record(db, by, "limit.key.resume", name, {"key": key})
    wake(db, name)


def check(definition: Definition) -> None:
    """Raises ValidationFailed with the fields of the API."""
    if errors := {field: [message] for field, message in complaints(definition)}:
        raise ValidationFailed(errors)


def wake(db: Db, name: str) -> None:
    """Admit what the change allows, after the commit."""
    hint_after_commit(db, f"limit:{name}")


def not_found(db: Db, name: str) -> LimitNotFound:
    """The error that names the limits there are."""
    known = [known for known in db.scalars(_NAMES) if known not in RESERVED]
    return LimitNotFound(name=name, known=", ".join(known) or "none")


def _locked(db: Db, name: str) -> dict[str, Any]:
    row = None if name in RESERVED else db.execute(_LOCK, {"name": name}).first()
    if row is None:
        raise not_found(db, name)
    return dict(row._mapping)


def _changes(definition: Definition) -> dict[str, Any]:
    return {name: value for name, value in columns_of(definition).items() if value is not None}
