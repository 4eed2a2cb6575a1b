"""One process at a time does a duty of the fleet, by an advisory lock of a short transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

#: A process that the network has cut off in the middle of a duty loses its transaction after this long: else
#: PostgreSQL keeps its lock until TCP gives up, which by default is hours, and nobody else may do the duty.
IDLE_SECONDS = 10


@contextmanager
def elected(engine: Engine, name: str) -> Iterator[Connection | None]:
    """A short transaction of the one process that may do ``name`` now; None in the others."""
    with engine.begin() as db:
        # Local to the transaction, as a pooler in transaction mode demands.
        lock = text(
            "SELECT pg_try_advisory_xact_lock(hashtext(:name)),"
            " set_config('idle_in_transaction_session_timeout', :idle, true)"
        )
        values = {"name": f"jobqueue.{name}", "idle": f"{IDLE_SECONDS}s"}
        yield db if db.execute(lock, values).scalar() else None
