"""Errors of settings, folders and databases as one sentence, without a traceback."""

from __future__ import annotations

import functools
from collections.abc import Callable

import click
from sqlalchemy.exc import SQLAlchemyError

from app import database, database_errors
from app.errors import (
    ConfigError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    JobQueueError,
    SchemaProblem,
    TryAgain,
)


def plainly(run: Callable[..., None]) -> Callable[..., None]:
    """Print an error of settings, folders or the database as one sentence, without a traceback."""

    @functools.wraps(run)
    def wrapped(*args: object, **options: object) -> None:
        try:
            run(*args, **options)
        except (ConfigError, JobQueueError) as error:
            raise click.ClickException(str(error)) from error
        except SQLAlchemyError as error:
            raise click.ClickException(_sentence(error)) from error

    return wrapped


def _sentence(error: SQLAlchemyError) -> str:
    """What to do about an error of the database; a mistake in a migration keeps its traceback."""
    meaning, cause = database_errors.meaning(error), database_errors.cause(error).rstrip(".")
    if isinstance(meaning, DatabaseUnavailable):
        return f"Can't use the database of DATABASE_URL: {cause}."
    if isinstance(meaning, DatabaseReadOnly):
        return str(meaning)
    if isinstance(meaning, TryAgain):
        return f"Another transaction holds a table that a migration needs, so nothing was changed: {cause}. Run it again."
    if database.sqlstate(error) == database.INSUFFICIENT_PRIVILEGE:
        return f"The user of DATABASE_URL lacks the permission, so nothing was changed: {cause}."
    raise error


def on_our_tables(run: Callable[..., None]) -> Callable[..., None]:
    """As plainly(), for a command that reads our tables; also says when they don't match this code."""

    @functools.wraps(run)
    def wrapped(*args: object, **options: object) -> None:
        try:
            run(*args, **options)
        except SQLAlchemyError as error:
            meaning = database_errors.meaning(error)
            if isinstance(meaning, SchemaProblem | TryAgain):
                raise click.ClickException(str(meaning)) from error
            raise

    return plainly(wrapped)
