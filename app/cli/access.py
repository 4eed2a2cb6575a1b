"""``flask tokens`` and ``flask sessions``: access of programs and people."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy.exc import IntegrityError

from app.cli.plain_errors import on_our_tables
from app.config import ROLES
from app.extensions import db
from app.jobs import audit
from app.security import api_tokens, events, sessions

token_commands = AppGroup("tokens", help="Tokens of programs that call the API.")
session_commands = AppGroup("sessions", help="People who are signed in to the dashboard.")

#: The actor of a command in the audit log.
CLI = "cli"


@token_commands.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="operator", show_default=True)
@on_our_tables
def create_token(name: str, role: str) -> None:
    """Create a token; it is printed once and kept only as a hash."""
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
@on_our_tables
def list_tokens() -> None:
    """Every token created here, newest first."""
    for token in api_tokens.list_tokens():
        state = f"revoked {token.revoked_at:%Y-%m-%d %H:%M}" if token.revoked_at else "valid"
        click.echo(
            f"{token.name:<24} {token.role:<9} created {token.created_at:%Y-%m-%d %H:%M}  {state}"
        )


@token_commands.command("revoke")
@click.argument("name")
@on_our_tables
def revoke_token(name: str) -> None:
    """End a token; it is refused within five seconds."""
    if not api_tokens.revoke(name):
        raise click.ClickException(f"No valid token is named {name!r}; see `flask tokens list`.")
    audit.record(db.session, CLI, "token.revoke", name)
    db.session.commit()
    events.happened("token.revoked", actor=CLI, token=name)
    click.echo(f"{name} is revoked.")


@session_commands.command("end")
@click.argument("name", required=False)
@click.option("--all", "is_everyone", is_flag=True, help="The sessions of everyone.")
@on_our_tables
def end_sessions(name: str | None, *, is_everyone: bool) -> None:
    """Sign a person out everywhere, or everyone; effective within five seconds."""
    if bool(name) == is_everyone:
        raise click.UsageError("Give a name, or --all.")
    count = sessions.end_all(name)
    audit.record(db.session, CLI, "sessions.end", name or "everyone", {"count": count})
    db.session.commit()
    events.happened("sessions.ended", actor=CLI, person=name or "everyone", count=count)
    click.echo(f"{count} {'session' if count == 1 else 'sessions'} ended.")
