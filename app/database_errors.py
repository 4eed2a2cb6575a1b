"""Translates errors of PostgreSQL, by SQLSTATE, to errors of the job queue, for the API, the dashboard and /metrics."""

from __future__ import annotations

import logging

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import schema
from app.database import READ_ONLY, STALE, sqlstate
from app.errors import (
    DatabaseReadOnly,
    DatabaseUnavailable,
    JobQueueError,
    QueryTooSlow,
    SchemaProblem,
    TryAgain,
    ValueRefused,
)
from app.extensions import db

#: Undefined table, column, function: the database was not migrated, or the code has a bug.
UNDEFINED = ("42P01", "42703", "42883")
QUERY_CANCELED = "57014"
#: Serialization failure, deadlock, lock not available.
LOST_RACES = ("40001", "40P01", "55P03")
#: libpq's messages, without a SQLSTATE, if target_session_attrs=read-write finds no such server.
NO_WRITABLE_SERVER = ("session is read-only", "server is in hot standby mode")


def meaning(error: BaseException) -> JobQueueError | None:
    """The error for the response; None for a bug in the code (500)."""
    code = sqlstate(error)
    if code == READ_ONLY or any(text in str(error) for text in NO_WRITABLE_SERVER):
        return DatabaseReadOnly()
    if code in LOST_RACES:
        return TryAgain()
    if code == QUERY_CANCELED:
        return QueryTooSlow()
    if code in UNDEFINED:
        return _schema_problem()
    if isinstance(error, DataError | IntegrityError):
        return ValueRefused()
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout) or code in STALE:
        return DatabaseUnavailable()
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return DatabaseUnavailable()
    return None


def explain(error: BaseException, log: logging.Logger) -> JobQueueError | None:
    """The same as ``meaning``, and writes a line to ``log``.

    The details are only in the log: they contain SQL, values and addresses.
    """
    explanation = meaning(error)
    if isinstance(explanation, ValueRefused):
        # A CHECK caught what validation should have caught: a bug in the code.
        log.error("the database refused a value: %s", cause(error))
    elif explanation is not None:
        log.warning("%s: %s", explanation.code, cause(error))
    return explanation


def _schema_problem() -> JobQueueError | None:
    try:
        schema.check(db.engine)
    except SchemaProblem as problem:
        return problem
    except SQLAlchemyError:
        return DatabaseUnavailable()
    return None


def cause(error: BaseException) -> str:
    """The first line of the message from PostgreSQL or its driver, for a log line."""
    text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return text.splitlines()[0]
