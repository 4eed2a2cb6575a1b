"""What people do, and who may: the audit log, bulk actions, API tokens, sessions, pauses."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app import clock
from app.jobs.models.columns import Id, Model, instant
from app.jobs.verbs import VERBS


class AuditEvent(Model):
    """Who did what to which jobs, queues or types."""

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = instant(default_now=True)
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)  # job.retry, queue.pause …
    subject: Mapped[str] = mapped_column(Text)  # a job id, a queue's name, "12 jobs"
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))

    __table_args__ = (Index("ix_audit_events_subject", "subject", "id"),)


class BulkAction(Model):
    """One verb for the jobs of a preview; done in chunks by a worker."""

    __tablename__ = "bulk_actions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    verb: Mapped[str] = mapped_column(Text)  # retry, run, cancel, delete, discard, edit, undo
    #: Of edit: the changes. Of undo: {"verb": …}, the undone one.
    args: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    description: Mapped[str] = mapped_column(Text)  # the filter, in words
    #: The filter as the list's query string, for a link back.
    scope: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=text("'{}'"))
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = instant(default_now=True)
    total: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    done: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    refused: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    #: Jobs that matched at the confirmation, but arrived or changed after the preview.
    late: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    #: Of actions without next_at: paused by a person. The others have it set as well, which keeps workers of the
    #: previous release from them.
    paused_at: Mapped[datetime | None] = instant(nullable=True)
    held_at: Mapped[datetime | None] = instant(nullable=True)  # paused by a person
    #: The next chunk does not begin before; NULL: written by an older release.
    next_at: Mapped[datetime | None] = instant(nullable=True)
    started_at: Mapped[datetime | None] = instant(nullable=True)  # of the first chunk
    finished_at: Mapped[datetime | None] = instant(nullable=True)
    cancelled_by: Mapped[str | None] = mapped_column(Text)
    per_second: Mapped[int | None]  # jobs a second at most; NULL: as fast as possible
    undo_of: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("bulk_actions.id", name="fk_bulk_actions_undo_of")
    )
    preview_key: Mapped[str | None] = mapped_column(Text)  # of the preview that was confirmed

    __table_args__ = (
        Index("ix_bulk_actions_open", "id", postgresql_where=text("finished_at IS NULL")),
        Index(
            "ix_bulk_actions_undo_of", "undo_of", postgresql_where=text("undo_of IS NOT NULL")
        ),
        Index(
            "ix_bulk_actions_preview_key", "preview_key",
            postgresql_where=text("preview_key IS NOT NULL"),
        ),
    )  # fmt: skip

    @property
    def role(self) -> str:
        """Who may control it: the role of its verb, or of the verb that it undoes."""
        return VERBS[self.args["verb"] if self.undo_of else self.verb].role

    @property
    def is_paused(self) -> bool:
        return (self.held_at if self.next_at else self.paused_at) is not None

    @property
    def has_begun(self) -> bool:
        """Whether a chunk was carried out, so that jobs may have changed."""
        return self.started_at is not None or self.done + self.refused > 0

    @property
    def state(self) -> str:
        """starting (in the grace period), running, paused, finished, stopped, or undone: stopped before it began."""
        if self.cancelled_by:
            return "stopped" if self.has_begun or not self.next_at else "undone"
        if self.finished_at:
            return "finished"
        if self.is_paused:
            return "paused"
        is_waiting = self.next_at is not None and self.next_at > clock.now()
        return "starting" if is_waiting and not self.has_begun else "running"


class BulkItem(Model):
    """A job of a bulk action."""

    __tablename__ = "bulk_items"

    bulk_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("bulk_actions.id", ondelete="CASCADE"), primary_key=True
    )
    job_id: Mapped[UUID] = mapped_column(Id, primary_key=True)
    result: Mapped[str | None] = mapped_column(Text)  # done, skipped; NULL: not done yet
    #: updated_at of the job at the confirmation; NULL: written by an older release.
    job_updated_at: Mapped[datetime | None] = instant(nullable=True)
    #: When its chunk was carried out, which is updated_at of the changed job.
    done_at: Mapped[datetime | None] = instant(nullable=True)
    #: The former values of the columns that the verb changed; NULL: it can't be undone for this job.
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))

    __table_args__ = (
        CheckConstraint("result IN ('done', 'skipped')", name="ck_bulk_items_result"),
        Index("ix_bulk_items_open", "bulk_id", "job_id", postgresql_where=text("result IS NULL")),
    )


class ApiToken(Model):
    """A token created with ``flask tokens``; only its hash is stored."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)  # viewer, operator, admin
    hash: Mapped[str] = mapped_column(Text)  # SHA-256, hex
    created_at: Mapped[datetime] = instant(default_now=True)
    revoked_at: Mapped[datetime | None] = instant(nullable=True)

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
    address: Mapped[str] = mapped_column(Text)  # at sign-in
    created_at: Mapped[datetime] = instant(default_now=True)
    used_at: Mapped[datetime] = instant(
        default_now=True
    )  # to the minute; automatic refreshes don't count
    expires_at: Mapped[datetime] = instant()

    __table_args__ = (
        Index("ix_sessions_user_name", "user_name"),
        Index("ix_sessions_expires_at", "expires_at"),
    )


class Pause(Model):
    """A queue or a job type that a person paused; others have no row."""

    __tablename__ = "pauses"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)  # queue, type
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    paused_at: Mapped[datetime] = instant(default_now=True)
    paused_by: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (CheckConstraint("kind IN ('queue', 'type')", name="ck_pauses_kind"),)
