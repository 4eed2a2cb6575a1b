"""Of the jobs that a worker holds: extend their leases, lock them in order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import text

from app.database import Db, id_array
from app.jobs.lifecycle.sql import GIVEN, IS_LOCKED, is_fenced_by, locked

_LOCK = text(f"SELECT id FROM jobs WHERE {GIVEN} ORDER BY id FOR UPDATE")


def lock(db: Db, ids: Iterable[str]) -> None:
    """Lock these jobs (32 hex digits each) in id order, before several statements that end them."""
    db.execute(_LOCK, {"ids": id_array(ids)})


_EXTENDABLE = f"""
    SELECT j.id FROM jobs j
    JOIN json_to_recordset(CAST(:leases AS json)) AS l(id uuid, token uuid) ON l.id = j.id
    WHERE j.{GIVEN} AND {is_fenced_by("l.token")}
"""
# The lease is extended from the moment of writing: now() is from before a wait for a lock. A row
# that another transaction has locked must not delay the others; it waits for the next heartbeat.
_EXTEND = text(f"""
WITH {locked(_EXTENDABLE, order="j.id", of="j", skip_locked=True)}
UPDATE jobs SET leased_until = clock_timestamp() + make_interval(secs => :lease_seconds)
WHERE {IS_LOCKED}
RETURNING id, cancel_requested_at IS NOT NULL AS is_cancel_requested
""")


def extend(
    db: Db, leases: Sequence[tuple[UUID, UUID]], *, lease_seconds: float
) -> dict[UUID, bool]:
    """Heartbeat: extend the lease of each (job id, token) still held → {id: is a cancel requested}.

    A job that another transaction has locked is missing from the result as well.
    """
    rows = db.execute(
        _EXTEND,
        {
            "leases": json.dumps([{"id": i.hex, "token": t.hex} for i, t in leases]),
            "ids": id_array(i for i, _ in leases),
            "lease_seconds": lease_seconds,
        },
    )
    return {row.id: row.is_cancel_requested for row in rows}
