"""What reading functions take as ``db``, and the one way to keep the planner to an index's order."""

from typing import Any

from sqlalchemy import Connection, Executable, Row, text
from sqlalchemy.orm import Session, scoped_session

#: Gives ORM objects.
Reader = Session | scoped_session[Any]
#: Gives rows.
Database = Reader | Connection


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
