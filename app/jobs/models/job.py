"""The row of a job."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app import clock
from app.jobs.bounds import MAX_PRIORITY, MIN_PRIORITY
from app.jobs.models.columns import Id, Model, instant
from app.jobs.statuses import CANCELLED, FINAL, LIVE, PENDING, STATUSES, has_one_of
from app.jobs.verbs import VERBS

UNIQUE_KEY_IS_LIVE = f"unique_key IS NOT NULL AND {has_one_of(LIVE)}"


class Job(Model):
    """One request to run a type."""

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(Id, primary_key=True)  # UUIDv7
    queue: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)  # always an object
    priority: Mapped[int] = mapped_column(server_default=text("0"))  # higher first
    status: Mapped[str] = mapped_column(Text, server_default=text("'pending'"))
    attempts: Mapped[int] = mapped_column(
        server_default=text("0")
    )  # started, without those returned
    max_attempts: Mapped[int] = mapped_column(server_default=text("5"))
    run_at: Mapped[datetime] = instant(default_now=True)  # not started before; moved by backoff
    expires_at: Mapped[datetime | None] = instant(nullable=True)  # not started after
    timeout_seconds: Mapped[float | None]  # per attempt; NULL: the type's
    lease_token: Mapped[UUID | None] = mapped_column(Id)  # set by claim; the fence
    worker_id: Mapped[UUID | None] = mapped_column(Id)  # who holds or last held it
    leased_until: Mapped[datetime | None] = instant(nullable=True)  # extended by heartbeat
    crashes: Mapped[int] = mapped_column(server_default=text("0"))  # rescues so far
    cancel_requested_at: Mapped[datetime | None] = instant(nullable=True)
    unique_key: Mapped[str | None] = mapped_column(Text)  # unique while pending or processing
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    result: Mapped[Any] = mapped_column(JSONB, nullable=True)  # what the handler returned
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    last_error: Mapped[str | None] = mapped_column(Text)  # one line, of the last attempt
    #: The error group of an open failure (type, exception, place); NULL once it is resolved.
    fingerprint: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = instant(default_now=True)
    updated_at: Mapped[datetime] = instant(default_now=True)  # heartbeats leave it
    started_at: Mapped[datetime | None] = instant(nullable=True)  # of the last attempt
    finished_at: Mapped[datetime | None] = instant(nullable=True)  # final statuses only
    #: What keeps it from being claimed: holds.FREE, AT_LIMIT or LIMITED_LATER.
    hold: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    limit_name: Mapped[str | None] = mapped_column(Text)
    limit_key: Mapped[str | None] = mapped_column(Text)  # NULL: under no limit
    admitted_at: Mapped[datetime | None] = instant(nullable=True)  # by its limit, the last time

    #: What the API says of what it waits for at its limit (limits.waiting); set by what shows it.
    waiting_for: ClassVar[dict[str, Any] | None] = None

    __table_args__ = (
        CheckConstraint(has_one_of(STATUSES), name="ck_jobs_status"),
        CheckConstraint(f"priority BETWEEN {MIN_PRIORITY} AND {MAX_PRIORITY}", name="ck_jobs_priority"),
        CheckConstraint("attempts >= 0 AND crashes >= 0 AND max_attempts >= 1",
                        name="ck_jobs_attempts"),
        CheckConstraint("jsonb_typeof(payload) = 'object'", name="ck_jobs_payload"),
        CheckConstraint("(status = 'processing') = (lease_token IS NOT NULL) AND "
                        "(status = 'processing') = (leased_until IS NOT NULL) AND "
                        "(status <> 'processing' OR (worker_id IS NOT NULL AND "
                        "started_at IS NOT NULL))", name="ck_jobs_lease"),
        CheckConstraint(f"({has_one_of(FINAL)}) = "
                        "(finished_at IS NOT NULL)", name="ck_jobs_finished"),
        CheckConstraint("cancel_requested_at IS NULL OR status = 'processing'",
                        name="ck_jobs_cancel"),
        CheckConstraint("(hold = 0 OR hold IN (1, 3) AND status = 'pending' AND limit_name IS NOT NULL) "
                        "AND (limit_name IS NULL) = (limit_key IS NULL)", name="ck_jobs_hold"),
        # Publishing everything again in claim order; the window of reconcile; a queue's next job.
        Index("ix_jobs_claim_order", "queue", text("priority DESC"), "run_at", "id",
              postgresql_where=text("status = 'pending' AND hold = 0")),
        # Who is next at a limit, key by key; what is under one and not due; slots in use.
        Index("ix_jobs_at_limit", "limit_name", "limit_key", text("priority DESC"), "run_at", "id",
              postgresql_where=text("hold = 1")),
        Index("ix_jobs_limited_later", "run_at", "id", postgresql_where=text("hold = 3")),
        Index("ix_jobs_admitted", "limit_name", "limit_key", postgresql_include=["status"],
              postgresql_where=text("limit_name IS NOT NULL AND hold = 0 AND "
                                    "status IN ('pending', 'processing')")),
        # Oldest due job; who runs next; how many are scheduled.
        Index("ix_jobs_run_at", "run_at", "id", postgresql_where=text("status = 'pending'")),
        Index("ix_jobs_retrying_run_at", "run_at", "id",
              postgresql_where=text("status = 'pending' AND attempts > 0")),
        # Who finished last.
        Index("ix_jobs_finished", "status", "finished_at", "id",
              postgresql_where=text("finished_at IS NOT NULL")),
        # ix_jobs_id_end, on the last eight digits of the ids that don't run, is in its migration alone:
        # Alembic can't compare indexes on expressions.
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
        # How many jobs are in an error group, and which.
        Index("ix_jobs_fingerprint", "fingerprint", "id", postgresql_include=["status"],
              postgresql_where=text("fingerprint IS NOT NULL")),
        Index("ix_jobs_expires", "expires_at",
              postgresql_where=text("status = 'pending' AND expires_at IS NOT NULL")),
        Index("uq_jobs_unique_key", "unique_key", unique=True,
              postgresql_where=text(UNIQUE_KEY_IS_LIVE)),
        Index("ix_jobs_tags", "tags", postgresql_using="gin",
              postgresql_where=text("tags <> '{}'")),
        # Room on the page, so that heartbeats and progress stay HOT updates.
        {"postgresql_with": {"fillfactor": 85}},
    )  # fmt: skip

    @property
    def limit(self) -> dict[str, Any] | None:
        """The limit that it is under, and its key there."""
        if self.limit_name is None:
            return None
        return {"name": self.limit_name, "key": self.limit_key}

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
        """Whether a retry schedules it again: cancelled before its run_at."""
        return self.status == CANCELLED and self.run_at > clock.now()

    @property
    def cancel_requested(self) -> bool:
        return self.cancel_requested_at is not None

    def can(self, verb: str) -> bool:
        """Whether ``verb`` (a key of VERBS) applies to the job in its current state."""
        if verb == "cancel" and self.cancel_requested:
            return False
        if verb == "run" and self.next_run_at is None:
            return False
        return self.status in VERBS[verb].from_statuses
