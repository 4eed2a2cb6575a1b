"""A batch of 500 jobs costs 500 times one job, whatever the planner believes about the table."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from app.database import id_array
from app.jobs.ending import BURY, RETRY_LATER
from app.jobs.lifecycle import attempts
from tests import factories

BATCH = 500


def test_ending_a_batch_compares_no_job_with_every_other(session: Any) -> None:
    session.execute(text("ANALYZE jobs"))  # statistics of a moment when nothing runs
    jobs = session.execute(
        text("""
            INSERT INTO jobs (id, queue, type, payload, status, attempts, worker_id, lease_token, leased_until, started_at)
            SELECT gen_random_uuid(), 'q', 't', '{}', 'processing', 1, gen_random_uuid(), :token, now(), now()
            FROM generate_series(1, :n) RETURNING id
        """),
        {"token": uuid4(), "n": BATCH},
    ).all()
    token = session.execute(text("SELECT lease_token FROM jobs LIMIT 1")).scalar_one()
    endings = [
        factories.ending(job.id, token, RETRY_LATER if n % 2 else BURY, outcome="failed")
        for n, job in enumerate(jobs)
    ]
    given = {ending.job.id.hex: attempts._as_json(ending) for ending in endings}
    explained = session.execute(
        text(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {attempts._END.text}"),
        {"outcomes": json.dumps(given), "ids": id_array(given)},
    )
    plan = "\n".join(explained.scalars())
    session.rollback()
    assert "Rows Removed by Join Filter" not in plan, plan
