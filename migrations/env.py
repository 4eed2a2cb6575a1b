"""Alembic's entry point: the engine and metadata come from the Flask application."""

from alembic import context
from flask import current_app
from sqlalchemy import text

migrate = current_app.extensions["migrate"]


def run_migrations() -> None:
    engine = migrate.db.engine
    with engine.connect() as connection:
        # A migration must never queue behind a long transaction and block every writer after it.
        connection.execute(text("SET lock_timeout = '5s'"))
        # Two releases at once: the second waits here and then finds nothing to do.
        connection.execute(text("SELECT pg_advisory_xact_lock(7061421)"))
        context.configure(
            connection=connection,
            target_metadata=migrate.db.metadata,
            compare_type=True,
            compare_server_default=False,
            include_object=_is_ours,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


def _is_ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
    # The delta tables have no model: only triggers and fold touch them.
    return not (kind == "table" and name in ("job_counter_deltas", "job_series_deltas"))


run_migrations()
