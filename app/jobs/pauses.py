"""Pause and resume queues and job types: a paused one is not claimed from."""

from __future__ import annotations

from sqlalchemy import text

from app.errors import InvalidName
from app.jobs import audit
from app.jobs.lifecycle.sql import REF, ref_of
from app.jobs.publication import Db, Ref, after_commit
from app.names import NAME, NAME_RULE


def pause_queue(db: Db, name: str, *, by: str) -> None:
    """Stop claiming jobs of the queue; running jobs continue. Raises InvalidName."""
    _check_name(db, "queue", name)
    _set_paused(db, "queues", "name", name, by)
    audit.record(db, by, "queue.pause", name)


def resume_queue(db: Db, name: str, *, by: str) -> None:
    """Claim jobs of the queue again. Raises InvalidName."""
    _check_name(db, "queue", name)
    _set_paused(db, "queues", "name", name, None)
    after_commit(db, _due_refs(db, "queue", name))
    audit.record(db, by, "queue.resume", name)


def pause_type(db: Db, type_name: str, *, by: str) -> None:
    """Stop claiming jobs of the type; running jobs continue. Raises InvalidName."""
    _check_name(db, "type", type_name)
    _set_paused(db, "type_switches", "type", type_name, by)
    audit.record(db, by, "type.pause", type_name)


def resume_type(db: Db, type_name: str, *, by: str) -> None:
    """Claim jobs of the type again. Raises InvalidName."""
    _check_name(db, "type", type_name)
    _set_paused(db, "type_switches", "type", type_name, None)
    after_commit(db, _due_refs(db, "type", type_name))
    audit.record(db, by, "type.resume", type_name)


def _check_name(db: Db, column: str, name: str) -> None:
    # Only names that jobs can have, or have: anyone may pause, and the table keeps every name.
    if NAME.fullmatch(name):
        return
    # By ix_jobs_queue or ix_jobs_type.
    exists = text(f"SELECT 1 FROM jobs WHERE {column} = :name LIMIT 1")
    if not name.isprintable() or db.execute(exists, {"name": name}).first() is None:
        raise InvalidName(noun=column, rule=NAME_RULE)


def _set_paused(db: Db, table: str, key: str, name: str, by: str | None) -> None:
    db.execute(
        text(
            f"INSERT INTO {table} ({key}, paused_at, paused_by)"
            f" VALUES (:name, CASE WHEN CAST(:by AS text) IS NOT NULL THEN now() END, :by)"
            f" ON CONFLICT ({key}) DO UPDATE"
            f" SET paused_at = CASE WHEN excluded.paused_at IS NOT NULL"
            f"     THEN COALESCE({table}.paused_at, excluded.paused_at) END,"
            f" paused_by = excluded.paused_by"
        ),
        {"name": name, "by": by},
    )


def _due_refs(db: Db, column: str, name: str) -> list[Ref]:
    # The first thousand start at once; the sweeper publishes the rest.
    rows = db.execute(
        text(
            f"SELECT {REF} FROM jobs WHERE {column} = :name AND status = 'pending'"
            f" AND run_at <= now() ORDER BY priority DESC, run_at, id LIMIT 1000"
        ),
        {"name": name},
    )
    return [ref_of(row) for row in rows]
