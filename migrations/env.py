"""Alembic's entry point: the engine and metadata come from the Flask application."""

import logging
from typing import Any

from alembic import context
from flask import current_app
from sqlalchemy import text

from app import schema
from app.own_migrations import product_tables

migrate = current_app.extensions["migrate"]


def run_migrations() -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # `flask db upgrade` says what it did
    engine = migrate.db.engine
    with engine.connect() as connection:
        # LOCAL: behind a pooler in transaction mode the session is somebody else's afterwards.
        # Two releases at once: the second waits here and then finds nothing to do.
        connection.execute(text("SET LOCAL lock_timeout = '5min'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({schema.RELEASE_LOCK})"))
        # A migration must never queue behind a long transaction and block every writer after it.
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        schema.prepare(connection)
        context.configure(
            connection=connection,
            target_metadata=migrate.db.metadata,
            version_table=schema.VERSION_TABLE,
            compare_type=True,
            compare_server_default=False,
            include_object=_is_ours,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


def _is_ours(item: Any, name: str | None, kind: str, *_: object) -> bool:
    # Tables of JOB_MODULES and of others in the database are not ours to compare, nor those without
    # a model, which only triggers touch.
    if kind == "index" and str(name).endswith("_id_end"):
        return False  # on an expression, which can't be compared
    if (f"{item.table.name}.{name}" if kind == "column" else name) in schema.FORMER_NAMES:
        return False
    return kind != "table" or name in product_tables()


run_migrations()
