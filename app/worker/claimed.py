"""A job that this process holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row


@dataclass(slots=True, eq=False)
class Claimed:
    """A job that this process holds a lease on; from ``queue`` on its columns as lifecycle.claim orders them."""

    id: UUID
    token: UUID
    claimed_at: float  # monotonic
    queue: str
    type: str
    payload: dict[str, Any]
    attempt: int
    max_attempts: int
    timeout_seconds: float | None
    crashes: int
    tags: list[str]
    priority: int
    run_at_ms: int
    limit_name: str | None = None

    @classmethod
    def of(cls, row: Row[Any], token: UUID, claimed_at: float) -> Claimed:
        """A row of lifecycle.claim. By position: reading its columns by name took half of a claim."""
        id, *columns, _ = tuple(row)
        return cls(id, token, claimed_at, *columns)
