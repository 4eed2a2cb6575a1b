"""Commands for operators: ``flask doctor``, ``flask counters check``, ``flask dlq rebuild``, ``flask tokens``,
``flask sessions end``."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import click
import flask_migrate.cli
from flask import Flask, current_app
from flask.cli import AppGroup, FlaskGroup, with_appcontext
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app import database, database_errors, doctor, own_migrations, schema
from app.broker.client import brief
from app.config import ROLES
from app.errors import (
    ConfigError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    JobQueueError,
    SchemaProblem,
    TryAgain,
)
from app.extensions import db
from app.jobs import audit
from app.jobs.publication import ListOfOthers, current_trigger
from app.jobs.statistics import summary
from app.security import api_tokens, events, sessions

counters = AppGroup("counters", help="The numbers kept by triggers.")
token_commands = AppGroup("tokens", help="Tokens of programs that call the API.")
migration_commands = AppGroup(
    "migrations", help="Migrations of your own tables, in the folder JOB_MIGRATIONS."
)
session_commands = AppGroup("sessions", help="People who are signed in to the dashboard.")
dlq = AppGroup("dlq", help="The Redis list of open dead letters.")


def is_command() -> bool:
    """Whether this process is the `flask` program with a command that serves nobody: any but `flask run`."""
    context = click.get_current_context(silent=True)
    is_flask = context is not None and isinstance(context.find_root().command, FlaskGroup)
    return is_flask and context is not None and context.info_name != "run"


#: Who a command's user is in the audit.
CLI = "cli"


def register(app: Flask) -> None:
    """Adds the commands to ``flask``."""
    app.cli.add_command(counters)
    app.cli.add_command(dlq)
    app.cli.add_command(see_doctor)
    app.cli.add_command(token_commands)
    app.cli.add_command(migration_commands)
    app.cli.add_command(_with_own_tables(flask_migrate.cli.db), "db")
    app.cli.add_command(session_commands)


def _plainly(run: Callable[..., None]) -> Callable[..., None]:
    """A wrong setting, folder or database is one sentence, without a traceback."""

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
    """What to do about a database that refused; a mistake in a migration keeps its traceback."""
    meaning, cause = database_errors.meaning(error), database_errors.cause(error).rstrip(".")
    if isinstance(meaning, DatabaseUnavailable):
        return f"Can't use the database of DATABASE_URL: {cause}."
    if isinstance(meaning, DatabaseReadOnly):
        return str(meaning)
    if isinstance(meaning, TryAgain):
        return f"Another transaction holds a table that a migration needs, so nothing was changed: {cause}. Run it again."
    if database.sqlstate(error) == database.INSUFFICIENT_PRIVILEGE:
        return f"The user of DATABASE_URL may not do that, so nothing was changed: {cause}."
    raise error


def _on_our_tables(run: Callable[..., None]) -> Callable[..., None]:
    """Plainly, for a command that reads our tables: where they are not as this code needs, it says so."""

    @functools.wraps(run)
    def wrapped(*args: object, **options: object) -> None:
        try:
            run(*args, **options)
        except SQLAlchemyError as error:
            meaning = database_errors.meaning(error)
            if isinstance(meaning, SchemaProblem | TryAgain):
                raise click.ClickException(str(meaning)) from error
            raise

    return _plainly(wrapped)


@click.command("doctor")
@click.option(
    "--fix", is_flag=True, help="Repair what can be repaired; no process has to be stopped."
)
def see_doctor(*, fix: bool) -> None:
    """Check database, Redis, migrations, connections, clock, workers, and data that may drift.

    Exits with 0 when all is well (or repaired), 1 for a warning, 2 when something does not work at all.
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
@click.option("--fix", is_flag=True, help="Add what is missing; nothing need be stopped for it.")
@_on_our_tables
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
@_on_our_tables
def rebuild_dead_letters() -> None:
    """Rewrite the Redis list job-dlq from the table of dead letters."""
    trigger = current_trigger()
    try:
        trigger.ping()
    except Exception as error:
        # Without Redis the mirror would quietly do nothing, and catch up later.
        raise click.ClickException(
            f"Redis does not answer ({brief(error)}); try again later."
        ) from error
    try:
        click.echo(f"Wrote {trigger.mirror_dead_letters(rebuild=True)} entries to job-dlq.")
    except ListOfOthers as error:
        raise click.ClickException(str(error)) from error


@token_commands.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="operator", show_default=True)
@_on_our_tables
def create_token(name: str, role: str) -> None:
    """Make a token; it is printed once and kept only as a hash."""
    settings = current_app.extensions["settings"]
    try:
        secret = api_tokens.create(name, role, taken=settings.actor_names)
        audit.record(db.session, CLI, "token.create", name, {"role": role})
        db.session.commit()
    except ValueError as error:
        raise click.ClickException(f"{name!r} can't be a token's name: {error}.") from None
    except api_tokens.NameTaken:
        raise click.ClickException(
            f"{name!r} is reserved, or the name of a person or a token in DASHBOARD_USERS or API_TOKENS; "
            "take another name."
        ) from None
    except IntegrityError:
        raise click.ClickException(
            f"A token is named {name!r}; revoke it first, or take another name."
        ) from None
    events.happened("token.created", actor=CLI, token=name, role=role)
    click.echo(secret)


@token_commands.command("list")
@_on_our_tables
def list_tokens() -> None:
    """Every token made here, newest first."""
    for one in api_tokens.listed():
        state = f"revoked {one.revoked_at:%Y-%m-%d %H:%M}" if one.revoked_at else "valid"
        click.echo(f"{one.name:<24} {one.role:<9} made {one.created_at:%Y-%m-%d %H:%M}  {state}")


@token_commands.command("revoke")
@click.argument("name")
@_on_our_tables
def revoke_token(name: str) -> None:
    """End a token; it is refused within five seconds."""
    if not api_tokens.revoke(name):
        raise click.ClickException(f"No valid token is named {name!r}; see `flask tokens list`.")
    audit.record(db.session, CLI, "token.revoke", name)
    db.session.commit()
    events.happened("token.revoked", actor=CLI, token=name)
    click.echo(f"{name} is revoked.")


def _with_own_tables(group: click.Group) -> click.Group:
    """Flask-Migrate's ``flask db``, whose ``upgrade`` to the head goes on with the user's own migrations."""
    product_upgrade = group.commands["upgrade"]

    @with_appcontext
    def upgrade(**options: object) -> None:
        assert product_upgrade.callback is not None
        before = _version()
        product_upgrade.callback(**options)
        if not options["sql"]:
            after = _version()
            click.echo(
                f"Already at {after}."
                if before == after
                else f"Migrated {before or 'an empty database'} to {after}."
            )
        is_to_head = options["revision"] in ("head", "heads") and not options["sql"]
        if is_to_head and (done := own_migrations.upgrade()):
            click.echo(done)

    commands = {name: _plain_command(command) for name, command in group.commands.items()}
    commands["upgrade"] = click.Command(
        "upgrade",
        params=product_upgrade.params,
        help=product_upgrade.help,
        callback=_plainly(upgrade),
    )
    return click.Group(
        group.name, params=group.params, help=group.help, callback=group.callback, commands=commands
    )


def _version() -> str | None:
    with db.engine.connect() as connection:
        return schema.version(connection)


def _plain_command(command: click.Command) -> click.Command:
    assert command.callback is not None
    plain = copy.copy(command)
    plain.callback = _plainly(command.callback)
    return plain


@migration_commands.command("new")
@click.argument("message")
@click.option("--empty", "is_empty", is_flag=True, help="Write one to fill in by hand.")
@_plainly
def new_migration(message: str, *, is_empty: bool) -> None:
    """Compare the models in JOB_MODULES with the database and write the difference as a migration."""
    made = own_migrations.create(message, is_empty=is_empty)
    if made is None:
        click.echo("The database has all tables that JOB_MODULES declare; no migration written.")
        return
    click.echo(f"Wrote {made}. Read it, then run `{_upgrade_command()}`.")


@migration_commands.command("status")
@_plainly
def migration_status() -> None:
    """The applied revision, and the ones still missing. Exits with 1 when some are missing."""
    with db.engine.connect() as connection:
        applied = ", ".join(own_migrations.current(connection)) or "none"
        missing = own_migrations.missing(connection)
    click.echo(f"Applied: {applied}")
    for revision in missing:
        click.echo(f"Missing: {revision}")
    if missing:
        raise click.ClickException(f"Run `{_upgrade_command()}`.")


def _upgrade_command() -> str:
    is_development = current_app.extensions["settings"].app_env == "development"
    return 'make flask ARGS="db upgrade"' if is_development else "flask --app wsgi db upgrade"


@migration_commands.command("downgrade")
@click.argument("revision", default="-1")
@_plainly
def downgrade_own(revision: str) -> None:
    """Take back the newest migration, or all down to REVISION (base: every one)."""
    own_migrations.downgrade(revision)


@session_commands.command("end")
@click.argument("name", required=False)
@click.option("--all", "is_everyone", is_flag=True, help="The sessions of everyone.")
@_on_our_tables
def end_sessions(name: str | None, *, is_everyone: bool) -> None:
    """Sign a person out everywhere, or everyone; effective within five seconds."""
    if bool(name) == is_everyone:
        raise click.UsageError("Give a name, or --all.")
    count = sessions.end_all(name)
    audit.record(db.session, CLI, "sessions.end", name or "everyone", {"count": count})
    db.session.commit()
    events.happened("sessions.ended", actor=CLI, person=name or "everyone", count=count)
    click.echo(f"{count} {'session' if count == 1 else 'sessions'} ended.")
