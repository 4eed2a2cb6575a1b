"""The column types of all tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, func
from sqlalchemy.dialects.postgresql import UUID as PgUUID
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Base, db

if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model

Instant = DateTime(timezone=True)
Id = PgUUID(as_uuid=True)


def instant(*, nullable: bool = False, default_now: bool = False) -> Mapped[Any]:
    """A timestamp with time zone; ``default_now``: the database clock fills it in."""
    return mapped_column(
        Instant, nullable=nullable, server_default=func.now() if default_now else None
    )
