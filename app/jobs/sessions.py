"""What reading functions take as ``db``, and the one way to keep the planner to an index's order."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, Executable, Row, text
from sqlalchemy.orm import Session, scoped_session

from app import statement_timeouts

#: Gives ORM objects.
Reader = Session | scoped_session[Any]
#: Gives rows.
Database = Reader | Connection


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
