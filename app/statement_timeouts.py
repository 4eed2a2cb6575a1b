"""Limits the time of each SQL statement in the web server. Workers have no such limit."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from psycopg2 import OperationalError
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session, scoped_session

log = logging.getLogger(__name__)

#: A read that takes longer is of no use, and a write that takes longer waits for a lock.
SECONDS = 5.0
#: For thousands of jobs in one transaction.
BULK_SECONDS = 60.0


def init_app(app: Flask, db: SQLAlchemy) -> None:
    """Limit statements from the first request on, so that processes without requests (worker, CLI, migrations) have no limit."""

    @app.before_request
    def limit_statements() -> None:
        if _KEY not in app.extensions:
            app.extensions[_KEY] = StatementTimeout(db.engine, SECONDS)


_KEY = "statement_timeout"


class StatementTimeout:
    """Limits all statements on the connections of an engine.

    The limit is a startup option of the connection and needs no round trip. A pooler such as PgBouncer refuses or
    drops that option; a SET for the session would affect other clients of the pooler. So behind a pooler, each
    transaction begins with SET LOCAL instead.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._milliseconds = int(seconds * 1000)
        self.is_by_transaction = False
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "begin", self._begin)
        engine.dialect._statement_timeout = self  # type: ignore[attr-defined]
        # Close existing connections, which have no limit.
        engine.dispose()

    def _connect(self, dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        if self.is_by_transaction:
            return None
        limit = f"-c statement_timeout={self._milliseconds}"
        limited = {**options, "options": f"{options.get('options') or ''} {limit}".strip()}
        try:
            connection = dialect.connect(*arguments, **limited)
        except OperationalError as error:
            if "startup parameter" not in str(error):
                raise
            self._use_transactions("refuses")
            return None
        if _timeout_of(connection) != self._milliseconds:
            self._use_transactions("drops")
        return connection

    def _use_transactions(self, verb: str) -> None:
        self.is_by_transaction = True
        log.info(
            "The database's pooler %s startup options; each transaction sets the statement timeout.",
            verb,
        )

    def _begin(self, connection: Connection) -> None:
        if self.is_by_transaction:
            # Through the driver: for SQLAlchemy the transaction has not begun yet, and it would begin another one.
            cursor = connection.connection.cursor()
            cursor.execute(f"SET LOCAL statement_timeout = {self._milliseconds}")
            cursor.close()


def _timeout_of(connection: Any) -> int:
    """The statement timeout of this session in PostgreSQL, in milliseconds."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'")
        (setting,) = cursor.fetchone()
    connection.autocommit = False
    return int(setting)


def needs_transactions(engine: Engine) -> bool:
    """Whether a statement needs a transaction for its limit to apply."""
    limit = getattr(engine.dialect, "_statement_timeout", None)
    return limit is not None and limit.is_by_transaction


def allow_bulk(db: Session | scoped_session[Any]) -> None:
    """Raise the limit to BULK_SECONDS for the current transaction, if there is a limit."""
    if getattr(db.get_bind().dialect, "_statement_timeout", None) is not None:
        db.execute(text(f"SET LOCAL statement_timeout = {int(BULK_SECONDS * 1000)}"))
