"""What Redis should know of a job, and publishing it once its transaction has committed.

A publication is a hint: losing one changes when a job runs, never whether it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import current_app
from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

from app.broker.publisher import Publisher
from app.broker.refs import Ref as Ref
from app.database import Db

#: The columns of jobs that make a reference; the row that a statement returns with them goes to ref().
REF = """id, type, queue, priority, run_at <= now() AS is_due,
    (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms,
    CASE WHEN hold <> 0 THEN limit_name END AS held_by"""


def ref(row: Any) -> Ref:
    """The reference of a row that has the columns REF."""
    return Ref(row.id, row.queue, row.priority, row.run_at_ms, row.is_due, row.type, row.held_by)


def current_publisher() -> Publisher:
    """The application's publisher, which create_app() creates."""
    publisher: Publisher = current_app.extensions["publisher"]
    return publisher


def is_redis_up() -> bool:
    """Whether Redis responds and accepts writes."""
    try:
        current_publisher().probe()
    except Exception:  # whatever the Redis client raises: it does not answer
        return False
    return True


def after_commit(db: Db, refs: Iterable[Ref]) -> None:
    """Publish ``refs`` once the transaction they belong to has committed."""
    if isinstance(db, Connection):
        _require_autocommit(db)
        current_publisher().publish(list(refs))
        return
    db.info.setdefault("publish", []).extend(refs)


def hint_after_commit(db: Db, hint: str) -> None:
    """Wake a worker's pacer (see app.broker.pace) once the transaction has committed."""
    if isinstance(db, Connection):
        _require_autocommit(db)
        current_publisher().hint({hint})
        return
    db.info.setdefault("hints", set()).add(hint)


@contextmanager
def savepoint(session: Session) -> Iterator[None]:
    """A savepoint; if it is rolled back, nothing of it is published after the commit."""
    refs, hints = list(session.info.get("publish", ())), set(session.info.get("hints", ()))
    try:
        with session.begin_nested():
            yield
    except BaseException:
        session.info.update(publish=refs, hints=hints)
        raise


def _require_autocommit(db: Connection) -> None:
    # Asked of the driver: get_isolation_level() is a round trip, and never says AUTOCOMMIT.
    if not db.connection.dbapi_connection.autocommit:  # type: ignore[union-attr]
        raise RuntimeError("a bare connection must be in autocommit to publish")


@event.listens_for(Session, "after_commit")
def _publish(session: Session) -> None:
    # A released savepoint also reports a commit; only the outermost transaction's is one.
    if session.in_nested_transaction():
        return
    refs = session.info.pop("publish", None)
    if refs:
        current_publisher().publish(refs)
    hints = session.info.pop("hints", None)
    if hints:
        current_publisher().hint(hints)


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop("publish", None)
    session.info.pop("hints", None)
