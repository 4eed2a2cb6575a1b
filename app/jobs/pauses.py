"""Pause and resume queues and job types: jobs of a paused one are not claimed."""

from __future__ import annotations

from sqlalchemy import text

from app.database import Db
from app.errors import InvalidName
from app.jobs import audit
from app.jobs.holds import AT_LIMIT
from app.jobs.publication import REF, Ref, after_commit, ref
from app.names import NAME, NAME_RULE

# A job of each limit at which some wait: publishing it hints the limit. ix_jobs_at_limit
_FIRST_AT_LIMITS = text(f"""
WITH RECURSIVE k AS (
    (SELECT * FROM jobs WHERE hold = {AT_LIMIT} ORDER BY limit_name LIMIT 1)
    UNION ALL
    SELECT j.* FROM k CROSS JOIN LATERAL (
        SELECT * FROM jobs WHERE hold = {AT_LIMIT} AND limit_name > k.limit_name ORDER BY limit_name LIMIT 1) AS j)
SELECT {REF} FROM k LIMIT 100
""")
# Pausing again keeps the time of the first pause.
_PAUSE = text("""
INSERT INTO pauses (kind, name, paused_by) VALUES (:kind, :name, :by)
ON CONFLICT (kind, name) DO UPDATE SET paused_by = excluded.paused_by
""")
_RESUME = text("DELETE FROM pauses WHERE kind = :kind AND name = :name")


def pause_queue(db: Db, name: str, *, by: str) -> None:
    """Stop claiming jobs of the queue; running jobs continue. Raises InvalidName."""
    check_name(db, "queue", name)
    db.execute(_PAUSE, {"kind": "queue", "name": name, "by": by})
    audit.record(db, by, "queue.pause", name)


def resume_queue(db: Db, name: str, *, by: str) -> None:
    """Claim jobs of the queue again. Raises InvalidName."""
    check_name(db, "queue", name)
    db.execute(_RESUME, {"kind": "queue", "name": name})
    after_commit(db, _due_refs(db, "queue", name))
    audit.record(db, by, "queue.resume", name)


def pause_type(db: Db, type_name: str, *, by: str) -> None:
    """Stop claiming jobs of the type; running jobs continue. Raises InvalidName."""
    check_name(db, "type", type_name)
    db.execute(_PAUSE, {"kind": "type", "name": type_name, "by": by})
    audit.record(db, by, "type.pause", type_name)


def resume_type(db: Db, type_name: str, *, by: str) -> None:
    """Claim jobs of the type again. Raises InvalidName."""
    check_name(db, "type", type_name)
    db.execute(_RESUME, {"kind": "type", "name": type_name})
    after_commit(db, _due_refs(db, "type", type_name))
    audit.record(db, by, "type.resume", type_name)


def check_name(db: Db, column: str, name: str) -> None:
    """Raises InvalidName unless jobs have, or can have, this name in ``column`` (queue, type)."""
    # Only names that jobs have or can have, since every name that is paused is stored.
    if NAME.fullmatch(name):
        return
    # By ix_jobs_queue or ix_jobs_type.
    exists = text(f"SELECT 1 FROM jobs WHERE {column} = :name LIMIT 1")
    if not name.isprintable() or db.execute(exists, {"name": name}).first() is None:
        raise InvalidName(noun=column, rule=NAME_RULE)


def _due_refs(db: Db, column: str, name: str) -> list[Ref]:
    # The first thousand start at once; the sweeper publishes the rest.
    rows = db.execute(
        text(
            f"SELECT {REF} FROM jobs WHERE {column} = :name AND status = 'pending'"
            f" AND hold = 0 AND run_at <= now() ORDER BY priority DESC, run_at, id LIMIT 1000"
        ),
        {"name": name},
    )
    return [ref(row) for row in (*rows, *db.execute(_FIRST_AT_LIMITS))]
