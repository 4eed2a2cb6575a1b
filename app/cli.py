"""Flask commands for operators."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import AppGroup
from redis.exceptions import RedisError

from app.jobs.publishing import current_trigger

dlq = AppGroup("dlq", help="The Redis list job-dlq.")


@dlq.command("rebuild")
def rebuild_dlq() -> None:
    """Write the Redis list job-dlq anew from the table of dead letters."""
    try:
        count = current_trigger().mirror_dead_letters(rebuild=True)
    except (RedisError, OSError) as error:
        raise click.ClickException(f"Redis does not answer ({error}); nothing was changed.") from error
    click.echo(f"job-dlq holds {count} dead letters.")


def register(app: Flask) -> None:
    app.cli.add_command(dlq)
