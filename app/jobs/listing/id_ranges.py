"""Ranges of ids: by the first digits, and by the instant that an id begins with."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

from app.jobs import ids

FIRST_ID, LAST_ID = UUID(int=0), UUID(int=(1 << 128) - 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def id_prefix_range(prefix: str) -> tuple[UUID, UUID]:
    """The first and last id with that prefix; an empty range if no id can have it."""
    digits = prefix.replace("-", "").lower()
    if not re.fullmatch("[0-9a-f]{1,32}", digits):
        return LAST_ID, FIRST_ID
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def first_id(instant: datetime) -> UUID:
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    # Ids start in 1970; PostgreSQL and Python end long before 48 bits of milliseconds do.
    if instant < _EPOCH:
        return FIRST_ID
    # The middle of its millisecond, so that rounding never leads into the one before.
    return ids.first_id_at(instant.replace(microsecond=instant.microsecond // 1000 * 1000 + 500))
