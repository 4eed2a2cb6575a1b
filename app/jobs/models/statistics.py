"""Counts, kept by triggers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.jobs.models.columns import Instant, Model


class JobCounter(Model):
    """Folded counts; exact together with the deltas. Written by triggers and fold only."""

    __tablename__ = "job_counters"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    type: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(Text, primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)


class JobWaiting(Model):
    """Pending jobs that were tried before, or were scheduled when written; exact with the deltas.

    Written by triggers and fold only.
    """

    __tablename__ = "job_waiting"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    is_retry: Mapped[bool] = mapped_column(primary_key=True)
    #: The minute in which they start; −infinity: they were due.
    minute: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)


class JobSeries(Model):
    """Attempts per minute, type, outcome, and bucket of run time and wait time.

    A bucket b of 4·log2(µs) covers 2^(b/4)…2^((b+1)/4) µs. ``enqueued`` has buckets −1.
    """

    __tablename__ = "job_series"

    minute: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    type: Mapped[str] = mapped_column(Text, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text, primary_key=True)  # OUTCOMES
    run_bucket: Mapped[int] = mapped_column(primary_key=True)
    wait_bucket: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)

    #: retried: a failed attempt that will run again; failed: the last attempt.
    OUTCOMES = ("enqueued", "completed", "retried", "failed", "cancelled")


class JobMinute(Model):
    """Attempts per minute and outcome over all types, kept for a week."""

    __tablename__ = "job_minutes"

    minute: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text, primary_key=True)  # JobSeries.OUTCOMES
    n: Mapped[int] = mapped_column(BigInteger)
