"""Commands for operators: ``flask counters check``, ``flask dlq rebuild``."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import AppGroup

from app.extensions import db
from app.jobs import stats
from app.jobs.publishing import current_trigger

counters = AppGroup("counters", help="The numbers kept by triggers.")
dlq = AppGroup("dlq", help="The Redis list of open dead letters.")


def register(app: Flask) -> None:
    """Adds the commands to ``flask``."""
    app.cli.add_command(counters)
    app.cli.add_command(dlq)


@counters.command("check")
@click.option("--fix", is_flag=True, help="Add what is missing; nothing need be stopped for it.")
def check_counters(*, fix: bool) -> None:
    """Compare the counters with the jobs themselves.

    Reads the whole table. Exits with 1 when they differ and --fix was not given.
    """
    drift = stats.check(db.session, fix=fix)
    db.session.commit()
    for row in drift.rows:
        click.echo(
            f"queue {row.queue}, type {row.type}, {row.status}: "
            f"counted {row.counted}, there are {row.actual}"
        )
    if drift.is_clean:
        click.echo("Counters are exact.")
    elif drift.is_fixed:
        click.echo(f"Fixed {len(drift.rows)} counters.")
    else:
        raise click.ClickException(
            f"{len(drift.rows)} counters are wrong; run `flask counters check --fix`."
        )


@dlq.command("rebuild")
def rebuild_dead_letters() -> None:
    """Write the Redis list job-dlq anew from the table of dead letters."""
    trigger = current_trigger()
    try:
        trigger.ping()
    except Exception as error:
        # Without Redis the mirror would quietly do nothing, and catch up later.
        raise click.ClickException(f"Redis does not answer ({error}); try again later.") from error
    click.echo(f"Wrote {trigger.mirror_dead_letters(rebuild=True)} entries to job-dlq.")
