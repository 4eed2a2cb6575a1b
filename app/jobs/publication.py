"""The port to Redis: publish after commit. create_app() wires the adapter; the domain knows no Redis.

A publication is a hint: losing one changes when a job runs, never whether.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from flask import current_app
from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, scoped_session

#: What verbs take: a session (published after its commit) or a connection in autocommit.
Db = Session | scoped_session[Any] | Connection


@dataclass(frozen=True, slots=True)
class Ref:
    """What Redis may know of a pending job: enough to put it in its place, nothing else."""

    id: UUID
    queue: str
    priority: int
    run_at_ms: int  # since 1970, by the database clock
    is_due: bool
    type: str | None = None  # where it matters that the job may wait in the lane of its type


#: The columns of jobs that make a reference; the row that a statement returns with them goes to ref().
REF = """id, queue, priority, run_at <= now() AS is_due,
    (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms"""


def ref(row: Any) -> Ref:
    """The reference of a row that has the columns REF, and perhaps ``type``."""
    type_name = getattr(row, "type", None)
    return Ref(row.id, row.queue, row.priority, row.run_at_ms, row.is_due, type_name)


@dataclass(frozen=True, slots=True)
class Contents:
    """What stands in our keys in Redis."""

    wrong_types: list[str]  # keys that hold another type than ours
    foreign: int  # members that are no job id or no name of a queue
    ids: list[UUID]  # the first ones of each set
    deployments: list[str]  # the databases whose workers use these keys, as identity() names them


class ListOfOthers(Exception):
    """The list of dead letters is kept by another deployment; the message names the remedy."""


class Trigger(Protocol):
    """The Redis side, as the domain sees it. No method raises when Redis is away, unless it says so."""

    def publish(self, refs: Sequence[Ref]) -> bool:
        """Put each id into the ready or the delayed set. False: Redis did not take them."""

    def ping(self) -> None:
        """Raise within 250 ms if Redis does not answer or takes no writes."""

    def depths(self) -> dict[str, int] | None:
        """Ids in the ready set by queue, and "delayed"; None when Redis is away."""

    def mirror_dead_letters(self, *, rebuild: bool = False) -> int:
        """Bring the list job-dlq up to date; with ``rebuild``, write it anew. Entries written."""

    # For flask doctor; these raise when Redis is away.

    def facts(self) -> dict[str, str]:
        """``redis_version`` and ``maxmemory_policy``, where the server tells them."""

    def missing(self, refs: Sequence[Ref]) -> list[Ref]:
        """Those of ``refs`` that neither the ready nor the delayed set holds."""

    def mirrored_dead_letters(self) -> list[bytes] | None:
        """The entries of the list job-dlq; None when something else than a list is there."""

    def contents(self) -> Contents:
        """What is in our keys beside what belongs there."""

    def mend(self) -> int:
        """Drop what is foreign in our keys; how many members and keys."""


class _NoTrigger:
    """Before wiring (and in tests of the domain alone): nothing is published."""

    def publish(self, refs: Sequence[Ref]) -> bool:
        return False

    def ping(self) -> None:
        raise ConnectionError("no trigger is wired")

    def depths(self) -> dict[str, int] | None:
        return None

    def mirror_dead_letters(self, *, rebuild: bool = False) -> int:
        return 0

    def facts(self) -> dict[str, str]:
        raise ConnectionError("no trigger is wired")

    def missing(self, refs: Sequence[Ref]) -> list[Ref]:
        return []

    def mirrored_dead_letters(self) -> list[bytes] | None:
        return []

    def contents(self) -> Contents:
        return Contents([], 0, [], [])

    def mend(self) -> int:
        return 0


def current_trigger() -> Trigger:
    trigger: Trigger = current_app.extensions.get("trigger", _NoTrigger())
    return trigger


def is_redis_up() -> bool:
    """Whether Redis, which starts the jobs, answers and takes writes."""
    try:
        current_trigger().ping()
    except Exception:  # whatever the client of Redis raises: it does not answer
        return False
    return True


def after_commit(db: Db, refs: Iterable[Ref]) -> None:
    """Publish ``refs`` once the transaction they belong to has committed."""
    if isinstance(db, Connection):
        # Asked of the driver: get_isolation_level() is a round trip, and never says AUTOCOMMIT.
        if not db.connection.dbapi_connection.autocommit:  # type: ignore[union-attr]
            raise RuntimeError("a bare connection must be in autocommit to publish")
        current_trigger().publish(list(refs))
        return
    db.info.setdefault("publish", []).extend(refs)


@event.listens_for(Session, "after_commit")
def _publish(session: Session) -> None:
    # A released savepoint also reports a commit; only the outermost one has happened.
    if session.in_nested_transaction():
        return
    refs = session.info.pop("publish", None)
    if refs:
        current_trigger().publish(refs)


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop("publish", None)
