"""Commands for operators: ``flask doctor``, ``flask counters check``, ``flask dlq rebuild``, ``flask tokens``,
``flask sessions end``, ``flask jobs show``, ``flask schedules``; and Flask-Migrate's ``flask db`` with plain errors."""

from __future__ import annotations

import click
import flask_migrate.cli
from flask import Flask
from flask.cli import FlaskGroup

from app.cli import access, jobs, migrations, schedules, upkeep


def register(app: Flask) -> None:
    """Add the commands to ``flask``."""
    app.cli.add_command(upkeep.see_doctor)
    app.cli.add_command(upkeep.counters)
    app.cli.add_command(upkeep.dlq)
    app.cli.add_command(access.token_commands)
    app.cli.add_command(access.session_commands)
    app.cli.add_command(jobs.job_commands)
    app.cli.add_command(schedules.schedule_commands)
    app.cli.add_command(migrations.migration_commands)
    app.cli.add_command(migrations.with_own_tables(flask_migrate.cli.db), "db")


def is_command() -> bool:
    """Whether this process is `flask` with a command that serves no requests: any but `flask run`."""
    context = click.get_current_context(silent=True)
    is_flask = context is not None and isinstance(context.find_root().command, FlaskGroup)
    return is_flask and context is not None and context.info_name != "run"
