"""What happened to a job: attempts, log lines, dead letters; and what was enqueued once."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.jobs.models.columns import Id, Model, instant


class JobAttempt(Model):
    """One attempt that did not complete, or several that were returned. Completed attempts have no row."""

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
    fingerprint: Mapped[str | None] = mapped_column(Text)  # its error group; stays
    worker_id: Mapped[UUID | None] = mapped_column(Id)
    started_at: Mapped[datetime] = instant()
    ended_at: Mapped[datetime] = instant(default_now=True)
    #: Attempts returned for the same reason share this row: how many, and when the first ended
    #: (NULL: only one).
    times: Mapped[int] = mapped_column(server_default=text("1"))
    since: Mapped[datetime | None] = instant(nullable=True)
    retry_at: Mapped[datetime | None] = instant(nullable=True)

    __table_args__ = (
        Index(
            "ix_job_attempts_fingerprint",
            "fingerprint",
            "ended_at",
            postgresql_where=text("fingerprint IS NOT NULL"),
        ),
    )

    OUTCOMES = ("failed", "crashed", "timed_out", "released", "snoozed", "cancelled")


class JobLogLine(Model):
    """One line a handler logged; capped per job by MAX_LOG_LINES."""

    __tablename__ = "job_log_lines"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    at: Mapped[datetime] = instant(default_now=True)
    level: Mapped[str] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("ix_job_log_lines_job", "job_id", "id"),)


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
    failed_at: Mapped[datetime] = instant(default_now=True)
    closed_at: Mapped[datetime | None] = instant(nullable=True)
    closed_by: Mapped[str | None] = mapped_column(Text)
    closed_how: Mapped[str | None] = mapped_column(Text)  # retried, discarded

    __table_args__ = (
        CheckConstraint("(closed_at IS NULL) = (closed_how IS NULL)", name="ck_dead_letters_closed"),
        # One open dead letter per job; also used to find it.
        Index("uq_dead_letters_open", "job_id", unique=True,
              postgresql_where=text("closed_at IS NULL")),
        Index("ix_dead_letters_job", "job_id"),
        # The list and the mirror: newest first.
        Index("ix_dead_letters_failed_at", "failed_at", "job_id",
              postgresql_where=text("closed_at IS NULL")),
        Index("ix_dead_letters_discarded", "closed_at", "job_id",
              postgresql_where=text("closed_how = 'discarded'")),
    )  # fmt: skip


class DeadLetterChange(Model):
    """A change of the open dead letters that Redis has not seen yet; written by a trigger."""

    __tablename__ = "dead_letter_changes"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    is_open: Mapped[bool]  # True: pushed; False: removed
    letter: Mapped[dict[str, Any]] = mapped_column(JSONB)


class JobKey(Model):
    """An Idempotency-Key, kept for IDEMPOTENCY_HOURS: same body → first job, other body → refused."""

    __tablename__ = "job_keys"

    scope: Mapped[str] = mapped_column(Text, primary_key=True)  # name of the token
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    body_hash: Mapped[str] = mapped_column(Text)
    job_id: Mapped[UUID] = mapped_column(Id)
    created_at: Mapped[datetime] = instant(default_now=True)

    __table_args__ = (Index("ix_job_keys_created", "created_at"),)
