"""Schedules, and the history of their ticks."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.jobs.models.columns import Id, Instant, Model, instant


class ScheduleRow(Model):
    """When jobs of a type are made, and what they contain. Written by app.jobs.schedules only."""

    __tablename__ = "schedules"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)  # code, api
    # Of its jobs; NULL means the default of the type.
    type: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    queue: Mapped[str | None] = mapped_column(Text)
    priority: Mapped[int | None]
    max_attempts: Mapped[int | None]
    timeout_seconds: Mapped[float | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    unique_key: Mapped[str | None] = mapped_column(Text)  # with overlap "allow" only
    # When: one of the two.
    cron: Mapped[str | None] = mapped_column(Text)
    every_seconds: Mapped[int | None]
    zone: Mapped[str] = mapped_column(Text, server_default=text("'UTC'"))
    #: Of the time zone database that next_run_at was computed with.
    zone_version: Mapped[str | None] = mapped_column(Text)
    #: No tick is earlier; intervals count from it.
    starts_at: Mapped[datetime] = mapped_column(
        Instant, server_default=text("date_trunc('second', now())")
    )
    ends_at: Mapped[datetime | None] = instant(nullable=True)  # no tick is later
    overlap: Mapped[str] = mapped_column(Text, server_default=text("'skip'"))
    missed: Mapped[str] = mapped_column(Text, server_default=text("'one'"))
    missed_within_seconds: Mapped[int] = mapped_column(server_default=text("86400"))
    jitter_seconds: Mapped[int] = mapped_column(server_default=text("0"))
    tick_field: Mapped[str | None] = mapped_column(Text)  # of the payload; gets the tick's time
    #: The next tick; NULL: paused, retired or ended.
    next_run_at: Mapped[datetime | None] = instant(nullable=True)
    last_tick_at: Mapped[datetime | None] = instant(nullable=True)
    paused_at: Mapped[datetime | None] = instant(nullable=True)  # by a person
    paused_by: Mapped[str | None] = mapped_column(Text)
    retired_at: Mapped[datetime | None] = instant(nullable=True)  # no live worker declares it
    declared_at: Mapped[datetime | None] = instant(nullable=True)  # by a worker that started
    created_by: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = instant(default_now=True)
    updated_at: Mapped[datetime] = instant(default_now=True)  # ticks leave it

    __table_args__ = (
        CheckConstraint("source IN ('code', 'api')", name="ck_schedules_source"),
        CheckConstraint("jsonb_typeof(payload) = 'object'", name="ck_schedules_payload"),
        CheckConstraint("every_seconds >= 1", name="ck_schedules_every"),
        CheckConstraint("num_nonnulls(cron, every_seconds) = 1", name="ck_schedules_rule"),
        CheckConstraint("overlap IN ('skip', 'allow', 'wait', 'replace')",
                        name="ck_schedules_overlap"),
        CheckConstraint("missed IN ('one', 'all', 'none')", name="ck_schedules_missed"),
        CheckConstraint("missed_within_seconds >= 0 AND jitter_seconds >= 0",
                        name="ck_schedules_seconds"),
        CheckConstraint("paused_at IS NULL AND retired_at IS NULL OR next_run_at IS NULL",
                        name="ck_schedules_rests"),
        Index("uq_schedules_name", "name", unique=True),
        Index("ix_schedules_due", "next_run_at", postgresql_where=text("next_run_at IS NOT NULL")),
        # Each tick writes a new version of the row.
        {"postgresql_with": {"fillfactor": 70}},
    )  # fmt: skip


class ScheduleTick(Model):
    """What became of a tick. No foreign key to jobs: the history outlives their retention."""

    __tablename__ = "schedule_ticks"

    schedule_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True
    )
    tick_at: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text)  # OUTCOMES
    #: The job of the tick; skipped: the live job.
    job_id: Mapped[UUID | None] = mapped_column(Id)
    #: missed and paused: how many ticks from tick_at to last_at.
    n: Mapped[int] = mapped_column(server_default=text("1"))
    last_at: Mapped[datetime | None] = instant(nullable=True)
    note: Mapped[str | None] = mapped_column(Text)
    made_at: Mapped[datetime] = instant(default_now=True)  # less tick_at it is the lag

    OUTCOMES = ("enqueued", "skipped", "missed", "paused", "manual", "failed")

    __table_args__ = (
        CheckConstraint(
            "outcome IN ('enqueued', 'skipped', 'missed', 'paused', 'manual', 'failed')",
            name="ck_schedule_ticks_outcome",
        ),
        CheckConstraint("n >= 1", name="ck_schedule_ticks_n"),
        # Which schedule made a job.
        Index("ix_schedule_ticks_job", "job_id", postgresql_where=text("job_id IS NOT NULL")),
        # What is older than the history.
        Index("ix_schedule_ticks_made_at", "made_at"),
        # Which schedules were in trouble lately.
        Index("ix_schedule_ticks_trouble", "made_at", "schedule_id",
              postgresql_where=text("outcome IN ('missed', 'failed')")),
    )  # fmt: skip
