"""``flask doctor``, ``flask counters check``, ``flask dlq rebuild``."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from app import doctor
from app.broker.client import brief
from app.cli.plain_errors import on_our_tables
from app.extensions import db
from app.jobs import dead_letter_mirror
from app.jobs.publication import current_publisher
from app.jobs.statistics import summary

counters = AppGroup("counters", help="The numbers kept by triggers.")
dlq = AppGroup("dlq", help="The Redis list of open dead letters.")


@click.command("doctor")
@click.option(
    "--fix", is_flag=True, help="Repair what can be repaired; no process has to be stopped."
)
def see_doctor(*, fix: bool) -> None:
    """Check database, Redis, migrations, connections, clock, workers, and data that may drift.

    Exits with 0 if everything is fine or repaired, 1 for a warning, 2 for an outage.
    """
    worst = doctor.OK
    for finding in doctor.examine():
        click.echo(f"{_LEVELS[finding.level]:<8} {finding.name}: {finding.message}")
        if fix and finding.repair is not None:
            click.echo(f"{'fixed':<8} {finding.name}: {finding.repair()}")
        else:
            if finding.repair is not None:
                click.echo(f"{'':<8} `flask doctor --fix` repairs it")
            worst = max(worst, finding.level)
    click.get_current_context().exit(worst)


_LEVELS = {doctor.OK: "ok", doctor.WARNING: "warning", doctor.CRITICAL: "critical"}


@counters.command("check")
@click.option("--fix", is_flag=True, help="Repair the counters; no process has to be stopped.")
@on_our_tables
def check_counters(*, fix: bool) -> None:
    """Compare the counters with the jobs themselves.

    Reads the whole table. Exits with 1 when they differ and --fix was not given.
    """
    drift = summary.check(db.session, fix=fix)
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
@on_our_tables
def rebuild_dead_letters() -> None:
    """Rewrite the Redis list job-dlq from the table of dead letters."""
    publisher = current_publisher()
    try:
        publisher.probe()
    except Exception as error:
        # Without Redis, the mirror would do nothing now and catch up later.
        raise click.ClickException(
            f"Redis does not respond ({brief(error)}); try again later."
        ) from error
    try:
        click.echo(f"Wrote {dead_letter_mirror.rebuild(publisher.ready)} entries to job-dlq.")
    except dead_letter_mirror.ListOfOthers as error:
        raise click.ClickException(str(error)) from error
