"""The SQL that every verb shares: how rows are locked, and what fences a worker that lost a job.

Each verb is one statement of the form ``WITH locked AS (…) UPDATE jobs … WHERE {IS_LOCKED}``.
"""

from __future__ import annotations

#: The jobs in the parameter ``ids`` (see database.id_array).
GIVEN = "id = ANY(CAST(:ids AS uuid[]))"

# An array instead of a join: the plan is an index scan by primary key whatever the statistics say.
#: The jobs that locked() has locked.
IS_LOCKED = "id = ANY(ARRAY(SELECT id FROM locked))"


# `status || ''` hides the partial indexes from the planner: with statistics taken while nothing
# was pending it would walk all of ix_jobs_pending to claim 100 rows.
def has_status(status: str) -> str:
    """The condition that the job ``j`` has the status, checked on the row and never by an index."""
    return f"j.status || '' = '{status}'"


def is_fenced_by(token: str) -> str:
    """The condition that the job ``j`` is running under the lease ``token`` (an SQL expression).

    A worker whose lease was taken over, or that has written its outcome already, matches no row.
    """
    return f"{has_status('processing')}\n      AND j.lease_token = {token}"


#: The condition that the worker of the job ``j`` missed its heartbeats: the job may be rescued.
LEASE_IS_OVER = "j.leased_until < now()"


def locked(
    select: str, *, of: str = "", skip_locked: bool = False, order: str = "id", limit: str = ""
) -> str:
    """The common table expression ``locked``: ``select``, with its rows locked in order of id.

    All verbs lock in the same order, so two of them never deadlock. MATERIALIZED makes the locking
    happen once and before the write: inlined, the planner may lock in the order of the write's
    scan. A row that changed while the statement waited for its lock is checked again by PostgreSQL.

    ``of``: the alias to lock in a join. ``skip_locked``: leave rows that another transaction has
    locked. ``limit``: at most that many rows, for example ":limit".
    """
    tail = f"{f' LIMIT {limit}' if limit else ''} FOR UPDATE{f' OF {of}' if of else ''}"
    tail += " SKIP LOCKED" if skip_locked else ""
    return f"locked AS MATERIALIZED (\n    {select.strip()}\n    ORDER BY {order}{tail})"
