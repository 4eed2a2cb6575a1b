"""Groups of failures: their state, and how often they fail."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.jobs.models.columns import Instant, Model, instant


class ErrorGroupRow(Model):
    """A group of failed attempts. A trigger inserts it; app.jobs.error_group_states changes it."""

    __tablename__ = "error_groups"

    fingerprint: Mapped[str] = mapped_column(Text, primary_key=True)  # 12 hex digits
    # Of the first attempt.
    type: Mapped[str] = mapped_column(Text)
    error_class: Mapped[str | None] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    first_seen_at: Mapped[datetime] = instant()
    #: Of the worker; NULL: the worker's row was deleted before.
    first_version: Mapped[str | None] = mapped_column(Text)
    last_seen_at: Mapped[datetime] = instant()  # as of the last fold
    state: Mapped[str] = mapped_column(Text, server_default=text("'new'"))  # STATES
    changed_at: Mapped[datetime] = instant(default_now=True)
    changed_by: Mapped[str | None] = mapped_column(Text)  # NULL: no person
    muted_per_hour: Mapped[float | None]  # its rate when it was muted
    # reopened: what it was before, who had set that, when; and the version of the worker that failed again.
    former_state: Mapped[str | None] = mapped_column(Text)
    former_by: Mapped[str | None] = mapped_column(Text)
    former_at: Mapped[datetime | None] = instant(nullable=True)
    reopened_version: Mapped[str | None] = mapped_column(Text)

    STATES = ("new", "known", "muted", "resolved", "reopened")

    __table_args__ = (
        CheckConstraint("state IN ('new', 'known', 'muted', 'resolved', 'reopened')",
                        name="ck_error_groups_state"),
        CheckConstraint("(state = 'muted') = (muted_per_hour IS NOT NULL)",
                        name="ck_error_groups_muted"),
        CheckConstraint("(state = 'reopened') = (former_state IS NOT NULL)",
                        name="ck_error_groups_former"),
        Index("ix_error_groups_last_seen", "last_seen_at", "fingerprint"),
        {"postgresql_with": {"fillfactor": 70}},
    )  # fmt: skip


class ErrorGroupHour(Model):
    """Failed attempts of a group in an hour (UTC), as of the last fold."""

    __tablename__ = "error_group_hours"

    fingerprint: Mapped[str] = mapped_column(Text, primary_key=True)
    hour: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        Index("ix_error_group_hours_hour", "hour"),
        {"postgresql_with": {"fillfactor": 70}},
    )
