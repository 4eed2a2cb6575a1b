"""The plans inside the counting triggers: PL/pgSQL keeps those of a session's first call, whatever its size was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy import text

from app.jobs import ids
from app.jobs.statistics import summary
from tests import factories

#: One row each: the life of a job in statements, every trigger on the way.
LIFE = {
    "insert": "INSERT INTO jobs (id, queue, type, payload) VALUES (%(id)s, 'q', 't', '{}')",
    "claim": "UPDATE jobs SET status = 'processing', attempts = 1, lease_token = %(token)s,"
    " worker_id = %(token)s, leased_until = now(), started_at = now() WHERE id = %(id)s",
    "retry later": "UPDATE jobs SET status = 'pending', lease_token = NULL, leased_until = NULL,"
    " run_at = now() + interval '1 minute' WHERE id = %(id)s",
    "cancel": "UPDATE jobs SET status = 'cancelled', finished_at = now() WHERE id = %(id)s",
    "delete": "DELETE FROM jobs WHERE id = %(id)s",
}


@pytest.fixture
def cursor(database_url: str) -> Iterator[Any]:
    """Of a new session, which has no plans yet, and whose notices are the plans it makes."""
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET client_min_messages = log; SET debug_print_plan = on")
            yield cursor


def plans(cursor: Any) -> str:
    text = "".join(cursor.connection.notices)
    cursor.connection.notices.clear()
    return text


def test_no_plan_that_is_kept_compares_every_row_with_every_other(cursor: Any) -> None:
    values = {"id": str(ids.new_id()), "token": str(uuid4())}
    for name, statement in LIFE.items():
        plans(cursor)
        cursor.execute(statement, values)
        assert cursor.rowcount == 1
        made = plans(cursor)
        assert "PLANNEDSTMT" in made, name
        # 500 rows a statement would be 250,000 comparisons.
        assert "NESTLOOP" not in made, name


#: Old state → what one statement makes of it, in the order of the ids.
MIXED = """
UPDATE jobs SET
    status = CASE queue WHEN 'extended' THEN 'processing' WHEN 'retried' THEN 'pending' WHEN 'released' THEN 'pending'
                        WHEN 'never ran' THEN 'cancelled' ELSE queue END,
    attempts = attempts - CASE queue WHEN 'released' THEN 1 ELSE 0 END,
    run_at = CASE queue WHEN 'retried' THEN now() + interval '1 hour' ELSE run_at END,
    lease_token = CASE queue WHEN 'extended' THEN lease_token END,
    leased_until = CASE queue WHEN 'extended' THEN now() END,
    finished_at = CASE WHEN queue IN ('completed', 'failed', 'cancelled', 'never ran') THEN now() END
"""


def test_one_statement_with_every_kind_of_end_counts_each_attempt_that_ended(session: Any) -> None:
    kinds = ["completed", "completed", "failed", "cancelled", "retried", "released", "extended"]
    for kind in kinds:
        factories.processing_job(queue=kind, started_ago=4)
    factories.pending_job(queue="never ran")
    session.execute(text("DELETE FROM job_series_deltas"))
    session.execute(text(MIXED))
    rows = session.execute(
        text("""
            SELECT outcome, type, sum(n) AS n, min(wait_bucket) = 0 AND max(wait_bucket) = 0 AS is_at_once,
                   min(run_bucket) >= 87 AND max(run_bucket) < 100 AS took_four_seconds
            FROM job_series_deltas GROUP BY 1, 2 ORDER BY 1
        """)
    )
    assert [tuple(row) for row in rows] == [
        ("cancelled", "echo", 1, True, True),
        ("completed", "echo", 2, True, True),
        ("failed", "echo", 1, True, True),
        ("retried", "echo", 1, True, True),
    ]
    session.commit()
    assert summary.check(session).is_clean
