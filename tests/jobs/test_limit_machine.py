"""Jobs under a limit as Hypothesis drives them: any verbs in any order, passes of admission between them.

What must hold is read from the rows in one snapshot after every step: no more slots in use than the limit and its keys
have, no waiting job claimed, and after a whole admission no free slot beside a job that could have it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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

from app.extensions import db
from app.jobs import lifecycle
from app.jobs.lifecycle import NewJob
from app.jobs.limits import admission, backstop
from tests import factories

KEYS = "abc"
USED = text("""
SELECT limit_key, count(*) AS n FROM jobs
WHERE limit_name = 'stripe' AND hold = 0 AND status IN ('pending', 'processing') GROUP BY 1
""")
WAITING = text("""
SELECT DISTINCT limit_key FROM jobs WHERE limit_name = 'stripe' AND hold = 1 AND run_at <= now()
""")
WRONG = text("""
SELECT id FROM jobs WHERE type = 'echo' AND status = 'pending' AND (
    limit_name IS DISTINCT FROM 'stripe' OR limit_key IS DISTINCT FROM payload ->> 'c'
    OR hold = 1 AND run_at > now() OR hold = 3 AND run_at <= now() - interval '60 s')
""")


class Limited(RuleBasedStateMachine):
    """Workers, people and time at one limit of two levels."""

    session: Any  # set by the test

    jobs = Bundle("jobs")
    leases = Bundle("leases")

    @initialize(concurrency=st.integers(1, 3), key_concurrency=st.none() | st.integers(1, 2))
    def empty(self, concurrency: int, key_concurrency: int | None) -> None:
        self.session.rollback()
        self.session.execute(
            text(
                "TRUNCATE jobs, limit_attachments, limit_keys, workers, job_counters, job_counter_deltas,"
                " job_waiting, job_waiting_deltas, job_series, job_minutes, job_series_deltas CASCADE"
            )
        )
        self.session.execute(text("DELETE FROM limits WHERE name = 'stripe'"))
        self.session.execute(
            text(
                "INSERT INTO limits (name, source, by_field, concurrency, key_concurrency)"
                " VALUES ('stripe', 'api', 'c', :concurrency, :key)"
            ),
            {"concurrency": concurrency, "key": key_concurrency},
        )
        self.session.execute(
            text(
                "INSERT INTO limit_attachments (kind, name, limit_name) VALUES ('type', 'echo', 'stripe')"
            )
        )
        self.session.commit()
        factories.worker()
        self.concurrency = self.bound = concurrency
        self.key_concurrency = key_concurrency or 99

    @rule(target=jobs, key=st.sampled_from(KEYS), is_due=st.booleans(), n=st.integers(1, 3))
    def enqueue(self, key: str, is_due: bool, n: int) -> Any:
        delay = None if is_due else 3600
        new = [NewJob("echo", {"c": key}, delay_seconds=delay) for _ in range(n)]
        done = lifecycle.enqueue(self.session, new)
        self.session.commit()
        return multiple(*(each.id for each in done))

    @rule(target=jobs, key=st.sampled_from(KEYS))
    def enqueue_as_the_former_release(self, key: str) -> UUID:
        """Its insert knows no limits: whoever pops the job assigns it."""
        job_id = factories.pending_job(type="echo", payload={"c": key}).id
        assert self._claim([job_id]) == {}
        lifecycle.assign(self.session, [job_id])
        self.session.commit()
        return job_id

    @rule(concurrency=st.integers(1, 3))
    def change(self, concurrency: int) -> None:
        self.session.execute(
            text("UPDATE limits SET concurrency = :n WHERE name = 'stripe'"), {"n": concurrency}
        )
        self.session.commit()
        self.concurrency = concurrency

    @rule()
    def admit(self) -> None:
        circle = None
        for _ in range(20):
            with db.engine.begin() as connection:
                done = admission.admit(connection, "stripe", alive_seconds=3600, circle=circle)
            circle = done.circle
            if not done.is_more:
                break
        used = self._used()
        free = self.concurrency - sum(used.values())
        waiting = set(self.session.scalars(WAITING))
        self.session.commit()
        room = {key for key in waiting if used.get(key, 0) < self.key_concurrency}
        assert free <= 0 or not room

    @rule(target=leases, ids=st.lists(jobs, min_size=1, max_size=6, unique=True))
    def claim(self, ids: list[UUID]) -> Any:
        free = set(
            self.session.scalars(
                text(
                    "SELECT id FROM jobs WHERE id = ANY(:ids) AND status = 'pending' AND hold = 0"
                ),
                {"ids": ids},
            )
        )
        self.session.commit()
        claimed = self._claim(ids)
        assert set(claimed) == free
        return multiple(*sorted(claimed.items()))

    @rule(
        lease=leases,
        verb=st.sampled_from(
            ["complete", "retry_later", "bury", "cancel", "release", "snooze", "crash", "refuse"]
        ),
        delay=st.sampled_from([-1.0, 60.0]),
        throttles=st.none() | st.sampled_from(["key", "limit"]),
    )
    def end(self, lease: tuple[UUID, UUID], verb: str, delay: float, throttles: str | None) -> None:
        outcome = None if verb in ("complete", "release") else "failed"
        fields: dict[str, Any] = {"outcome": outcome, "error": "boom", "max_crashes": 3}
        if verb in ("retry_later", "snooze"):
            fields["delay"] = delay
        if verb == "snooze" and delay < 0:
            fields["throttles"] = throttles  # open again at once
        end = factories.ending(*lease, verb, **({} if verb == "complete" else fields))
        if verb == "complete":
            lifecycle.complete(self.session, [end])
        else:
            lifecycle.end_attempts(self.session, [end])
        self.session.commit()

    @rule(job=jobs, verb=st.sampled_from(["cancel", "retry", "run", "delete"]))
    def person(self, job: UUID, verb: str) -> None:
        lifecycle.act(self.session, verb, [job], by="ada")
        self.session.commit()

    @rule(job=jobs, key=st.sampled_from(KEYS))
    def another_key(self, job: UUID, key: str) -> None:
        lifecycle.edit(self.session, [job], {"payload": {"c": key}}, by="ada")
        self.session.commit()

    @rule(job=jobs)
    def later(self, job: UUID) -> None:
        lifecycle.edit(
            self.session, [job], {"run_at": datetime.now(UTC) + timedelta(hours=1)}, by="ada"
        )
        self.session.commit()

    @rule()
    def time_passes(self) -> None:
        """Delays are over, leases run out, what was admitted has not started."""
        self.session.execute(
            text(
                "UPDATE jobs SET run_at = run_at - interval '2 h', leased_until = leased_until - interval '2 h',"
                " admitted_at = admitted_at - interval '2 h'"
            )
        )
        self.session.commit()
        lifecycle.rescue(self.session)
        backstop.look(self.session, after="")
        self.session.commit()

    @invariant()
    def no_slot_too_many(self) -> None:
        if not hasattr(self, "bound"):
            return
        used = self._used()
        total = sum(used.values())
        # After lowering, running jobs go on: what is in use only falls then.
        assert total <= max(self.concurrency, self.bound)
        self.bound = max(self.concurrency, total)
        assert all(n <= self.key_concurrency for n in used.values())

    @invariant()
    def every_row_waits_as_it_should(self) -> None:
        if hasattr(self, "bound"):
            assert self.session.scalars(WRONG).all() == []
            self.session.commit()

    def _used(self) -> dict[str, int]:
        rows = self.session.execute(USED).all()
        self.session.commit()
        return {row.limit_key: row.n for row in rows}

    def _claim(self, ids: list[UUID]) -> dict[UUID, UUID]:
        token = uuid4()
        rows = lifecycle.claim(
            self.session, [i.hex for i in ids], token=token, worker_id=uuid4(), lease_seconds=30
        )
        self.session.commit()
        return {row.id: token for row in rows}


@pytest.mark.usefixtures("app")
def test_no_order_of_verbs_breaks_a_limit(session: Any) -> None:
    Limited.session = session
    run_state_machine_as_test(
        Limited,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
