"""The limits of the code: each worker stores those that it declares when it starts.

The numbers of the worker that started last hold, unless an operator overrides them. What no live worker declares any more
is detached, so a rolling deploy loses nothing while some workers still run the former code.
"""

from __future__ import annotations

import json

from sqlalchemy import text

from app.database import Db
from app.extensions import current_settings
from app.jobs import audit, registry
from app.jobs.limits import attach, definition
from app.jobs.limits.errors import OldWorkers
from app.jobs.limits.numbers import COLUMNS, columns_of
from app.jobs.publication import hint_after_commit

ACTOR = "code"
_TYPES = (
    "by_field text, concurrency int, rate_count int, rate_seconds float8, burst int, key_concurrency int,"
    " key_rate_count int, key_rate_seconds float8, key_burst int"
)
_NAMES = ", ".join(COLUMNS)
_UPSERT = text(f"""
INSERT INTO limits (name, source, {_NAMES})
SELECT name, 'code', {_NAMES} FROM json_to_recordset(:limits) AS l(name text, {_TYPES}) ORDER BY name
ON CONFLICT (name) DO UPDATE SET source = 'code', {", ".join(f"{c} = excluded.{c}" for c in COLUMNS)}
WHERE (limits.source, {", ".join(f"limits.{c}" for c in COLUMNS)})
    IS DISTINCT FROM ('code', {", ".join(f"excluded.{c}" for c in COLUMNS)})
RETURNING name
""")
_ATTACHED = text("""
SELECT a.name FROM limit_attachments a
JOIN json_to_recordset(:declared) AS d(type text, limit_name text)
  ON a.kind = 'type' AND a.name = d.type AND a.limit_name = d.limit_name AND a.source = 'code'
""")


def names() -> list[str]:
    """What this process declares, as in workers.limits: limits, and "type=limit" for types under one."""
    limits = [limit.name for limit in definition.declared()]
    return [*limits, *(f"{name}={limit}" for name, limit in sorted(_attachments().items()))]


def _attachments() -> dict[str, str]:
    return {t.name: t.limit.name for t in registry.all_types() if t.limit is not None}


def declare(db: Db) -> bool:
    """Store the limits of this process's code, and put its types under them; the caller commits.

    False if types could not be attached yet, because a worker that knows no limits is alive.
    """
    limits = [{"name": limit.name, **columns_of(limit)} for limit in definition.declared()]
    if not limits:
        return True
    for name in db.scalars(_UPSERT, {"limits": json.dumps(limits)}).all():
        audit.record(db, ACTOR, "limit.declare", name)
        hint_after_commit(db, f"limit:{name}")
    wanted = _attachments()
    declared = [{"type": name, "limit_name": limit} for name, limit in wanted.items()]
    attached = set(db.scalars(_ATTACHED, {"declared": json.dumps(declared)}))
    try:
        for name in sorted(wanted.keys() - attached):
            attach.set_limit(db, "type", name, wanted[name], by=ACTOR, source="code")
    except OldWorkers:
        return False
    return True


# A worker without a heartbeat may come back; after LEASE_SECONDS it has lost its jobs.
_ALIVE = """
SELECT limits FROM workers WHERE stopped_at IS NULL
  AND heartbeat_at > now() - make_interval(secs => :lease_seconds)
"""
_RETIRED = text(f"""
WITH alive AS MATERIALIZED ({_ALIVE})
SELECT name FROM limit_attachments a
WHERE kind = 'type' AND source = 'code' AND EXISTS (SELECT FROM alive)
  AND NOT EXISTS (SELECT FROM alive WHERE a.name || '=' || a.limit_name = ANY(alive.limits))
ORDER BY name
""")


def retire(db: Db) -> int:
    """Take the types out of their limits that no live worker's code puts there; the caller commits. Returns how many."""
    alive = {"lease_seconds": current_settings().lease_seconds}
    retired = list(db.scalars(_RETIRED, alive))
    for name in retired:
        attach.set_limit(db, "type", name, None, by=ACTOR, source="code")
    return len(retired)
