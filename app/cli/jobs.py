"""``flask jobs show``: one job, printed in the terminal."""

from __future__ import annotations

import json

import click
from flask.cli import AppGroup
from sqlalchemy import inspect, select

from app.cli.plain_errors import on_our_tables
from app.extensions import db
from app.jobs import listing
from app.jobs.listing.id_ranges import id_prefix_range
from app.jobs.models import Job

job_commands = AppGroup("jobs", help="Jobs, for developers.")
SHORTEST_PREFIX = 4
LINES_SHOWN = 500


@job_commands.command("show")
@click.argument("job_id")
@on_our_tables
def show_job(job_id: str) -> None:
    """Print a job's row, its attempts and the start of its log; the beginning of an id is enough."""
    job = _find(job_id)
    for column in inspect(Job).columns:
        value = getattr(job, column.key)
        if isinstance(value, dict | list):
            value = json.dumps(value, ensure_ascii=False)
        if value is not None:
            click.echo(f"{column.key:<20} {value}")
    for attempt in listing.attempts_of(db.session, job.id):
        times = f" ×{attempt.times}" if attempt.times > 1 else ""
        click.echo(
            f"\nattempt {attempt.attempt}{times}: {attempt.outcome}, ended {attempt.ended_at}"
        )
        if text := attempt.traceback or attempt.error:
            click.echo(text.rstrip())
    lines = listing.log_of(db.session, job.id, limit=LINES_SHOWN)
    if lines:
        click.echo("\nlog")
    for line in lines:
        click.echo(f"{line.at:%Y-%m-%d %H:%M:%S.%f} {line.level:<7} #{line.attempt} {line.message}")
    if len(lines) == LINES_SHOWN:
        click.echo(f"The first {LINES_SHOWN} lines; the dashboard shows all of them.")


def _find(prefix: str) -> Job:
    digits = prefix.strip().lower().replace("-", "")
    if not SHORTEST_PREFIX <= len(digits) <= 32 or not set(digits) <= set("0123456789abcdef"):
        raise click.ClickException(
            f"{prefix!r} is not the id of a job, nor the first {SHORTEST_PREFIX} or more digits of one."
        )
    low, high = id_prefix_range(digits)
    jobs = db.session.scalars(select(Job).where(Job.id.between(low, high)).limit(11)).all()
    if not jobs:
        raise click.ClickException(f"No job has an id that begins with {prefix}.")
    if len(jobs) > 1:
        several = "".join(f"\n  {job.id}  {job.type}  {job.status}" for job in jobs[:10])
        raise click.ClickException(f"Several jobs have an id that begins with {prefix}:{several}")
    return jobs[0]
