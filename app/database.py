"""How every process talks to PostgreSQL: its engines, and connections that outlive their server's role."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import psycopg2
from sqlalchemy import Connection, Engine, Executable, Row, create_engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from app import clock, statement_timeouts
from app.config import Settings
from app.errors import DatabaseReadOnly

#: Gives ORM objects.
Reader = Session | scoped_session[Any]
#: Gives rows.
Database = Reader | Connection

READ_ONLY = "25006"
INSUFFICIENT_PRIVILEGE = "42501"
#: The server this connection leads to can't serve us any more: it became read-only (a failover that
#: left the sockets open), is shutting down or starting, or ended our session.
STALE = frozenset({READ_ONLY, "57P01", "57P02", "57P03", "25P03"})
LOST_IN_POOL = "the server closed a pooled connection"
#: A connection that was in the handlers' pool for longer is tried before it is used.
PING_AFTER_SECONDS = 1.0

#: If a worker loses the network in the middle of a duty, PostgreSQL ends its transaction after this long; otherwise
#: the lock lasts until TCP gives up, hours later, and no other process can do the duty.
IDLE_SECONDS = 10


def engine_options(settings: Settings) -> dict[str, Any]:
    """Options of every engine; safe behind PgBouncer in transaction mode."""
    return {
        # Each thread of the web may hold a connection, and one more to fold counters or publish.
        "pool_size": max(settings.database_pool_size, settings.web_threads + 2),
        "max_overflow": 0,
        # Statement parameters are payloads, which belong in no log outside development.
        "hide_parameters": not settings.sql_echo,
        "pool_timeout": 5,
        # A dead server is noticed after 15 s of silence, not after the kernel's two hours.
        "connect_args": {
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
            "application_name": "jobqueue",
        },
    }


def make_engine(settings: Settings, **options: Any) -> Engine:
    """An engine of its own, with ``options`` of create_engine over the usual ones."""
    return attend(create_engine(settings.database_url, **{**engine_options(settings), **options}))


def attend(engine: Engine) -> Engine:
    """Replace all pooled connections of ``engine`` once the server's role has changed, and read its clock; answers it."""
    if not event.contains(engine, "handle_error", _discard_stale):
        event.listen(engine, "handle_error", _discard_stale)
        event.listen(engine, "checkout", _read_clock)
    return engine


def _read_clock(raw: Any, _record: Any, _proxy: Any) -> None:
    if not clock.is_stale():
        return
    try:
        raw.autocommit = True
        asked_at = clock.steady()
        with raw.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            clock.observe(cursor.fetchone()[0], asked_at=asked_at)
        raw.autocommit = False
    except psycopg2.Error as error:
        raise DisconnectionError(LOST_IN_POOL) from error


def lend(engine: Engine) -> Engine:
    """Make ``engine`` the handlers': whatever one did to a connection, the next one gets it as new; answers it."""
    if not event.contains(engine, "reset", _cleanse):
        event.listen(engine, "reset", _cleanse)
        event.listen(engine, "checkin", _note_time)
        event.listen(engine, "checkout", _ping)
    return engine


def _cleanse(raw: Any, _record: Any, state: PoolResetState) -> None:
    # An error here makes the pool close the connection.
    if state.terminate_only:
        return
    raw.rollback()
    raw.set_session("DEFAULT", "DEFAULT", "DEFAULT", autocommit=True)
    with raw.cursor() as cursor:
        # Settings, role, temporary tables, advisory locks, listened channels, prepared statements.
        cursor.execute("DISCARD ALL")
        if not raw.get_parameter_status("DateStyle").startswith("ISO"):
            cursor.execute("SET datestyle TO 'ISO'")  # as the driver did when it connected
    raw.autocommit = False


def _note_time(_raw: Any, record: ConnectionPoolEntry) -> None:
    record.info["idle_since"] = time.monotonic()


def _ping(raw: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    # An attempt must not fail because the server closed a connection that lay in the pool.
    if time.monotonic() - record.info.get("idle_since", math.inf) < PING_AFTER_SECONDS:
        return
    try:
        raw.autocommit = True
        with raw.cursor() as cursor:
            cursor.execute("SELECT 1")
        raw.autocommit = False
    except psycopg2.Error as error:
        raise DisconnectionError(LOST_IN_POOL) from error


def _discard_stale(context: ExceptionContext) -> None:
    # SQLAlchemy knows closed sockets only. With this the failed connection is closed, and every other one
    # of the pool when it is next taken: the new ones go to the address again, and so to the new server.
    if sqlstate(context.original_exception) in STALE:
        context.is_disconnect = True


def sqlstate(error: BaseException | None) -> str | None:
    """The five characters PostgreSQL gave with ``error`` (or the driver's error inside it)."""
    code = getattr(getattr(error, "orig", error), "pgcode", None)
    return code if isinstance(code, str) else None


def require_writable(engine: Engine) -> None:
    """Raise DatabaseReadOnly, after dropping the pooled connections, where nothing can be stored now."""
    with engine.connect() as connection:
        is_read_only = connection.scalar(text("SELECT current_setting('transaction_read_only')"))
    if is_read_only == "on":
        # A statement that only reads never fails on a demoted server: leave that one, too.
        engine.dispose()
        raise DatabaseReadOnly


@contextmanager
def autocommit(engine: Engine) -> Iterator[Connection]:
    """A connection on which every statement is its own transaction, in one round trip.

    By the driver's switch: SQLAlchemy's isolation_level option costs two round trips more, one when
    the connection comes and one when it goes (117 µs of a POST's 1,560).
    Where a statement's limit of time needs a transaction, it is one, committed at the end.
    """
    if statement_timeouts.needs_transactions(engine):
        with engine.begin() as connection:
            yield connection
        return
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        raw.autocommit = True
        try:
            yield connection
        finally:
            with suppress(Exception):  # a lost connection has nothing to switch back
                raw.autocommit = False


@contextmanager
def elected(engine: Engine, duty: str | int, *, waits: bool = False) -> Iterator[Connection | None]:
    """A short transaction in the one process that may do ``duty`` now; None in all others.

    ``duty`` is a name, or the number of an advisory lock. With ``waits`` it waits for its turn.
    """
    key = "hashtext('jobqueue.' || :duty)" if isinstance(duty, str) else ":duty"
    lock = f"pg_advisory_xact_lock({key})" if waits else f"pg_try_advisory_xact_lock({key})"
    # Local to the transaction, as a pooler in transaction mode demands.
    idle = "set_config('idle_in_transaction_session_timeout', :idle, true)"
    values = {"duty": duty, "idle": f"{IDLE_SECONDS}s"}
    with engine.begin() as connection:
        is_ours = connection.execute(text(f"SELECT {lock}, {idle}"), values).scalar()
        yield connection if waits or is_ours else None


def id_array(ids: Iterable[UUID | str]) -> str:
    """``{<32 hex digits>,…}``: what ``CAST(:ids AS uuid[])`` reads; a string is taken as it is."""
    return "{" + ",".join(i.hex if isinstance(i, UUID) else i for i in ids) + "}"


def rows_in_order(
    db: Database, statement: Executable, parameters: dict[str, Any] | None = None
) -> list[Row[Any]]:
    """The rows of a statement whose order an index has, read from that index.

    With statistics from a minute when nothing was pending, all partial indexes look like one row;
    the planner then takes the lowest of them and sorts, which reads hundreds of thousands.
    """
    db.execute(text("SET LOCAL enable_sort = off"))
    rows = db.execute(statement, parameters or {}).all()
    db.execute(text("SET LOCAL enable_sort TO DEFAULT"))
    return list(rows)
