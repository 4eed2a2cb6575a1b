"""Tokens of programs: from API_TOKENS, and stored ones created by ``flask tokens``, which are kept as hashes."""

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
CACHE_SECONDS = 5.0
MAX_CACHED = 1000

_FIND = text("SELECT name, role FROM api_tokens WHERE hash = :hash AND revoked_at IS NULL")


@dataclass(frozen=True)
class StoredToken:
    """One row of ``flask tokens list``."""

    name: str
    role: str
    created_at: datetime
    revoked_at: datetime | None


class NameTaken(Exception):
    """A person or a program in the settings has this name."""


class Tokens:
    """Looks up the owner of a token."""

    def __init__(self, settings: Settings) -> None:
        # Hashed, so that neither a memory dump of this process nor a debugger shows them.
        self._configured = [
            (hash_of(token.secret), token.name, token.role) for token in settings.api_tokens
        ]
        self._reserved_names = settings.actor_names
        self._cache: dict[str, tuple[float, tuple[str, str] | None]] = {}  # hash → read at, owner
        self._valid: set[str] = set()

    def was_valid(self, secret: str) -> bool:
        """Whether the token was valid when this process last looked it up."""
        return hash_of(secret) in self._valid

    def find(self, secret: str) -> tuple[str, str] | None:
        """The token's (name, role); None if it is not valid."""
        hashed = hash_of(secret)
        owner = self._find(secret, hashed)
        # Bounded by the number of tokens, since only valid ones are added.
        (self._valid.add if owner else self._valid.discard)(hashed)
        return owner

    def _find(self, secret: str, hashed: str) -> tuple[str, str] | None:
        for configured, name, role in self._configured:
            if hmac.compare_digest(configured, hashed):
                return name, role
        if not secret.startswith(PREFIX):
            return None
        return self._find_stored(hashed)

    def _find_stored(self, hashed: str) -> tuple[str, str] | None:
        read_at, owner = self._cache.get(hashed, (float("-inf"), None))
        if time.monotonic() - read_at < CACHE_SECONDS:
            return owner
        # An index lookup by hash: its timing reveals nothing about the token.
        row = db.session.execute(_FIND, {"hash": hashed}).first()
        db.session.rollback()
        owner = (row.name, row.role) if row else None
        if owner and owner[0].casefold() in self._reserved_names:
            # The name was added to the settings after the token: the audit log, the rate limits and
            # Idempotency-Key could not distinguish the two.
            events.refused("token.ambiguous", actor=owner[0])
            owner = None
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[hashed] = (time.monotonic(), owner)
        return owner


def hash_of(secret: str) -> str:
    """The SHA-256 of a token in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def create(name: str, role: str, *, taken: Container[str]) -> str:
    """A new token, which is not stored and can't be shown again; the caller commits.

    ``taken``: names in use elsewhere, in lower case. Raises ValueError for an invalid name, NameTaken, and
    IntegrityError if a valid token has the name.
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


def list_tokens() -> list[StoredToken]:
    """All stored tokens, including revoked ones, newest first."""
    rows = db.session.execute(
        text("SELECT name, role, created_at, revoked_at FROM api_tokens ORDER BY id DESC")
    )
    return [StoredToken(*row) for row in rows]


def revoke(name: str) -> bool:
    """Revoke the token of that name; returns whether there was a valid one. The caller commits."""
    result = db.session.execute(
        text(
            "UPDATE api_tokens SET revoked_at = now() WHERE name = :name AND revoked_at IS NULL RETURNING 1"
        ),
        {"name": name},
    )
    return result.first() is not None
