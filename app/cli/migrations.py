"""``flask db`` and ``flask migrations``: the product's tables, and your own."""

from __future__ import annotations

import copy

import click
from flask import current_app
from flask.cli import AppGroup, with_appcontext

from app import own_migrations, schema
from app.cli.plain_errors import plainly
from app.extensions import db

migration_commands = AppGroup(
    "migrations", help="Migrations of your own tables, in the folder JOB_MIGRATIONS."
)


def with_own_tables(group: click.Group) -> click.Group:
    """Flask-Migrate's ``flask db``, whose ``upgrade`` to the head then runs the user's own migrations."""
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
        callback=plainly(upgrade),
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
    plain.callback = plainly(command.callback)
    return plain


@migration_commands.command("new")
@click.argument("message")
@click.option("--empty", "is_empty", is_flag=True, help="Write one to fill in by hand.")
@plainly
def new_migration(message: str, *, is_empty: bool) -> None:
    """Compare the models in JOB_MODULES with the database and write the difference as a migration."""
    path = own_migrations.create(message, is_empty=is_empty)
    if path is None:
        click.echo("The database has all tables that JOB_MODULES declare; no migration written.")
        return
    click.echo(f"Wrote {path}. Read it, then run `{_upgrade_command()}`.")


@migration_commands.command("status")
@plainly
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
@plainly
def downgrade_own(revision: str) -> None:
    """Take back the newest migration, or all down to REVISION (base: every one)."""
    own_migrations.downgrade(revision)
