"""Sessions of people: each is a row, so that ending it in one process ends it in all of them.

The signed cookie contains a random id, and the row contains its hash.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.config import Settings
from app.extensions import db

log = logging.getLogger(__name__)

#: A session that was ended in another process is refused after this time at the latest.
CACHE_SECONDS = 5.0
MAX_CACHED = 1000
#: How often a session's last use is stored.
TOUCH_SECONDS = 60.0

_BEGIN = text("""
INSERT INTO sessions (hash, user_name, address, expires_at)
VALUES (:hash, :user_name, :address, now() + make_interval(secs => :seconds))
""")
_IS_LIVE = text("""
SELECT 1 FROM sessions WHERE hash = :hash AND user_name = :user_name AND expires_at > now()
  AND (:idle = 0 OR used_at > now() - make_interval(secs => :idle))
""")
_TOUCH = text("UPDATE sessions SET used_at = now() WHERE hash = :hash")
_END = text("DELETE FROM sessions WHERE hash = :hash")
_END_ALL = text("DELETE FROM sessions WHERE user_name = :user_name OR :is_everyone RETURNING 1")


class Sessions:
    """Starts, checks and ends sessions; caches for CACHE_SECONDS which ones are live."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.session_hours * 3600
        self._idle_seconds = settings.session_idle_minutes * 60
        self._live: dict[str, float] = {}  # hash → when it was last read as live
        self._touched: dict[str, float] = {}  # hash → when its last use was stored

    def begin(self, user_name: str, address: str) -> str:
        """Start a session; returns its id. The caller commits."""
        session_id = secrets.token_urlsafe(24)
        values = {"hash": _hash(session_id), "user_name": user_name, "address": address}
        db.session.execute(_BEGIN, {**values, "seconds": self._seconds})
        return session_id

    def is_live(self, session_id: str, user_name: str, *, is_in_use: bool) -> bool:
        """Whether the session has not ended, expired, or been idle for too long.

        ``is_in_use``: the request comes from a person's action, not from a page that refreshes itself.
        """
        hashed, now = _hash(session_id), time.monotonic()
        if now - self._live.get(hashed, float("-inf")) >= CACHE_SECONDS:
            values = {"hash": hashed, "user_name": user_name, "idle": self._idle_seconds}
            is_live = db.session.execute(_IS_LIVE, values).first() is not None
            db.session.rollback()
            if not is_live:
                self._forget(hashed)
                return False
            self._cache(self._live, hashed, now)
        if is_in_use and now - self._touched.get(hashed, float("-inf")) >= TOUCH_SECONDS:
            self._touch(hashed)
            self._cache(self._touched, hashed, now)
        return True

    def end(self, session_id: str) -> None:
        """End a session. The caller commits."""
        db.session.execute(_END, {"hash": _hash(session_id)})
        self._forget(_hash(session_id))

    def end_all(self, user_name: str) -> int:
        """End all sessions of a person; returns their number. The caller commits."""
        self._live.clear()
        return end_all(user_name)

    def _touch(self, hashed: str) -> None:
        try:
            db.session.execute(_TOUCH, {"hash": hashed})
            db.session.commit()
        except SQLAlchemyError as error:  # a read-only database, for example
            db.session.rollback()
            log.warning("The last use of a session was not stored: %s", type(error).__name__)

    def _cache(self, times: dict[str, float], hashed: str, now: float) -> None:
        if len(times) >= MAX_CACHED:
            times.clear()
        times[hashed] = now

    def _forget(self, hashed: str) -> None:
        self._live.pop(hashed, None)
        self._touched.pop(hashed, None)


def end_all(user_name: str | None) -> int:
    """End all sessions of a person, or of all people for None; returns their number. The caller commits."""
    values = {"user_name": user_name or "", "is_everyone": user_name is None}
    return len(db.session.execute(_END_ALL, values).all())


def _hash(session_id: str) -> str:
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
