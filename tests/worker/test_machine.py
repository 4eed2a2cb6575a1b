"""Lifecycle and ready set together, as Hypothesis drives them: Redis forgets, doubles and delays what it likes.

Whatever happened, one promotion and one audit later every due job can be popped, and popping and claiming until
nothing is left runs each exactly once more than its model counts.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from app.broker.keys import Keys
from app.broker.refs import Ref
from app.jobs import lifecycle
from app.jobs.lifecycle import NewJob
from app.worker.sweeper import reconcile as reconciling
from app.worker.sweeper.promote import promote_due_jobs
from app.worker.sweeper.reconcile import reconcile
from app.worker.sweeper.rescue import rescue_jobs
from tests.factories import ending

KEYS = Keys()


QUEUES = ("default", "mail")


class Both(RuleBasedStateMachine):
    """PostgreSQL decides; Redis is emptied, doubled and reordered meanwhile."""

    session: Any
    redis: Any
    ready: Any
    engine: Any
    clock: Any

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.status: dict[UUID, str] = {}
        self.held: dict[UUID, UUID] = {}  # id → token
        self.completed: dict[UUID, int] = {}
        self.stale: list[Ref] = []

    @initialize()
    def empty(self) -> None:
        self.session.rollback()
        self.session.execute(
            text("TRUNCATE jobs, job_attempts, dead_letters, dead_letter_changes CASCADE")
        )
        self.session.commit()
        self.redis.flushdb()

    # ------------------------------------------------------------------------- what people do

    @rule(target=jobs, count=st.integers(1, 3), queue=st.sampled_from(QUEUES), delay=st.sampled_from([None, 3600]),
          priority=st.integers(-1, 1))  # fmt: skip
    def enqueue(self, count: int, queue: str, delay: float | None, priority: int) -> Any:
        new = [
            NewJob("act", queue=queue, delay_seconds=delay, priority=priority) for _ in range(count)
        ]
        made = lifecycle.enqueue(self.session, new)
        self.session.commit()
        for one in made:
            self.status[one.id] = "pending"
        return multiple(*(one.id for one in made))

    @rule(job=jobs)
    def cancel(self, job: UUID) -> None:
        lifecycle.cancel(self.session, [job], by="ada")
        self.session.commit()
        if self.status[job] == "pending":
            self.status[job] = "cancelled"

    @rule(job=jobs)
    def its_time_comes(self, job: UUID) -> None:
        if self.status[job] == "pending":
            self.session.execute(
                text("UPDATE jobs SET run_at = now() - interval '10 s' WHERE id = :id"), {"id": job}
            )
            self.session.commit()

    # ------------------------------------------------------------------------ what Redis does

    @rule()
    def flush(self) -> None:
        self.redis.flushdb()

    @rule(job=jobs, queue=st.sampled_from(QUEUES))
    def a_message_is_lost(self, job: UUID, queue: str) -> None:
        self.redis.zrem(KEYS.ready(queue), job.hex)
        self.redis.zrem(KEYS.delayed, job.hex)

    @rule(job=jobs, is_due=st.booleans(), queue=st.sampled_from(QUEUES))
    def a_stale_message_comes(self, job: UUID, is_due: bool, queue: str) -> None:
        # Of any time and any queue: published by somebody who was asleep.
        self.ready.publish([Ref(job, queue, 0, 1_700_000_001_000, is_due)])

    # ----------------------------------------------------------------------- what workers do

    @rule(count=st.integers(1, 5), dies=st.booleans())
    def pop_and_claim(self, count: int, dies: bool) -> None:
        ids, _ = self.ready.pop(list(QUEUES), count)
        if not dies and ids:
            self._claim(ids)

    @rule(job=jobs, how=st.sampled_from(["complete", "retry_later", "release", "bury"]))
    def end(self, job: UUID, how: str) -> None:
        if job not in self.held:
            return
        token = self.held.pop(job)
        if how == "complete":
            self._complete(job, token)
            return
        rows = lifecycle.end_attempts(
            self.session, [ending(job, token, how, outcome="failed", error="x", delay=0)]
        )  # fmt: skip
        self.session.commit()
        assert len(rows) == 1
        self.status[job] = rows[0].status
        if rows[0].status == "pending":
            self.ready.publish([Ref(job, rows[0].queue, rows[0].priority, rows[0].run_at_ms, rows[0].is_due)])  # fmt: skip

    @rule(job=jobs)
    def its_worker_dies(self, job: UUID) -> None:
        if self.held.pop(job, None) is None:
            return
        self.session.execute(
            text("UPDATE jobs SET leased_until = now() - interval '1 s' WHERE id = :id"),
            {"id": job},
        )
        self.session.commit()
        rescue_jobs(self.engine, self.ready)
        self.status[job] = self._statuses()[job]
        assert self.status[job] in ("pending", "failed", "cancelled")

    @rule()
    def promote(self) -> None:
        promote_due_jobs(self.engine, self.ready, self.clock)

    @rule()
    def audit(self) -> None:
        reconcile(self.engine, self.ready)

    # -------------------------------------------------------------------------- what must hold

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        expected = {i: ("processing" if i in self.held else s) for i, s in self.status.items()}
        assert self._statuses() == expected

    def teardown(self) -> None:
        """Recovery: promotion and audit, then a worker that runs until nothing is left."""
        if not self.status:
            return
        for job, token in list(self.held.items()):
            self._complete(job, token)
            del self.held[job]
        self.session.execute(
            text("UPDATE jobs SET run_at = now() - interval '10 s' WHERE status = 'pending'")
        )
        self.session.commit()
        for _ in range(3 * len(self.status) + 10):
            promote_due_jobs(self.engine, self.ready, self.clock)
            reconcile(self.engine, self.ready)
            ids, _ = self.ready.pop(list(QUEUES), 50)
            if not ids:
                break
            self._claim(ids)
            for job, token in list(self.held.items()):
                self._complete(job, token)
                del self.held[job]
        left = [i for i, status in self._statuses().items() if status in ("pending", "processing")]
        assert left == [], f"{len(left)} jobs were lost"
        assert set(self.completed.values()) <= {1}

    # --------------------------------------------------------------------------------- helpers

    def _claim(self, ids: list[str]) -> None:
        token = uuid4()
        rows = lifecycle.claim(self.session, ids, token=token, worker_id=uuid4(), lease_seconds=30)
        self.session.commit()
        for row in rows:
            assert self.status[row.id] == "pending"
            assert row.id not in self.held, "two held one job"
            self.held[row.id] = token

    def _complete(self, job: UUID, token: UUID) -> None:
        refused = lifecycle.complete(self.session, [ending(job, token)])
        self.session.commit()
        assert refused == set()
        self.status[job] = "completed"
        self.completed[job] = self.completed.get(job, 0) + 1

    def _statuses(self) -> dict[UUID, str]:
        rows = self.session.execute(text("SELECT id, status FROM jobs")).all()
        self.session.rollback()
        return {row.id: row.status for row in rows}


@pytest.mark.timeout(150)
def test_whatever_redis_does_every_job_ends_and_ends_once(
    session: Any, redis: Any, ready: Any, engine: Any, clock: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(reconciling, "MIN_AGE_SECONDS", 0)
    for name, value in {
        "session": session,
        "redis": redis,
        "ready": ready,
        "engine": engine,
        "clock": clock,
    }.items():
        setattr(Both, name, value)
    run_state_machine_as_test(
        Both,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
