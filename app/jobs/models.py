"""The tables, for reading. Nothing here writes: status moves in lifecycle.py.

CHECKs and triggers live in the first migration; the comments say who changes a column.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import UUID as PgUUID
from sqlalchemy.orm import Mapped, mapped_column

from app import clock
from app.extensions import Base, db

if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model

PENDING, PROCESSING, COMPLETED, FAILED, CANCELLED = STATUSES = (
    "pending",
    "processing",
    "completed",
    "failed",
    "cancelled",
)
FINAL = (COMPLETED, FAILED, CANCELLED)
#: Statuses plus the two views of pending that the dashboard and the list filter know.
VIEWS = ("pending", "scheduled", "retrying", "processing", "completed", "failed", "cancelled")

#: Person's verb → the statuses it starts from. lifecycle.py guards with the same table.
ALLOWED: dict[str, tuple[str, ...]] = {
    "retry": (FAILED, CANCELLED),
    "run": (PENDING,),
    "cancel": (PENDING, PROCESSING),
    "edit": (PENDING, FAILED, CANCELLED),
    "delete": (PENDING, COMPLETED, FAILED, CANCELLED),
    "discard": (FAILED,),
}

UNIQUE_KEY_IS_LIVE = "unique_key IS NOT NULL AND status IN ('pending', 'processing')"

Instant = DateTime(timezone=True)
Id = PgUUID(as_uuid=True)


def _instant(*, nullable: bool = False, default_now: bool = False) -> Mapped[Any]:
    return mapped_column(
        Instant, nullable=nullable, server_default=func.now() if default_now else None
    )


class Job(Model):
    """One request to run a type."""

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(Id, primary_key=True)  # UUIDv7
    queue: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)  # always an object
    priority: Mapped[int] = mapped_column(server_default=text("0"))  # −100…100, higher first
    status: Mapped[str] = mapped_column(Text, server_default=text("'pending'"))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))  # started less given back
    max_attempts: Mapped[int] = mapped_column(server_default=text("5"))
    run_at: Mapped[datetime] = _instant(default_now=True)  # not before; moved by backoff
    expires_at: Mapped[datetime | None] = _instant(nullable=True)  # not started after
    timeout_seconds: Mapped[float | None]  # per attempt; NULL: the type's
    lease_token: Mapped[UUID | None] = mapped_column(Id)  # set by claim; the fence
    worker_id: Mapped[UUID | None] = mapped_column(Id)  # who holds or last held it
    leased_until: Mapped[datetime | None] = _instant(nullable=True)  # extended by heartbeat
    crashes: Mapped[int] = mapped_column(server_default=text("0"))  # rescues so far
    cancel_requested_at: Mapped[datetime | None] = _instant(nullable=True)
    unique_key: Mapped[str | None] = mapped_column(Text)  # unique while pending or processing
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    result: Mapped[Any] = mapped_column(JSONB, nullable=True)  # what the handler returned
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    last_error: Mapped[str | None] = mapped_column(Text)  # one line, of the last attempt
    #: The group of an open failure (type, exception, place); NULL once it completed or was dealt with.
    failure: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = _instant(default_now=True)
    updated_at: Mapped[datetime] = _instant(default_now=True)  # heartbeats leave it
    started_at: Mapped[datetime | None] = _instant(nullable=True)  # of the last attempt
    finished_at: Mapped[datetime | None] = _instant(nullable=True)  # final statuses only

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')",
                        name="ck_jobs_status"),
        CheckConstraint("priority BETWEEN -100 AND 100", name="ck_jobs_priority"),
        CheckConstraint("attempts >= 0 AND crashes >= 0 AND max_attempts >= 1",
                        name="ck_jobs_attempts"),
        CheckConstraint("jsonb_typeof(payload) = 'object'", name="ck_jobs_payload"),
        CheckConstraint("(status = 'processing') = (lease_token IS NOT NULL) AND "
                        "(status = 'processing') = (leased_until IS NOT NULL) AND "
                        "(status <> 'processing' OR (worker_id IS NOT NULL AND "
                        "started_at IS NOT NULL))", name="ck_jobs_lease"),
        CheckConstraint("(status IN ('completed', 'failed', 'cancelled')) = "
                        "(finished_at IS NOT NULL)", name="ck_jobs_finished"),
        CheckConstraint("cancel_requested_at IS NULL OR status = 'processing'",
                        name="ck_jobs_cancel"),
        # Publishing everything again in claim order; the audit's window; a queue's next job.
        Index("ix_jobs_claim_order", "queue", text("priority DESC"), "run_at", "id",
              postgresql_where=text("status = 'pending'")),
        # Oldest due job; who runs next; how many are scheduled.
        Index("ix_jobs_run_at", "run_at", "id", postgresql_where=text("status = 'pending'")),
        Index("ix_jobs_retrying_run_at", "run_at", "id",
              postgresql_where=text("status = 'pending' AND attempts > 0")),
        # Who finished last.
        Index("ix_jobs_finished", "status", "finished_at", "id",
              postgresql_where=text("finished_at IS NOT NULL")),
        # ix_jobs_id_end, on the last eight digits of the id, is in its migration alone: Alembic can't
        # compare indexes on expressions.
        # Expired leases, the list of running jobs.
        Index("ix_jobs_processing", "id", postgresql_where=text("status = 'processing'")),
        # The dashboard's tabs, newest first.
        Index("ix_jobs_pending", "id", postgresql_where=text("status = 'pending'")),
        Index("ix_jobs_failed", "id", postgresql_where=text("status = 'failed'")),
        Index("ix_jobs_cancelled", "id", postgresql_where=text("status = 'cancelled'")),
        Index("ix_jobs_completed", "id", postgresql_where=text("status = 'completed'")),
        Index("ix_jobs_retrying", "id",
              postgresql_where=text("status = 'pending' AND attempts > 0")),
        # Lists filtered by type or queue.
        Index("ix_jobs_type", "type", "id"),
        Index("ix_jobs_queue", "queue", "id"),
        # How many are in a group of failures, and which.
        Index("ix_jobs_failure", "failure", "id", postgresql_include=["status"],
              postgresql_where=text("failure IS NOT NULL")),
        Index("ix_jobs_expires", "expires_at",
              postgresql_where=text("status = 'pending' AND expires_at IS NOT NULL")),
        Index("uq_jobs_unique_key", "unique_key", unique=True,
              postgresql_where=text(UNIQUE_KEY_IS_LIVE)),
        Index("ix_jobs_tags", "tags", postgresql_using="gin",
              postgresql_where=text("tags <> '{}'")),
        # Room on the page, so that heartbeats and progress stay HOT updates (KERNEL: 85).
        {"postgresql_with": {"fillfactor": 85}},
    )  # fmt: skip

    @property
    def next_run_at(self) -> datetime | None:
        """When it runs next; None unless pending and in the future."""
        is_ahead = self.status == PENDING and self.run_at > clock.now()
        return self.run_at if is_ahead else None

    @property
    def view(self) -> str:
        """The status, or scheduled / retrying for the two views of pending."""
        if self.status != PENDING:
            return self.status
        if self.attempts > 0:
            return "retrying"
        return "scheduled" if self.next_run_at else PENDING

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_restorable(self) -> bool:
        """Whether a retry puts it back on its schedule: cancelled before its time came."""
        return self.status == CANCELLED and self.run_at > clock.now()

    @property
    def cancel_requested(self) -> bool:
        return self.cancel_requested_at is not None

    def can(self, verb: str) -> bool:
        """Whether a person may do ``verb`` (a key of ALLOWED) to the job as it stands."""
        if verb == "cancel" and self.cancel_requested:
            return False
        if verb == "run" and self.next_run_at is None:
            return False
        return self.status in ALLOWED[verb]


class JobAttempt(Model):
    """One attempt that did not complete, or several that were given back. Successes need no row."""

    __tablename__ = "job_attempts"

    job_id: Mapped[UUID] = mapped_column(
        Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    lease_token: Mapped[UUID] = mapped_column(Id, primary_key=True)
    attempt: Mapped[int]
    outcome: Mapped[str] = mapped_column(Text)  # OUTCOMES
    error: Mapped[str | None] = mapped_column(Text)
    error_class: Mapped[str | None] = mapped_column(Text)
    traceback: Mapped[str | None] = mapped_column(Text)
    failure: Mapped[str | None] = mapped_column(Text)  # its group, for ever
    worker_id: Mapped[UUID | None] = mapped_column(Id)
    started_at: Mapped[datetime] = _instant()
    ended_at: Mapped[datetime] = _instant(default_now=True)
    #: Attempts given back for one reason are counted here: how many, the first one's end (NULL: one only).
    times: Mapped[int] = mapped_column(server_default=text("1"))
    since: Mapped[datetime | None] = _instant(nullable=True)
    retry_at: Mapped[datetime | None] = _instant(nullable=True)

    __table_args__ = (
        Index(
            "ix_job_attempts_failure",
            "failure",
            "ended_at",
            postgresql_where=text("failure IS NOT NULL"),
        ),
    )

    OUTCOMES = ("failed", "crashed", "timed_out", "released", "snoozed", "cancelled")


class JobLogLine(Model):
    """One line a handler logged; capped per job by MAX_LOG_LINES."""

    __tablename__ = "job_log_lines"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    at: Mapped[datetime] = _instant(default_now=True)
    level: Mapped[str] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("ix_job_log_lines_job", "job_id", "id"),)


class JobKey(Model):
    """An Idempotency-Key, kept 24 h: same body → first job, other body → refused."""

    __tablename__ = "job_keys"

    scope: Mapped[str] = mapped_column(Text, primary_key=True)  # name of the token
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    body_hash: Mapped[str] = mapped_column(Text)
    job_id: Mapped[UUID] = mapped_column(Id)
    created_at: Mapped[datetime] = _instant(default_now=True)

    __table_args__ = (Index("ix_job_keys_created", "created_at"),)


class DeadLetter(Model):
    """The row kept for a failed job; open until retried or discarded."""

    __tablename__ = "dead_letters"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"))
    queue: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    reason: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int]
    failed_at: Mapped[datetime] = _instant(default_now=True)
    closed_at: Mapped[datetime | None] = _instant(nullable=True)
    closed_by: Mapped[str | None] = mapped_column(Text)
    closed_how: Mapped[str | None] = mapped_column(Text)  # retried, discarded

    __table_args__ = (
        CheckConstraint("(closed_at IS NULL) = (closed_how IS NULL)", name="ck_dead_letters_closed"),
        # One open letter per job; also finds it.
        Index("uq_dead_letters_open", "job_id", unique=True,
              postgresql_where=text("closed_at IS NULL")),
        Index("ix_dead_letters_job", "job_id"),
        # The list and the mirror: newest first.
        Index("ix_dead_letters_failed_at", "failed_at", "job_id",
              postgresql_where=text("closed_at IS NULL")),
    )  # fmt: skip


class DeadLetterChange(Model):
    """A change of the open dead letters that Redis has not seen yet; written by a trigger."""

    __tablename__ = "dead_letter_changes"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    is_open: Mapped[bool]  # True: pushed; False: removed
    letter: Mapped[dict[str, Any]] = mapped_column(JSONB)


class WorkerRow(Model):
    """One consumer process; written by its heartbeat."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(Id, primary_key=True)  # made at boot
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int]
    version: Mapped[str] = mapped_column(Text)
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text))  # empty: all
    types: Mapped[list[str] | None] = mapped_column(ARRAY(Text))  # it claims; NULL: every type
    threads: Mapped[int]
    live_threads: Mapped[int]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    #: [{"jobId", "type", "attempt", "since"}] as of heartbeat_at
    running: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    completed: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    started_at: Mapped[datetime] = _instant(default_now=True)
    heartbeat_at: Mapped[datetime] = _instant(default_now=True)
    stop_requested_at: Mapped[datetime | None] = _instant(nullable=True)  # by a person
    stopping_at: Mapped[datetime | None] = _instant(nullable=True)
    stopped_at: Mapped[datetime | None] = _instant(nullable=True)


class QueueRow(Model):
    """A queue somebody paused or resumed; a queue without a row runs."""

    __tablename__ = "queues"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    paused_at: Mapped[datetime | None] = _instant(nullable=True)
    paused_by: Mapped[str | None] = mapped_column(Text)


class TypeSwitch(Model):
    """A job type somebody paused or resumed; a type without a row runs."""

    __tablename__ = "type_switches"

    type: Mapped[str] = mapped_column(Text, primary_key=True)
    paused_at: Mapped[datetime | None] = _instant(nullable=True)
    paused_by: Mapped[str | None] = mapped_column(Text)
    #: Jobs of the type wait and no live worker knows it: since when, and last seen so by a sweeper.
    unknown_since: Mapped[datetime | None] = _instant(nullable=True)
    unknown_seen_at: Mapped[datetime | None] = _instant(nullable=True)


class JobCounter(Model):
    """Folded counts; exact together with the deltas. Written by triggers and fold only."""

    __tablename__ = "job_counters"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    type: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(Text, primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)


class JobWaiting(Model):
    """Pending jobs that were tried before, or lay ahead when they were written; exact with the deltas.

    Written by triggers and fold only.
    """

    __tablename__ = "job_waiting"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    is_retry: Mapped[bool] = mapped_column(primary_key=True)
    #: In which they start; −infinity: they did not lie ahead.
    minute: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)


class JobSeries(Model):
    """Per minute and type: how many attempts ended how, in which run and wait time bucket.

    A bucket b of 4·log2(µs) covers 2^(b/4)…2^((b+1)/4) µs. ``enqueued`` has buckets −1.
    """

    __tablename__ = "job_series"

    minute: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    type: Mapped[str] = mapped_column(Text, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text, primary_key=True)  # OUTCOMES
    run_bucket: Mapped[int] = mapped_column(primary_key=True)
    wait_bucket: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)

    #: retried: a failed attempt that will run again; failed: the last one, buried.
    OUTCOMES = ("enqueued", "completed", "retried", "failed", "cancelled")


class JobMinute(Model):
    """Of all types together, for a week: how many attempts ended how in each minute."""

    __tablename__ = "job_minutes"

    minute: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text, primary_key=True)  # JobSeries.OUTCOMES
    n: Mapped[int] = mapped_column(BigInteger)


class AuditEvent(Model):
    """Who did what to how many."""

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = _instant(default_now=True)
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)  # job.retry, queue.pause …
    subject: Mapped[str] = mapped_column(Text)  # a job id, a queue's name, "12 jobs"
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))

    __table_args__ = (Index("ix_audit_events_subject", "subject", "id"),)


class ApiToken(Model):
    """A token made by ``flask tokens``; the token itself is kept nowhere."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)  # viewer, operator, admin
    hash: Mapped[str] = mapped_column(Text)  # SHA-256, hex
    created_at: Mapped[datetime] = _instant(default_now=True)
    revoked_at: Mapped[datetime | None] = _instant(nullable=True)

    __table_args__ = (
        Index("uq_api_tokens_hash", "hash", unique=True),
        Index(
            "uq_api_tokens_name", "name", unique=True, postgresql_where=text("revoked_at IS NULL")
        ),
    )


class PersonSession(Model):
    """A person who is signed in to the dashboard; gone when the session ends."""

    __tablename__ = "sessions"

    hash: Mapped[str] = mapped_column(
        Text, primary_key=True
    )  # SHA-256 of the id in the cookie, hex
    user_name: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)  # where it began
    created_at: Mapped[datetime] = _instant(default_now=True)
    used_at: Mapped[datetime] = _instant(default_now=True)  # to a minute; refreshing is no use
    expires_at: Mapped[datetime] = _instant()

    __table_args__ = (
        Index("ix_sessions_user_name", "user_name"),
        Index("ix_sessions_expires_at", "expires_at"),
    )


class BulkAction(Model):
    """One verb for the jobs of a preview; done in chunks by a worker."""

    __tablename__ = "bulk_actions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    verb: Mapped[str] = mapped_column(Text)  # retry, run, cancel, delete, discard, edit
    args: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))  # of edit
    description: Mapped[str] = mapped_column("told", Text)  # the filter, in words
    #: The filter as the list's query string, for a link back.
    scope: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=text("'{}'"))
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = _instant(default_now=True)
    total: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    done: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    refused: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    #: Matched as well when it was confirmed, but had arrived or changed after the preview.
    late: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    paused_at: Mapped[datetime | None] = _instant(nullable=True)
    finished_at: Mapped[datetime | None] = _instant(nullable=True)
    cancelled_by: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index("ix_bulk_actions_open", "id", postgresql_where=text("finished_at IS NULL")),
    )

    @property
    def state(self) -> str:
        if self.cancelled_by:
            return "stopped"
        if self.finished_at:
            return "finished"
        return "paused" if self.paused_at else "running"


class BulkItem(Model):
    """A job of a bulk action."""

    __tablename__ = "bulk_items"

    bulk_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("bulk_actions.id", ondelete="CASCADE"), primary_key=True
    )
    job_id: Mapped[UUID] = mapped_column(Id, primary_key=True)
    result: Mapped[str | None] = mapped_column(Text)  # done, skipped; NULL: still to do
    #: updated_at of the job when the action was confirmed; NULL: written by a release that did not keep it.
    job_updated_at: Mapped[datetime | None] = _instant(nullable=True)

    __table_args__ = (
        CheckConstraint("result IN ('done', 'skipped')", name="ck_bulk_items_result"),
        Index("ix_bulk_items_open", "bulk_id", "job_id", postgresql_where=text("result IS NULL")),
    )
