"""Engines and connections to PostgreSQL, for all processes; connections are replaced when the server's role changes."""

from __future__ import annotations

import math
import re
import time
from collections import namedtuple
from collections.abc import Iterable, Iterator, Sequence
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

#: A session: returns ORM objects.
DbSession = Session | scoped_session[Any]
#: A session or a connection: returns rows.
Db = DbSession | Connection

#: For a quick request, a slow one, the counters that one of them folds, and the combiner.
FEWEST_CONNECTIONS = 4

READ_ONLY = "25006"
INSUFFICIENT_PRIVILEGE = "42501"
#: SQLSTATEs of a connection whose server can no longer be used: it became read-only (a failover that left
#: the sockets open), is shutting down or starting, or ended our session.
STALE = frozenset({READ_ONLY, "57P01", "57P02", "57P03", "25P03"})
#: Classes of SQLSTATE: a value that can't be stored, a constraint, a limit of PostgreSQL.
DATA_ERRORS = ("22", "23", "54")
LOST_IN_POOL = "the server closed a pooled connection"
#: A connection that was in the handlers' pool for longer is tested before it is used.
PING_AFTER_SECONDS = 1.0

_NAMED = re.compile(r"(?<!:):(\w+)")

#: If a worker loses the network in the middle of a duty, PostgreSQL ends its transaction after this long; otherwise
#: the lock lasts until TCP gives up, hours later, and no other process can do the duty.
IDLE_SECONDS = 10


def engine_options(settings: Settings) -> dict[str, Any]:
    """Options of every engine; safe behind PgBouncer in transaction mode."""
    return {
        # Fewer than the web has threads: a thread that waits for the combiner holds none.
        "pool_size": max(settings.database_pool_size, FEWEST_CONNECTIONS),
        "max_overflow": 0,
        # Statement parameters contain payloads, which must not be logged outside development.
        "hide_parameters": not settings.sql_echo,
        "pool_timeout": 5,
        # A dead server is detected after 15 s without a response, not after the kernel's two hours.
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
    """A new engine; ``options`` of create_engine override those of ``engine_options``."""
    return attend(create_engine(settings.database_url, **{**engine_options(settings), **options}))


def attend(engine: Engine) -> Engine:
    """Make ``engine`` replace its pooled connections when the server's role changes, and read the server's clock; returns it."""
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
    """Prepare ``engine`` for handlers: each one gets connections without the state of previous handlers; returns it."""
    if not event.contains(engine, "reset", _reset):
        event.listen(engine, "reset", _reset)
        event.listen(engine, "checkin", _store_time)
        event.listen(engine, "checkout", _ping)
    return engine


def _reset(raw: Any, _record: Any, state: PoolResetState) -> None:
    # An error here makes the pool close the connection.
    if state.terminate_only:
        return
    raw.rollback()
    raw.set_session("DEFAULT", "DEFAULT", "DEFAULT", autocommit=True)
    with raw.cursor() as cursor:
        # Settings, role, temporary tables, advisory locks, listened channels, prepared statements.
        cursor.execute("DISCARD ALL")
        if not raw.get_parameter_status("DateStyle").startswith("ISO"):
            cursor.execute("SET datestyle TO 'ISO'")  # which the driver sets when it connects
    raw.autocommit = False


def _store_time(_raw: Any, record: ConnectionPoolEntry) -> None:
    record.info["idle_since"] = time.monotonic()


def _ping(raw: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    # An attempt must not fail because the server closed a pooled connection.
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
    # SQLAlchemy only detects closed sockets. This closes the failed connection, and each other connection in
    # the pool when it is next checked out; new connections use the address again and so reach the new server.
    if sqlstate(context.original_exception) in STALE:
        context.is_disconnect = True


def sqlstate(error: BaseException | None) -> str | None:
    """PostgreSQL's five-character code in ``error`` or in the driver's error inside it; None without one."""
    code = getattr(getattr(error, "orig", error), "pgcode", None)
    return code if isinstance(code, str) else None


def is_about_data(error: BaseException) -> bool:
    """Whether the values of a statement are at fault, and not the connection or the moment."""
    return (sqlstate(error) or "")[:2] in DATA_ERRORS


def require_writable(engine: Engine) -> None:
    """Raise DatabaseReadOnly, after closing the pooled connections, if the database does not accept writes."""
    with engine.connect() as connection:
        is_read_only = connection.scalar(text("SELECT current_setting('transaction_read_only')"))
    if is_read_only == "on":
        # Statements that only read don't fail on a demoted server, so close those connections as well.
        engine.dispose()
        raise DatabaseReadOnly


@contextmanager
def autocommit(engine: Engine) -> Iterator[Connection]:
    """A connection on which each statement is a transaction, in a single round trip.

    It uses the driver's attribute: SQLAlchemy's isolation_level option needs two more round trips, at checkout and at
    checkin (117 µs of a POST's 1,560). If the statement timeout needs transactions, the block is one
    transaction, committed at the end.
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
            with suppress(Exception):  # the connection may be lost
                raw.autocommit = False


@contextmanager
def elected(engine: Engine, duty: str | int, *, waits: bool = False) -> Iterator[Connection | None]:
    """A short transaction in the one process that may perform ``duty`` now; None in all others.

    ``duty`` is a name, or the number of an advisory lock. With ``waits``, it waits for the lock.
    """
    key = "hashtext('jobqueue.' || :duty)" if isinstance(duty, str) else ":duty"
    lock = f"pg_advisory_xact_lock({key})" if waits else f"pg_try_advisory_xact_lock({key})"
    # Local to the transaction, as a pooler in transaction mode requires.
    idle = "set_config('idle_in_transaction_session_timeout', :idle, true)"
    values = {"duty": duty, "idle": f"{IDLE_SECONDS}s"}
    with engine.begin() as connection:
        is_locked = connection.execute(text(f"SELECT {lock}, {idle}"), values).scalar()
        yield connection if waits or is_locked else None


class Statement:
    """A statement of the live path, sent through the driver: SQLAlchemy's layers take 100 µs of each.

    Errors, and what they mean for the pool, are SQLAlchemy's. An engine that has listeners for its statements
    (tracing), or writes them to the log, executes it as any other.
    """

    def __init__(self, sql: str, columns: Sequence[str]) -> None:
        """``sql`` names its parameters ``:name``; ``columns`` are the names of what it returns."""
        self._text = text(sql)
        self._sql = _NAMED.sub(r"%(\1)s", sql.replace("%", "%%"))
        self._row: Any = getattr(namedtuple("Row", columns), "_make")  # noqa: B009

    def rows(self, db: Db, values: dict[str, Any]) -> list[Any]:
        """All rows, whose columns are read by position or by name."""
        connection = db if isinstance(db, Connection) else db.connection()
        raw: Any = connection.connection.dbapi_connection
        is_begun = raw.autocommit or connection.in_transaction()
        if not is_begun or _is_observed(connection):
            return list(connection.execute(self._text, values))
        cursor = raw.cursor()
        try:
            cursor.execute(self._sql, values)
            rows = cursor.fetchall()
            cursor.close()
        except BaseException as error:
            # What SQLAlchemy itself does with an error of the driver: wraps it, calls the listeners of
            # handle_error, and discards a connection that is lost or was interrupted.
            connection._handle_dbapi_exception(error, self._sql, values, cursor, None)
        return list(map(self._row, rows))


def _is_observed(connection: Connection) -> bool:
    engine = connection.engine
    listeners = engine.dispatch
    return bool(listeners.before_cursor_execute or listeners.after_cursor_execute or engine.echo)


def id_array(ids: Iterable[UUID | str]) -> str:
    """``{<32 hex digits>,…}`` for ``CAST(:ids AS uuid[])``; strings are used as they are."""
    return "{" + ",".join(i.hex if isinstance(i, UUID) else i for i in ids) + "}"


def rows_in_order(
    db: Db, statement: Executable, parameters: dict[str, Any] | None = None
) -> list[Row[Any]]:
    """The rows of a statement, read from the index that has the statement's order.

    If the statistics are from a time when nothing was pending, the planner expects one row in each partial
    index; it then reads hundreds of thousands of rows from another index and sorts them.
    """
    db.execute(text("SET LOCAL enable_sort = off"))
    rows = db.execute(statement, parameters or {}).all()
    db.execute(text("SET LOCAL enable_sort TO DEFAULT"))
    return list(rows)
