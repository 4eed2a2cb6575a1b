"""Two deployments on one Redis: neither loses jobs to the other, and both are named in the log.

REDIS_PREFIX gives each its own keys. Without it, each pops ids that its own database does not know;
it offers these to the workers of the other deployment instead of dropping them.
"""

from __future__ import annotations

import logging

from sqlalchemy import Engine, text

from app.broker.ready_set import ReadySet
from app.database import autocommit, id_array
from app.jobs import deployment
from app.jobs.publication import REF, ref

log = logging.getLogger(__name__)

#: The jobs of ids that came from Redis, as the database knows them.
KNOWN = text(f"""
SELECT {REF}, status = 'pending' AS is_pending, hold FROM jobs WHERE id = ANY(CAST(:ids AS uuid[]))
""")


class Offers:
    """Takes over the jobs of this database that workers of other databases popped. One per process."""

    def __init__(self, engine: Engine, ready: ReadySet) -> None:
        self._engine = engine
        self._ready = ready
        self._seen: dict[str, float] = {}

    def take_own(self) -> int:
        """Check each offered id once; returns how many were ours."""
        offered = self._ready.passed_on()
        unseen = [i for i, at in offered.items() if self._seen.get(i) != at]
        self._seen = offered
        if not unseen:
            return 0
        with autocommit(self._engine) as db:
            rows = db.execute(KNOWN, {"ids": id_array(unseen)}).all()
        # Taken over before it is published: the other deployment may pop and offer it again at once.
        self._ready.take_over(row.id for row in rows)
        self._ready.publish([ref(row) for row in rows if row.is_pending])
        return len(rows)


class Registration:
    """Registers this deployment in Redis, and reports others that use the same keys."""

    def __init__(self, engine: Engine, ready: ReadySet) -> None:
        self._engine = engine
        self._ready = ready
        self._identity: str | None = None
        #: Other deployments that used the same keys at the last registration.
        self.others: list[str] = []

    def register(self) -> int:
        """Announce our database; warn once if workers of another one use the same keys."""
        others = self._ready.register_deployment(self.identity())
        if others and others != self.others:
            log.warning(
                "Another deployment uses the same Redis keys (database %s), so jobs of both may"
                " start late; set REDIS_PREFIX to a different name in each.", ", ".join(others),
            )  # fmt: skip
        self.others = others
        return 0

    def identity(self) -> str:
        """The name of our database, read once."""
        if self._identity is None:
            with self._engine.connect() as connection:
                self._identity = deployment.identity(connection)
        return self._identity
