"""A batch of 500 jobs costs 500 times one job, whatever the planner believes about the table."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.database import id_array
from app.jobs.ending import BURY, RETRY_LATER
from app.jobs.lifecycle import attempts
from app.jobs.lifecycle.attempts import END
from tests import factories

BATCH = 500


RUNNING = text("""
INSERT INTO jobs (id, queue, type, payload, status, attempts, worker_id, lease_token, leased_until, started_at)
SELECT gen_random_uuid(), 'q', 't', '{}', 'processing', 1, gen_random_uuid(), :token, now(), now()
FROM generate_series(1, :n) RETURNING id
""")


@pytest.mark.parametrize("rows_before", [0, 3, BATCH, 10 * BATCH])
def test_ending_a_batch_compares_no_job_with_every_other(session: Any, rows_before: int) -> None:
    session.execute(RUNNING, {"token": uuid4(), "n": rows_before})
    session.execute(text("DELETE FROM jobs"))
    session.commit()
    session.execute(text("ANALYZE jobs"))  # statistics of a moment when nothing runs
    jobs = session.execute(RUNNING, {"token": uuid4(), "n": BATCH}).all()
    token = session.execute(text("SELECT lease_token FROM jobs LIMIT 1")).scalar_one()
    endings = [
        factories.ending(job.id, token, RETRY_LATER if n % 2 else BURY, outcome="failed")
        for n, job in enumerate(jobs)
    ]
    given = {ending.job.id.hex: attempts._as_json(ending) for ending in endings}
    cursor = session.connection().connection.cursor()
    cursor.execute("SELECT unnest(proconfig) FROM pg_proc WHERE proname = %s", (END.name,))
    for (setting,) in cursor.fetchall():
        cursor.execute("SELECT set_config(%s, %s, true)", setting.split("="))
    # As the function keeps it: planned without a look at the values.
    sql = END.sql.replace(":outcomes", "$1").replace(":ids", "$2")
    cursor.execute(f"PREPARE ending (jsonb, uuid[]) AS {sql}")
    cursor.execute(
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE ending (%s, %s)",
        (json.dumps(given), id_array(given)),
    )
    plan = "\n".join(line for (line,) in cursor.fetchall())
    cursor.execute("DEALLOCATE ending")
    session.rollback()
    assert "Rows Removed by Join Filter" not in plan, plan
