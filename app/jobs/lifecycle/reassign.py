"""Pending and processing jobs under the limit where they belong now: that of their type, else of their queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from app.database import Db, id_array
from app.jobs.lifecycle.sql import GIVEN, IS_LOCKED, locked
from app.jobs.publication import REF

# The limit that a job should be under, and its key there. A key that was given with the job is kept where the payload has none.
_NOW = f"""
    SELECT j.id, l.name AS new_limit,
           CASE WHEN l.name IS NOT NULL
                THEN left(COALESCE(j.payload #>> string_to_array(l.by_field, '.'), j.limit_key, ''), 200)
           END AS new_key
    FROM jobs j
    LEFT JOIN limit_attachments t ON t.kind = 'type' AND t.name = j.type
    LEFT JOIN limit_attachments q ON q.kind = 'queue' AND q.name = j.queue
    LEFT JOIN limits l ON l.name = COALESCE(t.limit_name, q.limit_name)
    WHERE j.{GIVEN} AND j.status IN ('pending', 'processing')
      AND j.limit_name IS DISTINCT FROM l.name
"""
_REASSIGN = text(f"""
WITH {locked(_NOW, order="j.id", of="j")}
UPDATE jobs SET limit_name = n.new_limit, limit_key = n.new_key,
    hold = CASE WHEN n.new_limit IS NULL OR status <> 'pending' THEN 0 WHEN run_at > now() THEN 3 ELSE 1 END
FROM (SELECT id AS its_id, new_limit, new_key FROM locked) AS n
WHERE id = n.its_id AND {IS_LOCKED}
RETURNING status, limit_name AS limited_by, {REF}
""")


def reassign(db: Db, ids: Sequence[UUID]) -> Sequence[Row[Any]]:
    """Put these jobs under their limit, or under none; a pending one then waits for its turn, or is free.

    Returns the rows that changed, with the columns of REF, status and limited_by (the limit's name or None); the
    caller publishes the pending ones.
    """
    return db.execute(_REASSIGN, {"ids": id_array(ids)}).all()
