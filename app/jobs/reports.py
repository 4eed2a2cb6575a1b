"""What a handler reports while it runs: progress and log lines. Statuses don't change here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.database import Db
from app.jobs.context import LogLine, Progress

# The newest lines of a job replace its oldest ones: those of the last attempt matter most.
_LINES = text("""
WITH given AS MATERIALIZED (
    SELECT l.*, row_number() OVER (PARTITION BY l.job_id ORDER BY l.n DESC) AS rank
    FROM json_to_recordset(CAST(:lines AS json)) AS l(
        n int, job_id uuid, attempt int, at timestamptz, level text, message text)
    WHERE EXISTS (SELECT 1 FROM jobs j WHERE j.id = l.job_id)),
edges AS MATERIALIZED (
    SELECT g.job_id, (SELECT old.id FROM job_log_lines old WHERE old.job_id = g.job_id
                      ORDER BY old.id DESC OFFSET greatest(:limit - g.n, 0) LIMIT 1) AS last_id
    FROM (SELECT job_id, count(*) AS n FROM given GROUP BY job_id) AS g),
old_lines AS MATERIALIZED (  -- two writers of one job's log (heartbeat, outbox) wait for neither
    SELECT old.id FROM job_log_lines old JOIN edges e ON old.job_id = e.job_id AND old.id <= e.last_id
    FOR UPDATE OF old SKIP LOCKED),
pushed_out AS (DELETE FROM job_log_lines WHERE id = ANY(ARRAY(SELECT id FROM old_lines)))
INSERT INTO job_log_lines (job_id, attempt, at, level, message)
SELECT job_id, attempt, at, level, message FROM given WHERE rank <= :limit ORDER BY n
""")

_PROGRESS = text("""
WITH p AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS p(id uuid, token uuid, progress jsonb)),
held AS MATERIALIZED (
    SELECT j.id FROM jobs j JOIN p ON p.id = j.id AND p.token = j.lease_token
    WHERE j.status || '' = 'processing' ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)
UPDATE jobs j SET progress = p.progress
FROM p WHERE j.id = p.id AND j.id = ANY(ARRAY(SELECT id FROM held))
""")


def write_lines(db: Db, lines: Sequence[tuple[UUID, int, LogLine]], *, limit: int) -> None:
    """Append (job id, attempt, line), in order; a job keeps its newest ``limit`` lines.

    Lines of a deleted job are dropped.
    """
    rows: list[dict[str, Any]] = [
        {
            "n": n,
            "job_id": job_id.hex,
            "attempt": attempt,
            "at": at.isoformat(),
            "level": level,
            "message": message,
        }
        for n, (job_id, attempt, (at, level, message)) in enumerate(lines)
    ]
    db.execute(_LINES, {"lines": json.dumps(rows), "limit": limit})


def write_progress(db: Db, reports: Sequence[tuple[UUID, UUID, Progress]]) -> None:
    """Store (job id, lease token, progress) for the leases that are still held."""
    rows = [{"id": i.hex, "token": t.hex, "progress": p} for i, t, p in reports]
    db.execute(_PROGRESS, {"rows": json.dumps(rows)})
