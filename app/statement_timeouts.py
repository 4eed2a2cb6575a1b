"""How long one statement of the web may run, whatever the request's method. Workers have no such limit."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from psycopg2 import OperationalError
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session, scoped_session

log = logging.getLogger(__name__)

#: A read that takes longer is no use to anybody, and a write waits for a lock that is held for too long.
SECONDS = 5.0
#: Thousands of jobs in one transaction.
BULK_SECONDS = 60.0


def init_app(app: Flask, db: SQLAlchemy) -> None:
    """From the first request on: a process that serves none (worker, CLI, migrations) has no limit."""

    @app.before_request
    def limit_statements() -> None:
        if _KEY not in app.extensions:
            app.extensions[_KEY] = StatementTimeout(db.engine, SECONDS)


_KEY = "statement_timeout"


class StatementTimeout:
    """Limits every statement on the connections of one engine.

    The limit is a startup option of the connection and costs no round trip. A pooler such as PgBouncer refuses or
    drops it, and must not be given a session's SET, which would reach whoever gets that connection next. Behind one
    each transaction begins with SET LOCAL instead.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._milliseconds = int(seconds * 1000)
        self.is_by_transaction = False
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "begin", self._begin)
        engine.dialect._statement_timeout = self  # type: ignore[attr-defined]
        # Connections from before know no limit.
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
            self._is_pooled("refuses")
            return None
        if _timeout_of(connection) != self._milliseconds:
            self._is_pooled("drops")
        return connection

    def _is_pooled(self, does: str) -> None:
        self.is_by_transaction = True
        log.info("The database's pooler %s startup options; each transaction sets its limit.", does)

    def _begin(self, connection: Connection) -> None:
        if self.is_by_transaction:
            # By the driver: for SQLAlchemy the transaction has not begun yet, and this would begin another.
            cursor = connection.connection.cursor()
            cursor.execute(f"SET LOCAL statement_timeout = {self._milliseconds}")
            cursor.close()


def _timeout_of(connection: Any) -> int:
    """What PostgreSQL has for this session, in milliseconds."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'")
        (setting,) = cursor.fetchone()
    connection.autocommit = False
    return int(setting)


def needs_transactions(engine: Engine) -> bool:
    """Whether a statement outside a transaction would have no limit although it should."""
    limit = getattr(engine.dialect, "_statement_timeout", None)
    return limit is not None and limit.is_by_transaction


def allow_bulk(db: Session | scoped_session[Any]) -> None:
    """Statements of the current transaction may take BULK_SECONDS, where they have a limit at all."""
    if getattr(db.get_bind().dialect, "_statement_timeout", None) is not None:
        db.execute(text(f"SET LOCAL statement_timeout = {int(BULK_SECONDS * 1000)}"))
