"""The processes that run jobs, and the job types that none of them knows."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.jobs.models.columns import Id, Instant, Model, instant


class WorkerRow(Model):
    """One consumer process; written by its heartbeat."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(Id, primary_key=True)  # new at each start
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int]
    version: Mapped[str] = mapped_column(Text)
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text))  # empty: all
    types: Mapped[list[str] | None] = mapped_column(ARRAY(Text))  # it claims; NULL: every type
    #: The schedules that its code declares; NULL: written by a release without schedules.
    schedules: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    #: The limits that its code declares, and "type=limit" for what it attaches; NULL: it knows no limits.
    limits: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    threads: Mapped[int]
    live_threads: Mapped[int]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    #: [{"jobId", "type", "attempt", "since"}] as of heartbeat_at
    running: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    completed: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    #: Endings of attempts that were not stored: the lease was lost, or the values could not be stored.
    refused: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    started_at: Mapped[datetime] = instant(default_now=True)
    heartbeat_at: Mapped[datetime] = instant(default_now=True)
    stop_requested_at: Mapped[datetime | None] = instant(nullable=True)  # by a person
    stopping_at: Mapped[datetime | None] = instant(nullable=True)
    stopped_at: Mapped[datetime | None] = instant(nullable=True)


class UnknownType(Model):
    """A job type whose jobs wait while no live worker knows it; NULLs: a worker knows it again."""

    __tablename__ = "type_switches"  # until migration 0013 it held the pauses of types as well

    type: Mapped[str] = mapped_column(Text, primary_key=True)
    since: Mapped[datetime | None] = mapped_column("unknown_since", Instant)
    seen_at: Mapped[datetime | None] = mapped_column("unknown_seen_at", Instant)  # by a sweeper
