"""Commands for operators: ``flask doctor``, ``flask counters check``, ``flask dlq rebuild``."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import AppGroup

from app.extensions import db
from app.jobs import doctor, stats
from app.jobs.publishing import current_trigger

counters = AppGroup("counters", help="The numbers kept by triggers.")
dlq = AppGroup("dlq", help="The Redis list of open dead letters.")


def register(app: Flask) -> None:
    """Adds the commands to ``flask``."""
    app.cli.add_command(counters)
    app.cli.add_command(dlq)
    app.cli.add_command(see_doctor)


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Repair what can be repaired; nothing need be stopped.")
def see_doctor(*, fix: bool) -> None:
    """Check database, Redis, migrations, connections, clock, workers and what may drift.

    Exits with 0 when all is well (or mended), 1 for a warning, 2 when something does not work at all.
    """
    worst = doctor.OK
    for found in doctor.examine():
        click.echo(f"{_LEVELS[found.level]:<8} {found.name}: {found.told}")
        if fix and found.repair is not None:
            click.echo(f"{'fixed':<8} {found.name}: {found.repair()}")
        else:
            if found.repair is not None:
                click.echo(f"{'':<8} `flask doctor --fix` mends it")
            worst = max(worst, found.level)
    click.get_current_context().exit(worst)


_LEVELS = {doctor.OK: "ok", doctor.WARNING: "warning", doctor.CRITICAL: "critical"}


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
