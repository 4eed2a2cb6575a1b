"""Jobs whose worker stopped sending heartbeats go back to pending."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine

from app.broker.pace import Pace, limit_hint
from app.broker.ready_set import ReadySet
from app.config import Settings
from app.database import elected
from app.jobs import lifecycle, pulses
from app.jobs.publication import ref

log = logging.getLogger(__name__)


def rescue_jobs(engine: Engine, ready: ReadySet, *, watched: Settings | None = None) -> int:
    """Return jobs whose lease expired to pending, or bury them after their last crash; returns how many.

    With ``watched``, only records a pulse until the database has been observed for a whole lease.
    """
    rows: Sequence[Any] = []
    with elected(engine, "rescue") as db:
        if db is not None and (watched is None or pulses.beat(db, watched)):
            rows = lifecycle.rescue(db)
    for row in rows:
        log.warning(
            "Rescued job %s (%s): its worker stopped sending heartbeats; the job is now %s",
            row.id, row.type, row.status,
        )  # fmt: skip
    ready.publish([ref(row) for row in rows if row.status == "pending"])
    # Their slots are free.
    Pace(ready).add({limit_hint(row.limit_name) for row in rows if row.limit_name})
    return len(rows)
