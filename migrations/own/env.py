"""Alembic's entry point for the user's own tables; see app/own_migrations.py."""

from typing import Any

from alembic import context

from app import own_migrations
from app.extensions import db


def is_own(item: Any, name: str | None, kind: str, is_reflected: bool, compared_to: Any) -> bool:
    """Only tables that the user's models declare: others in the database are never dropped."""
    if kind == "table":
        return name in own_migrations.own_tables() and not (is_reflected and compared_to is None)
    table = getattr(item, "table", None)
    return table is None or table.name in own_migrations.own_tables()


def leave_out_empty(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """No file where the models and the database agree, unless an empty one was asked for."""
    is_wanted = context.config.attributes.get(own_migrations.WANTS_EMPTY, False)
    if directives[0].upgrade_ops.is_empty() and not is_wanted:
        directives[:] = []


with own_migrations.engine().connect() as connection:
    own_migrations.lock(connection)
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        version_table=own_migrations.VERSION_TABLE,
        compare_type=True,
        include_object=is_own,
        process_revision_directives=leave_out_empty,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
