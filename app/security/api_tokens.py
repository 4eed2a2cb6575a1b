"""Tokens of programs: those of API_TOKENS, and those made by ``flask tokens``, of which only a hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from app.config import Settings, check_actor_name
from app.extensions import db
from app.security import events

PREFIX = "jq_"
#: A revoked token is refused after this time at the latest.
REMEMBERED_SECONDS = 5.0
MOST_REMEMBERED = 1000

_FIND = text("SELECT name, role FROM api_tokens WHERE hash = :hash AND revoked_at IS NULL")


@dataclass(frozen=True)
class StoredToken:
    """One row of ``flask tokens list``."""

    name: str
    role: str
    created_at: datetime
    revoked_at: datetime | None


class NameTaken(Exception):
    """A person or a program of the settings has this name."""


class Tokens:
    """Finds whose a token is."""

    def __init__(self, settings: Settings) -> None:
        # Hashed: a dump of this process's memory or a slip of a debugger shows none of them.
        given = settings.api_tokens
        self._given = [(hash_of(one.secret), one.name, one.role) for one in given]
        self._taken = settings.actor_names
        self._found: dict[str, tuple[float, tuple[str, str] | None]] = {}
        self._right: set[str] = set()

    def was_right(self, secret: str) -> bool:
        """Whether this process has seen it to be valid before."""
        return hash_of(secret) in self._right

    def find(self, secret: str) -> tuple[str, str] | None:
        """(name, role), or None for a token that is not valid."""
        hashed = hash_of(secret)
        found = self._find(secret, hashed)
        # Only valid ones get in, so there are as many as there are tokens.
        (self._right.add if found else self._right.discard)(hashed)
        return found

    def _find(self, secret: str, hashed: str) -> tuple[str, str] | None:
        for known, name, role in self._given:
            if hmac.compare_digest(known, hashed):
                return name, role
        if not secret.startswith(PREFIX):
            return None
        return self._stored(hashed)

    def _stored(self, hashed: str) -> tuple[str, str] | None:
        at, found = self._found.get(hashed, (float("-inf"), None))
        if time.monotonic() - at < REMEMBERED_SECONDS:
            return found
        # The hash is looked up by index; its bytes tell an attacker nothing about the token.
        row = db.session.execute(_FIND, {"hash": hashed}).first()
        db.session.rollback()
        found = (row.name, row.role) if row else None
        if found and found[0].casefold() in self._taken:
            # Made before the setting was: two would be one in the audit, the limits and the keys.
            events.refused("token.ambiguous", actor=found[0])
            found = None
        if len(self._found) >= MOST_REMEMBERED:
            self._found.clear()
        self._found[hashed] = (time.monotonic(), found)
        return found


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def create(name: str, role: str, *, taken: Container[str]) -> str:
    """A new token, shown this once; the caller commits.

    ``taken``: names in use elsewhere, in lower case. Raises ValueError for a name that can't be one,
    NameTaken, and IntegrityError where a valid token has the name.
    """
    check_actor_name(name)
    if name.casefold() in taken:
        raise NameTaken(name)
    secret = PREFIX + secrets.token_urlsafe(32)
    db.session.execute(
        text("INSERT INTO api_tokens (name, role, hash) VALUES (:name, :role, :hash)"),
        {"name": name, "role": role, "hash": hash_of(secret)},
    )
    return secret


def listed() -> list[StoredToken]:
    """Every token ever made, newest first."""
    rows = db.session.execute(
        text("SELECT name, role, created_at, revoked_at FROM api_tokens ORDER BY id DESC")
    )
    return [StoredToken(*row) for row in rows]


def revoke(name: str) -> bool:
    """Whether there was a valid token of that name; the caller commits."""
    done = db.session.execute(
        text(
            "UPDATE api_tokens SET revoked_at = now() WHERE name = :name AND revoked_at IS NULL RETURNING 1"
        ),
        {"name": name},
    )
    return done.first() is not None
