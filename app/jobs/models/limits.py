"""Limits: their numbers, what is attached to them, and what is known of single keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.jobs.models.columns import Id, Model, instant


class LimitRow(Model):
    """A limit: how many of its jobs run at the same time and start in a time, in all and per key."""

    __tablename__ = "limits"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    source: Mapped[str] = mapped_column(Text)  # code, api
    by_field: Mapped[str | None] = mapped_column(Text)  # path of the payload's field with the key
    concurrency: Mapped[int | None]
    rate_count: Mapped[int | None]
    rate_seconds: Mapped[float | None]
    burst: Mapped[int | None]
    key_concurrency: Mapped[int | None]
    key_rate_count: Mapped[int | None]
    key_rate_seconds: Mapped[float | None]
    key_burst: Mapped[int | None]
    #: Numbers that an operator set, by the names of their columns.
    override: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    overridden_by: Mapped[str | None] = mapped_column(Text)
    overridden_at: Mapped[datetime | None] = instant(nullable=True)
    #: When the tokens taken so far would have come one by one (GCRA); moved by the claim.
    tat: Mapped[datetime | None] = instant(nullable=True)
    turn: Mapped[str] = mapped_column(Text, server_default=text("''"))  # the key admitted last
    wake_at: Mapped[datetime | None] = instant(nullable=True)  # when the next token is there
    blocked_until: Mapped[datetime | None] = instant(nullable=True)  # by Throttle
    paused_at: Mapped[datetime | None] = instant(nullable=True)
    paused_by: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = instant(default_now=True)

    __table_args__ = (
        CheckConstraint("source IN ('code', 'api')", name="ck_limits_source"),
        {"postgresql_with": {"fillfactor": 50}},
    )


class LimitKey(Model):
    """A key with a rate in use, an exception or a pause; other keys have no row."""

    __tablename__ = "limit_keys"

    limit_name: Mapped[str] = mapped_column(
        Text, ForeignKey("limits.name", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    concurrency: Mapped[int | None]  # instead of the limit's
    tat: Mapped[datetime | None] = instant(nullable=True)
    blocked_until: Mapped[datetime | None] = instant(nullable=True)
    paused_at: Mapped[datetime | None] = instant(nullable=True)
    paused_by: Mapped[str | None] = mapped_column(Text)

    __table_args__ = ({"postgresql_with": {"fillfactor": 70}},)


class LimitAttachment(Model):
    """A job type or queue that is under a limit. A job is under its type's limit, else its queue's."""

    __tablename__ = "limit_attachments"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)  # queue, type
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    limit_name: Mapped[str] = mapped_column(Text, ForeignKey("limits.name"))
    attached_at: Mapped[datetime] = instant(default_now=True)
    attached_by: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text, server_default=text("'api'"))  # code, api

    __table_args__ = (
        CheckConstraint("kind IN ('queue', 'type')", name="ck_limit_attachments_kind"),
        CheckConstraint("source IN ('code', 'api')", name="ck_limit_attachments_source"),
        Index("ix_limit_attachments_limit", "limit_name"),
    )


class LimitMove(Model):
    """A type, queue or limit whose pending jobs are being moved to where they belong now."""

    __tablename__ = "limit_moves"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)  # queue, type, limit
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    after_id: Mapped[UUID | None] = mapped_column(Id)  # where the walk over pending jobs is
    done: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # jobs moved so far
    started_at: Mapped[datetime] = instant(default_now=True)
    started_by: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("kind IN ('queue', 'type', 'limit')", name="ck_limit_moves_kind"),
    )
