"""``flask schedules``: list, preview, run, pause and resume schedules."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from flask.cli import AppGroup

from app import clock
from app.cli.access import CLI
from app.cli.plain_errors import on_our_tables
from app.extensions import db
from app.jobs.models import ScheduleRow
from app.jobs.schedules import listing, preview, rules, store
from app.jobs.schedules.definition import Definition, description

schedule_commands = AppGroup("schedules", help="Schedules: jobs that are created at set times.")
_PAGE = 500
_TIME = "%Y-%m-%d %H:%M:%S"


@schedule_commands.command("list")
@click.option("--state", type=click.Choice([*listing.STATES, listing.MISSED]), help="Only these.")
@on_our_tables
def list_schedules(state: str | None) -> None:
    """Print the schedules by name: state, next run in UTC, when it runs."""
    cursor, count = None, 0
    while True:
        page = listing.list_schedules(db.session, state=state, limit=_PAGE, cursor=cursor)
        for row in page.items:
            click.echo(_line(row))
        count += len(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    if not count:
        click.echo(f"No schedule is {state}." if state else "There are no schedules.")


@schedule_commands.command("preview")
@click.argument("line")
@click.argument("zone", default="UTC")
@click.option("--count", default=10, type=click.IntRange(1, preview.MAX_RUNS), show_default=True)
@click.option(
    "--from",
    "start",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Runs later than this time in UTC, instead of now.",
)
def preview_line(line: str, zone: str, count: int, start: datetime | None) -> None:
    """Print the next runs of a cron LINE in a time ZONE: `flask schedules preview "30 2 * * *" Europe/Berlin`."""
    definition = Definition(name="preview", type="preview", cron=line, zone=zone)
    for field, text in rules.complaints(definition):
        raise click.ClickException(rules.in_python(f"{field}: {text}"))
    click.echo(description(definition))
    after = start.replace(tzinfo=UTC) if start else clock.now()
    for run in preview.next_runs(definition, after=after, count=count):
        note = f"  {run.note}" if run.note else ""
        click.echo(f"{run.local:{_TIME} %z}  {run.at:{_TIME}} UTC{note}")


@schedule_commands.command("run")
@click.argument("name")
@click.option("--force", is_flag=True, help="Also while its previous job is pending or processing.")
@on_our_tables
def run_schedule(name: str, *, force: bool) -> None:
    """Create a job of the schedule NAME now; its plan stays as it is."""
    job_id = store.run_now(db.session, name, by=CLI, force=force)
    db.session.commit()
    click.echo(f"Created job {job_id}.")


@schedule_commands.command("pause")
@click.argument("name")
@on_our_tables
def pause_schedule(name: str) -> None:
    """Stop creating jobs by the schedule NAME."""
    store.pause(db.session, name, by=CLI)
    db.session.commit()
    click.echo(f"Paused {name}.")


@schedule_commands.command("resume")
@click.argument("name")
@on_our_tables
def resume_schedule(name: str) -> None:
    """Create jobs by the schedule NAME again, from its next run on."""
    store.resume(db.session, name, by=CLI)
    db.session.commit()
    row = listing.get_schedule(db.session, name)
    click.echo(f"Resumed {name}. {_next_run(row)}")


def _line(row: ScheduleRow) -> str:
    state = listing.state_of(row)
    when = f"{row.next_run_at:{_TIME}}" if row.next_run_at else "-"
    return f"{row.name:<30} {state:<8} {when:<19}  {row.type}: {description(row)}"


def _next_run(row: ScheduleRow) -> str:
    if row.next_run_at is None:
        return "It has ended."
    return f"Next run: {row.next_run_at:{_TIME}} UTC."
