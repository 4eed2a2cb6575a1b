"""Migrations of your own tables, beside the product's: a folder, a history and a version table of their own.

``JOB_MIGRATIONS`` names the folder. The product's next release adds to its own history only, so neither
side ever sees two heads. ``flask db upgrade`` brings both up to date, the product's first.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from flask import current_app
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from app.config import Settings
from app.errors import ConfigError
from app.extensions import Base, db

VERSION_TABLE = "own_alembic_version"
WANTS_EMPTY = "wants_empty"
#: Alembic's environment for that folder: the product ships it, the folder holds versions only.
ENVIRONMENT = Path(__file__).resolve().parent.parent / "migrations" / "own"


def product_tables() -> set[str]:
    """Names of the tables whose models are the product's; every other model is the user's."""
    return {
        mapper.local_table.name  # type: ignore[attr-defined]
        for mapper in Base.registry.mappers
        if mapper.class_.__module__.partition(".")[0] == "app"
    }


def own_tables() -> set[str]:
    """Names of the tables that ``JOB_MODULES`` declare."""
    return set(db.metadata.tables) - product_tables()


def folder() -> Path | None:
    """``JOB_MIGRATIONS``, or None."""
    settings: Settings = current_app.extensions["settings"]
    return settings.job_migrations


def upgrade(revision: str = "head") -> str | None:
    """Apply the missing migrations; returns what was done in one sentence. Raises ConfigError.

    Does nothing and returns None if JOB_MIGRATIONS is not set. In development the folder may not exist
    yet: its first migration is created on the running system.
    """
    where = folder()
    settings: Settings = current_app.extensions["settings"]
    if where is None:
        return None
    if settings.is_development and not where.is_dir():
        return f"Your migrations: none yet in {where}."
    before = _missing_now()
    with _config(must_exist=True) as config:
        command.upgrade(config, revision)
    with db.engine.connect() as connection:
        at = ", ".join(current(connection))
    if not at:
        return f"Your migrations: none yet in {where}."
    applied = len(before) - len(_missing_now())
    return (
        f"Your migrations: applied {applied}, now at {at}."
        if applied
        else f"Your migrations: already at {at}."
    )


def _missing_now() -> list[str]:
    with db.engine.connect() as connection:
        return missing(connection)


def downgrade(revision: str = "-1") -> None:
    """Revert one migration, or all down to ``revision`` ("base": all)."""
    with _config(must_exist=True) as config:
        command.downgrade(config, revision)


def create(message: str, *, is_empty: bool = False) -> Path | None:
    """Write a migration file from the difference of your models and the database; None if there is none."""
    with _config(must_exist=False) as config:
        config.attributes[WANTS_EMPTY] = is_empty
        script = command.revision(config, message, autogenerate=not is_empty)
    scripts = script if isinstance(script, list) else [script]
    return next((Path(script.path) for script in scripts if script is not None), None)


def missing(connection: Connection) -> list[str]:
    """Revisions in the folder that the database does not have yet, oldest first."""
    where = folder()
    if where is None or not where.is_dir():
        return []
    with _config(must_exist=True) as config:
        script = ScriptDirectory.from_config(config)
        applied = current(connection)
        known = {
            revision.revision
            for head in applied
            for revision in script.iterate_revisions(head, "base")
        }
        every = [revision.revision for revision in script.walk_revisions()]
    return [revision for revision in reversed(every) if revision not in known]


def current(connection: Connection) -> tuple[str, ...]:
    """The revisions of the database (none or one)."""
    _leave_out_alembics_lines()
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    try:
        return context.get_current_heads()
    except ProgrammingError:  # no version table yet
        connection.rollback()
        return ()


def lock(connection: Connection) -> None:
    """In this transaction: wait only briefly for tables, and let one release run at a time."""
    connection.execute(text("SET LOCAL lock_timeout = '5min'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(7061423)"))
    connection.execute(text("SET LOCAL lock_timeout = '5s'"))


def engine() -> Engine:
    return db.engine


def _leave_out_alembics_lines() -> None:
    # The commands say what they did.
    logging.getLogger("alembic").setLevel(logging.WARNING)


@contextmanager
def _config(*, must_exist: bool) -> Iterator[Config]:
    where = folder()
    if where is None:
        raise ConfigError(
            "JOB_MIGRATIONS is not set; set it to the folder for migrations of your own tables, "
            "such as shop/migrations."
        )
    if must_exist and not where.is_dir():
        raise ConfigError(
            f"JOB_MIGRATIONS is {str(where)!r}, which is not a folder; "
            'create its first migration with `flask --app wsgi migrations new "first tables"`.'
        )
    where.mkdir(parents=True, exist_ok=True)
    _leave_out_alembics_lines()
    config = Config(cmd_opts=Namespace(quiet=True))
    config.set_main_option("script_location", str(ENVIRONMENT).replace("%", "%%"))
    config.set_main_option("version_locations", str(where.resolve()).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("file_template", "%%(year)d%%(month).2d%%(day).2d_%%(rev)s_%%(slug)s")
    try:
        yield config
    except CommandError as error:
        raise ConfigError(f"Migrations in {where}: {error}") from error
