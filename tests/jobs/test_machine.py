"""The life of jobs as Hypothesis drives it: any verbs in any order, beside a model kept in memory.

The model is the table of DESIGN: what each verb does to a status and its counts. After every step the row,
its dead letters, its attempts and the counters must say what the model says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from app.jobs import lifecycle
from app.jobs.lifecycle import NewJob
from app.jobs.statistics import summary
from tests import factories

MAX_CRASHES = 3
KEYS = ("a", "b")


@dataclass
class Model:
    """What a job must look like."""

    status: str = "pending"
    attempts: int = 0
    max_attempts: int = 2
    crashes: int = 0
    token: UUID | None = None
    is_due: bool = True
    is_cancel_requested: bool = False
    unique_key: str | None = None
    letters: list[str | None] = field(default_factory=list)  # how each was closed; None: open
    endings: int = 0  # rows of job_attempts

    @property
    def is_live(self) -> bool:
        return self.status in ("pending", "processing")


@dataclass(frozen=True)
class Lease:
    """A token somebody was given once; it may have been taken away since."""

    id: UUID
    token: UUID


class Lifecycle(RuleBasedStateMachine):
    """Every verb, guarded; workers that come late; people who click anything."""

    session: Any  # set by the test

    jobs = Bundle("jobs")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[UUID, Model] = {}

    @initialize()
    def empty(self) -> None:
        self.session.rollback()
        self.session.execute(
            text(
                "TRUNCATE jobs, job_attempts, job_log_lines, dead_letters, job_counters,"
                " job_counter_deltas, job_waiting, job_waiting_deltas, job_series, job_minutes, job_series_deltas, dead_letter_changes CASCADE"
            )
        )
        self.session.commit()

    # -------------------------------------------------------------------------- people

    @rule(
        target=jobs,
        key=st.none() | st.sampled_from(KEYS),
        max_attempts=st.integers(1, 3),
        is_due=st.booleans(),
    )
    def enqueue(self, key: str | None, max_attempts: int, is_due: bool) -> Any:
        new = NewJob(
            "echo",
            unique_key=key,
            max_attempts=max_attempts,
            delay_seconds=None if is_due else 3600,
        )
        [made] = lifecycle.enqueue(self.session, [new])
        self.session.commit()
        holder = self._live_with(key)
        assert made.is_new == (holder is None)
        if holder is not None:
            assert made.id == holder
            return multiple()
        self.models[made.id] = Model(max_attempts=max_attempts, is_due=is_due, unique_key=key)
        return made.id

    @rule(job=jobs)
    def cancel(self, job: UUID) -> None:
        model = self.models.get(job)
        is_done = self._person(lifecycle.cancel, job)
        assert is_done == (model is not None and model.status in ("pending", "processing", "cancelled"))  # fmt: skip
        if model is None or not is_done:
            return
        if model.status == "pending":
            model.status = "cancelled"
        elif model.status == "processing":
            model.is_cancel_requested = True

    @rule(job=jobs)
    def retry(self, job: UUID) -> None:
        model = self.models.get(job)
        is_done = self._person(lifecycle.retry, job)
        assert is_done == (
            model is not None
            and model.status in ("failed", "cancelled")
            and self._live_with(model.unique_key) is None
        )
        if model is not None and is_done:
            self._close(model, "retried")
            model.status, model.attempts, model.crashes = "pending", 0, 0

    @rule(job=jobs)
    def run_now(self, job: UUID) -> None:
        model = self.models.get(job)
        is_done = self._person(lifecycle.run_now, job)
        assert is_done == (model is not None and model.status == "pending")
        if model is not None and is_done:
            model.is_due = True

    @rule(job=jobs)
    def discard(self, job: UUID) -> None:
        model = self.models.get(job)
        is_done = self._person(lifecycle.discard, job)
        assert is_done == (model is not None and None in model.letters)
        if model is not None and is_done:
            self._close(model, "discarded")

    @rule(job=jobs)
    def delete(self, job: UUID) -> None:
        model = self.models.get(job)
        is_done = self._person(lifecycle.delete, job)
        assert is_done == (model is not None and model.status != "processing")
        if is_done:
            del self.models[job]

    # ------------------------------------------------------------------------- workers

    @rule(target=leases, ids=st.lists(jobs, min_size=1, max_size=4))
    def claim(self, ids: list[UUID]) -> Any:
        token = uuid4()
        rows = lifecycle.claim(
            self.session, [i.hex for i in ids], token=token, worker_id=uuid4(), lease_seconds=30
        )
        self.session.commit()
        given = {row.id for row in rows}
        assert given == {
            i
            for i in ids
            if i in self.models and self.models[i].status == "pending" and self.models[i].is_due
        }
        for job in given:
            model = self.models[job]
            model.status, model.token = "processing", token
            model.attempts += 1
        return multiple(*(Lease(job, token) for job in sorted(given)))

    @rule(lease=leases)
    def complete(self, lease: Lease) -> None:
        end = factories.ending(lease.id, lease.token, result='{"n": 1}')
        refused = lifecycle.complete(self.session, [end])
        self.session.commit()
        assert (lease.id not in refused) == self._holds(lease)
        if not refused:
            self._leave(lease.id, "completed")

    @rule(
        lease=leases,
        verb=st.sampled_from(["retry_later", "bury", "cancel", "release", "snooze", "refuse"]),
    )
    def end(self, lease: Lease, verb: str) -> None:
        end = factories.ending(
            lease.id, lease.token, verb, outcome="failed", error="boom", delay=-1
        )
        rows = lifecycle.end_attempts(self.session, [end])
        self.session.commit()
        assert bool(rows) == self._holds(lease)
        if not rows:
            return
        model = self.models[lease.id]
        model.endings += 1
        if verb in ("release", "snooze", "refuse"):
            model.attempts -= 1
        if verb == "bury":
            model.letters.append(None)
            self._leave(lease.id, "failed")
        elif verb == "cancel" or model.is_cancel_requested:
            self._leave(lease.id, "cancelled")
        else:
            self._leave(lease.id, "pending")
            if verb == "refuse":
                self._wait_long(lease.id)

    @rule(lease=leases)
    def the_worker_dies_and_is_rescued(self, lease: Lease) -> None:
        if not self._holds(lease):
            return
        self.session.execute(
            text("UPDATE jobs SET leased_until = now() - interval '1 s' WHERE id = :id"),
            {"id": lease.id},
        )
        rows = lifecycle.rescue(self.session)
        self.session.commit()
        assert [row.id for row in rows] == [lease.id]
        model = self.models[lease.id]
        model.attempts -= 1
        model.crashes += 1
        model.endings += 1
        if model.is_cancel_requested:
            self._leave(lease.id, "cancelled")
        elif model.crashes >= MAX_CRASHES:
            model.letters.append(None)
            self._leave(lease.id, "failed")
        else:
            self._leave(lease.id, "pending")

    @rule(lease=consumes(leases))
    def a_heartbeat_extends_what_is_still_held(self, lease: Lease) -> None:
        held = lifecycle.extend(self.session, [(lease.id, lease.token)], lease_seconds=30)
        self.session.commit()
        expected = {}
        if self._holds(lease):
            expected = {lease.id: self.models[lease.id].is_cancel_requested}
        assert held == expected

    @rule()
    def fold(self) -> None:
        summary.fold(self.session.connection())
        self.session.commit()

    # ---------------------------------------------------------------------- what must hold

    @invariant()
    def rows_are_what_the_model_says(self) -> None:
        found = self.session.execute(text("SELECT * FROM jobs")).mappings().all()
        self.session.rollback()
        assert {row["id"] for row in found} == set(self.models)
        for row in found:
            model = self.models[row["id"]]
            is_processing = model.status == "processing"
            assert {
                "status": row["status"],
                "attempts": row["attempts"],
                "crashes": row["crashes"],
                "token": row["lease_token"],
                "is_cancel_requested": row["cancel_requested_at"] is not None,
                "is_final": row["finished_at"] is not None,
            } == {
                "status": model.status,
                "attempts": model.attempts,
                "crashes": model.crashes,
                "token": model.token if is_processing else None,
                "is_cancel_requested": model.is_cancel_requested,
                "is_final": not model.is_live,
            }

    @invariant()
    def each_failure_has_its_letter(self) -> None:
        rows = self.session.execute(
            text("SELECT job_id, closed_how FROM dead_letters WHERE job_id IS NOT NULL ORDER BY id")
        ).all()
        self.session.rollback()
        found: dict[UUID, list[str | None]] = {}
        for row in rows:
            found.setdefault(row.job_id, []).append(row.closed_how)
        assert found == {i: m.letters for i, m in self.models.items() if m.letters}

    @invariant()
    def every_ending_is_kept(self) -> None:
        rows = self.session.execute(
            text("SELECT job_id, sum(times)::int AS n FROM job_attempts GROUP BY job_id")
        ).all()
        self.session.rollback()
        assert {r.job_id: r.n for r in rows} == {i: m.endings for i, m in self.models.items() if m.endings}  # fmt: skip

    @invariant()
    def counters_are_exact(self) -> None:
        rows = self.session.execute(
            text(
                "SELECT status, sum(n)::int AS n FROM (SELECT status, n FROM job_counters"
                " UNION ALL SELECT status, n FROM job_counter_deltas) AS c"
                " GROUP BY status HAVING sum(n) <> 0"
            )
        ).all()
        self.session.rollback()
        counted: dict[str, int] = {}
        for model in self.models.values():
            counted[model.status] = counted.get(model.status, 0) + 1
        assert {row.status: row.n for row in rows} == counted

    # ---------------------------------------------------------------------------- helpers

    def _person(self, verb: Any, job: UUID) -> bool:
        changes = verb(self.session, [job], by="ada")
        self.session.commit()
        assert set(changes.done) | set(changes.refused) == {job}
        return bool(changes.done)

    def _holds(self, lease: Lease) -> bool:
        model = self.models.get(lease.id)
        return model is not None and model.status == "processing" and model.token == lease.token

    def _live_with(self, key: str | None) -> UUID | None:
        live = [i for i, m in self.models.items() if key and m.unique_key == key and m.is_live]
        assert len(live) <= 1
        return live[0] if live else None

    def _wait_long(self, job: UUID) -> None:
        """A refused job waits a second or more: no step may fall on either side of that by chance."""
        moved = self.session.execute(
            text(
                "UPDATE jobs SET run_at = run_at + interval '1 h'"
                " WHERE id = :id AND run_at > updated_at RETURNING id"
            ),
            {"id": job},
        )
        assert moved.all(), "a refused job has to wait"
        self.session.commit()
        self.models[job].is_due = False

    def _leave(self, job: UUID, status: str) -> None:
        model = self.models[job]
        self.models[job] = replace(model, status=status, token=None, is_cancel_requested=False)

    def _close(self, model: Model, how: str) -> None:
        model.letters = [how if closed is None else closed for closed in model.letters]


@pytest.mark.timeout(300)
def test_any_order_of_verbs_keeps_every_invariant(session: Any, redis: Any) -> None:
    Lifecycle.session = session
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
